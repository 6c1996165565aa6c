"""Shows a run or a batch in progress: bars and tables where the terminal draws them, else plain lines."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from ..records import events
from ..records.events import Event
from .words import WORK, advised, compared, duration, extras, steered

if TYPE_CHECKING:
    from ..records.reader import Run
    from ..records.rows import Progress as BatchProgress
    from ..records.rows import Row, Tally

SHOWN = 16
"""Runs in flight, at most, that have a line of their own."""


class Live:
    """Shows the events of a run as they happen; pass it as ``on_event``."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal or console.is_dumb_terminal,
        )
        self._bars: dict[str, TaskID] = {}
        self._made = set[str]()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def paused(self) -> Generator[None]:
        """Hides the bars while a person is asked."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()

    def __call__(self, event: Event) -> None:
        image = event.image or ""
        # The last steps of an image may be reported after it.
        if isinstance(event, events.Denoising) and image not in self._made:
            if image not in self._bars:
                self._bars[image] = self._progress.add_task(f"denoising {image}", total=event.steps)
            self._progress.update(self._bars[image], completed=event.done)
        elif isinstance(event, events.ImageMade):
            self._made.add(event.record.id)
            if event.record.id in self._bars:
                self._progress.remove_task(self._bars.pop(event.record.id))
                self._progress.refresh()
        if line := sentence(event):
            self.console.print(Text(line), soft_wrap=True)


class ProgressBar:
    """A bar of the denoising steps, in notebooks too: ``run(..., on_event=ProgressBar())``."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(total=0, unit="step")
        self._steps = dict[str | None, tuple[int, int]]()

    def __call__(self, event: Event) -> None:
        if isinstance(event, events.Denoising):
            self._steps[event.image] = event.done, event.steps
            self._bar.n, self._bar.total = map(sum, zip(*self._steps.values(), strict=True))
            self._bar.refresh()
        elif words := sentence(event):
            self._bar.set_description_str(words[:60])
        if isinstance(event, events.RunFinished | events.Failed):
            self._bar.close()


def sentence(event: Event) -> str | None:
    """An event in one line; None for minor events."""
    place = "" if event.round is None else f"round {event.round}  "
    match event:
        case events.RunStarted():
            return f"prompt   {event.prompt}"
        case events.Resumed():
            return f"going on with {event.run}"
        case events.NodeStarted():
            made = f" {event.image}" if event.node in ("generate", "refine") else ""
            return f"{place}{WORK.get(event.node or '', event.node)}{made}"
        case events.Critiqued(critique=critique, change=change):
            changed = "" if change is None else f"; {len(change.fixed)} fixed, {len(change.broken)} broken"
            return f"{place}{event.image}: {critique.passed} of {len(critique.verdicts)} checks pass{changed}"
        case events.Advised():
            return f"{place}advice: {advised(event.advice)}"
        case events.Compared():
            return f"{place}compared {compared(event.comparison)}"
        case events.Decided(decision=decision):
            return f"{place}{event.image}: {decision.action} ({decision.rule}): {decision.reason}"
        case events.Steered():
            return f"{place}{steered(event)}"
        case events.Failed(interrupted=False):
            return f"{place}{event.node or 'run'} failed: {event.error}"
        case _:
            return None


def summary(run: "Run") -> Table:
    """The images of a run, one a row; a star marks the best."""
    heads = ("", "image", "origin", "from", "checks", "decision", "rule")
    table = Table(*(Column(head, no_wrap=True) for head in heads), box=None, pad_edge=False, header_style="bold")
    for image in run.images:
        record, critique, decision = image.record, image.critique, image.decision
        star, checks = "*" if record == run.result.best else "", f"{critique.passed}/{len(critique.verdicts)}"
        cells = (star, record.id, record.origin, record.parent or "", checks, decision.action, decision.rule)
        table.add_row(*map(Text, cells))
    return table


class BatchLive:
    """Shows the progress of a batch: a table on a terminal, elsewhere a line for each prompt; pass its ``on_event`` and
    ``on_progress`` to ``run_batch``."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._draws = console.is_terminal and not console.is_dumb_terminal
        self._running: dict[str, str] = {}
        self._progress: BatchProgress | None = None
        self._began, self._new_rows, self._evaluations = clock(), 0, 0
        self._live = RichLive(console=console, get_renderable=self._table, transient=True, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._draws:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._draws:
            self._live.stop()

    def on_event(self, event: Event) -> None:
        """Note what each run in flight does."""
        match event:
            case events.ImageMade():
                self._evaluations += event.record.evaluations
            case events.RunFinished() | events.Failed():
                self._running.pop(event.run, None)
            case events.RunStarted():
                self._running[event.run] = "begins"
            case events.NodeStarted():
                place = "" if event.round is None else f"round {event.round}: "
                self._running[event.run] = f"{place}{WORK.get(event.node or '', event.node)}"
            case events.Denoising():
                self._running[event.run] = f"denoising {event.image}, step {event.done} of {event.steps}"
            case _:
                pass

    def on_progress(self, progress: "BatchProgress", row: "Row | None") -> None:
        """Note and print a new row; None before the first."""
        self._progress = progress
        if row is None:
            self._began = self._clock()
            earlier = progress.prompts - progress.left
            before = f", {earlier} of them before this start" if earlier else ""
            self._print(f"{progress.prompts} prompts{before}; folder {progress.folder}")
            return
        self._new_rows += 1
        self._running.pop(PurePosixPath(row.run or "").name, None)
        if not self._draws or row.status == "failed":
            self._print(f"{progress.tally.rows:>{len(str(progress.prompts))}}/{progress.prompts}  {row_in_words(row)}")

    @property
    def seconds(self) -> float:
        """Since the first run could start."""
        return self._clock() - self._began

    @property
    def remaining(self) -> float | None:
        """Seconds until the last row, at the pace so far; None before the first row."""
        if self._progress is None or not self._new_rows:
            return None
        return self.seconds / self._new_rows * (self._progress.left - self._new_rows)

    @property
    def resume_hint(self) -> str | None:
        """How to resume the batch; None where it has no rows."""
        progress = self._progress
        if progress is None or not progress.tally.rows:
            return None
        rows = f"{progress.tally.rows} of {progress.prompts} prompts have a row"
        return f"{rows}; the same command with --out {progress.folder} goes on"

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def _table(self) -> RenderableType:
        if self._progress is None:
            return Text("reading the prompts")
        tally, remaining = self._progress.tally, self.remaining
        cells = {
            "prompts": f"{tally.rows}/{self._progress.prompts}",
            "done": str(tally.done),
            "failed": str(tally.failed),
            "running": str(len(self._running)),
            "all correct": _share(tally),
            "images": str(tally.spend.images),
            "evaluations/s": f"{self._evaluations / self.seconds:.0f}" if self.seconds > 0 else "0",
            "left": "-" if remaining is None else duration(remaining, rough=True),
        }
        heads = (Column(name, no_wrap=True, justify="right") for name in cells)
        totals = Table(*heads, box=None, pad_edge=False, header_style="bold")
        totals.add_row(*map(Text, cells.values()))
        columns = Column(no_wrap=True), Column(no_wrap=True, style="dim")
        running = Table(*columns, box=None, pad_edge=False, show_header=False)
        for run in list(self._running.items())[:SHOWN]:
            running.add_row(*map(Text, run))
        return Group(totals, Text(), running)


def row_in_words(row: "Row") -> str:
    """A row of a batch in one line."""
    if row.status == "failed":
        return f"failed  {row.id}  {row.error}: {row.message}"
    images = row.spend.images if row.spend else 0
    checks = f"{row.passed} of {row.checks} checks pass"
    if row.unknown_because:
        checks += f", {row.unknown} unknown ({row.unknown_because})"
    return f"done    {row.id}  {checks}  {images} images  {row.seconds:.1f} s  {row.stop}"


def tally_in_words(tally: "Tally") -> str:
    """All rows of a batch in one line."""
    spent = [f"{tally.spend.images} images", f"{tally.spend.evaluations} evaluations", *extras(tally.spend)]
    unheard = f" ({tally.unheard} with checks that had no answer: --retry-failed asks again)" * bool(tally.unheard)
    return (
        f"{tally.rows} prompts: {tally.done} done{unheard}, {tally.failed} failed; all correct {_share(tally)};"
        f" {', '.join(spent)}"
    )


def _share(tally: "Tally") -> str:
    """The share of finished runs whose best image passes every check."""
    return f"{100 * tally.correct / tally.done:.1f}%" if tally.done else "-"
