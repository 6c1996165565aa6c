"""What all rows say together, counted as they come."""

from dataclasses import dataclass

from .rows import Row


@dataclass
class Tally:
    """Sums over rows."""

    done: int = 0
    """Runs that came to their end."""
    failed: int = 0
    correct: int = 0
    """Runs whose best image passes every check, as their own critic sees it."""
    images: int = 0
    evaluations: int = 0
    """Forward passes of the denoiser; a guided step counts two."""
    tokens: int = 0
    money: float = 0.0
    """In US dollars."""

    def add(self, row: Row) -> None:
        """Count one more."""
        self.done += row.status == "done"
        self.failed += row.status == "failed"
        self.correct += row.all_correct
        if row.spend is not None:
            self.images += row.spend.images
            self.evaluations += row.spend.evaluations
            self.tokens += row.spend.tokens
            self.money += row.spend.money

    @property
    def rows(self) -> int:
        """All of them."""
        return self.done + self.failed

    @property
    def share_correct(self) -> float | None:
        """Of the runs that came to their end; None where none did."""
        return self.correct / self.done if self.done else None
