"""Which pictures of an experiment are worth looking at: the largest wins and losses against the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

from .measures import answers, score
from .rows import Row
from .samples import by_label, matched


@dataclass(frozen=True)
class Example:
    """One prompt and seed on which a variant and the baseline differ."""

    ours: Row
    theirs: Row
    """The baseline's."""

    @property
    def gain(self) -> float:
        """Share of checks that ours passes more, in [-1, 1]."""
        return score(self.ours.chosen) - score(self.theirs.chosen)


def wins_and_losses(rows: Sequence[Row], baseline: str, count: int = 4) -> tuple[list[Example], list[Example]]:
    """The largest gains and the largest losses of all variants, each prompt at most once on a side."""
    groups = by_label(rows)
    found = [
        Example(ours, theirs)
        for label, group in groups.items()
        if label != baseline
        for ours, theirs in zip(*matched(group, groups.get(baseline, [])), strict=True)
    ]
    wins = sorted((e for e in found if e.gain > 0), key=lambda e: -e.gain)
    losses = sorted((e for e in found if e.gain < 0), key=lambda e: e.gain)
    return _once_a_prompt(wins)[:count], _once_a_prompt(losses)[:count]


def failures_of(row: Row) -> list[str]:
    """Checks that the chosen image does not pass."""
    return [check for check, answer in answers(row.chosen).items() if answer != "pass"]


def _once_a_prompt(examples: list[Example]) -> list[Example]:
    return list({example.ours.prompt: example for example in reversed(examples)}.values())[::-1]
