"""What a batch looks like while it goes on: a table on a terminal, elsewhere a line for each prompt."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..traces.events import Denoising, Event, Failed, ImageMade, NodeStarted, RunFinished, RunStarted
from ..traces.harmless import harmless
from ..traces.live import VERBS
from .batch import Progress
from .jobs import folder_name
from .rows import Row
from .tally import Tally

SHOWN = 16
"""Runs in flight that have a line of their own."""


class BatchLive:
    """Shows how far a batch is; given as ``on_event`` and ``on_progress``."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._draws = console.is_terminal and not console.is_dumb_terminal
        self._running: dict[str, str] = {}
        self._progress: Progress | None = None
        self._began, self._noted, self._evaluations = clock(), 0, 0
        self._live = Live(console=console, get_renderable=self._table, transient=True, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._draws:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._draws:
            self._live.stop()

    def on_event(self, event: Event) -> None:
        """Follow what each run in flight does."""
        if isinstance(event, ImageMade):
            self._evaluations += event.record.evaluations
        elif isinstance(event, RunFinished | Failed):
            self._running.pop(event.run, None)
        elif (doing := doing_of(event)) is not None:
            self._running[event.run] = doing

    def on_progress(self, progress: Progress, row: Row | None) -> None:
        """Follow the rows."""
        self._progress = progress
        if row is None:
            self._began = self._clock()
            self._print(started(progress))
            return
        self._noted += 1
        self._running.pop(folder_name(row.id), None)
        if not self._draws or row.status == "failed":
            self._print(f"{progress.tally.rows:>{len(str(progress.prompts))}}/{progress.prompts}  {told(row)}")

    @property
    def seconds(self) -> float:
        """Since the first run could begin."""
        return self._clock() - self._began

    @property
    def rate(self) -> float:
        """Denoiser evaluations a second since then."""
        return self._evaluations / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds until the last row, at the pace so far; None before the first."""
        if self._progress is None or not self._noted:
            return None
        return self.seconds / self._noted * (self._progress.left - self._noted)

    @property
    def way_on(self) -> str | None:
        """How to go on after a stop; None where nothing is there to go on from."""
        if self._progress is None or not self._progress.tally.rows:
            return None
        rows, folder = self._progress.tally.rows, self._progress.folder
        return f"{rows} of {self._progress.prompts} prompts have a row; the same command with --out {folder} goes on"

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def _table(self) -> RenderableType:
        if self._progress is None:
            return Text("reading the prompts")
        cells, totals = self._totals(self._progress), Table(box=None, pad_edge=False, header_style="bold")
        for name in cells:
            totals.add_column(name, no_wrap=True, justify="right")
        totals.add_row(*map(Text, cells.values()))
        return Group(totals, Text(), self._in_flight())

    def _totals(self, progress: Progress) -> dict[str, str]:
        tally = progress.tally
        return {
            "prompts": f"{tally.rows}/{progress.prompts}",
            "done": str(tally.done),
            "failed": str(tally.failed),
            "running": str(len(self._running)),
            "all correct": share(tally),
            "images": str(tally.images),
            "evaluations/s": f"{self.rate:.0f}",
            "left": "-" if self.remaining is None else span(self.remaining),
        }

    def _in_flight(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, style="dim")
        for name, doing in list(self._running.items())[:SHOWN]:
            table.add_row(Text(name), Text(doing))
        return table


def doing_of(event: Event) -> str | None:
    """What a run is doing since the event, in words; None where it says nothing of that."""
    place = "" if event.round is None else f"round {event.round}: "
    match event:
        case RunStarted():
            return "begins"
        case NodeStarted():
            return f"{place}{VERBS.get(event.node or '', event.node)}"
        case Denoising():
            return f"denoising {event.image}, step {event.done} of {event.steps}"
        case _:
            return None


def started(progress: Progress) -> str:
    """The first line."""
    known = progress.prompts - progress.left
    before = f", {known} of them before this start" if known else ""
    return f"{progress.prompts} prompts{before}; folder {progress.folder}"


def told(row: Row) -> str:
    """A row in one line."""
    if row.status == "failed":
        return harmless(f"failed  {row.id}  {row.error}: {row.message}")
    images = row.spend.images if row.spend else 0
    checks = f"{row.passed} of {row.checks} checks pass"
    return harmless(f"done    {row.id}  {checks}  {images} images  {row.seconds:.1f} s  {row.stop}")


def summary(tally: Tally) -> str:
    """All rows in one line."""
    spent = f"{tally.images} images, {tally.evaluations} evaluations"
    if tally.tokens:
        spent += f", {tally.tokens} tokens"
    if tally.money:
        spent += f", ${tally.money:.2f}"
    return f"{tally.rows} prompts: {tally.done} done, {tally.failed} failed; all correct {share(tally)}; {spent}"


def share(tally: Tally) -> str:
    """Of the runs that came to their end, those whose best image passes every check."""
    return "-" if tally.share_correct is None else f"{100 * tally.share_correct:.1f}%"


def span(seconds: float) -> str:
    """A time in words: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
