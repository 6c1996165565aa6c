"""What an experiment looks like on a terminal while it goes on."""

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from .measures import correct
from .plan import Planned
from .rows import Row


class Bars:
    """A bar for each variant and one for all; where the terminal draws none, a line for each tenth of the runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._drawn = console.is_terminal and not console.is_dumb_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not self._drawn,
        )
        self._bars: dict[str, TaskID] = {}
        self._right, self._done, self._failed = Counter[str](), Counter[str](), 0
        self._total = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._progress.stop()

    def begin(self, planned: Sequence[Planned], there: Sequence[Row]) -> None:
        """All runs, and the rows that are there already."""
        self._total = len(planned)
        runs = Counter(one.variant.label for one in planned)
        for label, total in {"all": self._total, **runs}.items():
            self._bars[label] = self._progress.add_task(label, total=total, note="")
        for row in there:
            self._count(row)
        if there:
            self._console.print(Text(f"{len(there)} of {self._total} runs are there already"))

    def step(self, row: Row) -> None:
        """One more row."""
        self._count(row)
        if row.error is not None:
            self._console.print(Text(f"failed: {row.label}: {row.prompt}: {row.error}"), soft_wrap=True)
        done = self._done["all"]
        if not self._drawn and done * 10 // self._total != (done - 1) * 10 // self._total:
            self._console.print(Text(f"{done} of {self._total} runs, {self._share('all')}"))

    def _count(self, row: Row) -> None:
        for label in ("all", row.label):
            self._done[label] += 1
            self._right[label] += row.error is None and correct(row.chosen) == 1
            self._progress.update(self._bars[label], completed=self._done[label], note=self._share(label))

    def _share(self, label: str) -> str:
        return f"{100 * self._right[label] / self._done[label]:.0f}% all correct"
