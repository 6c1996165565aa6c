"""What a run looks like on a terminal while it goes on, and at its end."""

from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ..report.words import advised, compared
from ..runs.outcome import Run, RunImage
from .events import (
    Advised,
    Compared,
    Critiqued,
    Decided,
    Denoising,
    Event,
    Failed,
    ImageMade,
    NodeStarted,
    Resumed,
    RunStarted,
)
from .harmless import harmless

VERBS = {
    "decompose": "reading the prompt",
    "generate": "drawing",
    "refine": "refining",
    "critique": "looking at the images",
    "person": "waiting for you",
    "finish": "choosing the best",
}
"""What each node does, in words."""


class Live:
    """Shows events as they happen: bars where the terminal can draw them, plain lines anywhere."""

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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._progress.stop()

    @contextmanager
    def paused(self) -> Generator[None]:
        """Without the bars, so that a person can be asked."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Denoising):
            self._step(event)
            return
        if isinstance(event, ImageMade):
            self._end(event.record.id)
        line = sentence(event)
        if line is not None:
            self.console.print(Text(harmless(line)), soft_wrap=True)

    def _step(self, event: Denoising) -> None:
        name = event.image or ""
        if name in self._made:  # the last steps may be told after the image
            return
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(f"denoising {name}", total=event.steps)
        self._progress.update(self._bars[name], completed=event.done)

    def _end(self, name: str) -> None:
        self._made.add(name)
        if name in self._bars:
            self._progress.remove_task(self._bars.pop(name))
            self._progress.refresh()


def sentence(event: Event) -> str | None:
    """An event in one line; None for those that a person need not see."""
    place = "" if event.round is None else f"round {event.round}  "
    match event:
        case RunStarted():
            return f"prompt   {event.prompt}"
        case Resumed():
            return f"going on with {event.run}"
        case NodeStarted(node="generate" | "refine"):
            return f"{place}{VERBS[event.node or '']} {event.image}"
        case NodeStarted():
            return f"{place}{VERBS.get(event.node or '', event.node)}"
        case Critiqued():
            return f"{place}{event.image}: {_checks(event)}"
        case Advised():
            return f"{place}advice: {advised(event.advice)}"
        case Compared():
            return f"{place}compared {compared(event.comparison)}"
        case Decided():
            return f"{place}{event.image}: {event.decision.action} ({event.decision.rule}): {event.decision.reason}"
        case Failed(interrupted=True):
            return None
        case Failed():
            return f"{place}{event.node or 'run'} failed: {event.error}"
        case _:
            return None


def _checks(event: Critiqued) -> str:
    critique, change = event.critique, event.change
    passed = f"{critique.passed} of {len(critique.verdicts)} checks pass"
    return passed if change is None else f"{passed}; {len(change.fixed)} fixed, {len(change.broken)} broken"


def summary(run: Run) -> Table:
    """The images of a run, one a row, the best one marked."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "image", "origin", "from", "checks", "decision", "rule"):
        table.add_column(heading, no_wrap=True)
    for image in run.images:
        table.add_row(*(Text(cell) for cell in _row(image, best=image.record == run.result.best)))
    return table


def _row(image: RunImage, best: bool) -> tuple[str, ...]:
    record, critique, decision = image.record, image.critique, image.decision
    checks = f"{critique.passed}/{len(critique.verdicts)}"
    return ("*" if best else "", record.id, record.origin, record.parent or "", checks, decision.action, decision.rule)
