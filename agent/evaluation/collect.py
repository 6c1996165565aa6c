"""From the arguments of an evaluation to images: which runs, under which method, in which scenario."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

from ...state import ImageRecord, Spend
from ...tools.errors import SettingsError
from ...tools.metrics import Sample
from ...tools.store import Store
from ..baselines.whole import is_whole
from ..traces.events import TraceError
from ..traces.reader import EVENTS, RecordedRun, is_run, read_run
from .tags import Tagged, is_batch, policy_class, tags_in

Pick = Literal["best", "first", "last", "all"]
"""best: that of the run; first: drawn first, which is what the bare model gives; last: made last; all: every image."""
By = Literal["folder", "policy"]
"""What a method is: folder: one argument; policy: one policy, wherever its runs lie."""


@dataclass(frozen=True)
class Shot:
    """An image that is measured."""

    method: str
    """What it is compared under."""
    scenario: str
    """Empty where nothing is known of it."""
    subclass: str
    """Empty where nothing is known of it."""
    run: str
    """Id of its run."""
    seed: int
    """Of its run."""
    sample: Sample


@dataclass(frozen=True)
class Skipped:
    """A run that gives no image."""

    method: str
    scenario: str
    place: str
    """Its folder, or its id where there is none."""
    reason: str


@dataclass(frozen=True)
class Collected:
    """What there is to measure."""

    shots: tuple[Shot, ...]
    skipped: tuple[Skipped, ...]
    """Runs without an image; they count as missing, not as bad."""
    spent: tuple[tuple[str, Spend], ...] = ()
    """Method and spend of each run that could be read."""


@dataclass
class _Collector:
    by: By
    picks: Sequence[Pick]
    scenarios: Mapping[str, str]
    shots: list[Shot] = field(default_factory=list[Shot])
    skipped: list[Skipped] = field(default_factory=list[Skipped])
    spent: list[tuple[str, Spend]] = field(default_factory=list[tuple[str, Spend]])

    def add(self, method: str | None, folder: Path) -> None:
        tagged = tags_in(folder)
        for row in tagged.values():
            if row.run is None:
                self.skipped.append(Skipped(self._method(method, row.policy), row.scenario, row.id, row.message))
        for place in runs_in(folder):
            self._add_run(method, place, tagged.get(place.resolve()) or Tagged(id=place.name))

    def _add_run(self, method: str | None, place: Path, tagged: Tagged) -> None:
        try:
            run = read_run(place)
        except TraceError as error:
            self.skipped.append(Skipped(self._method(method, tagged.policy), tagged.scenario, str(place), str(error)))
            return
        name = self._method(method, run.started.policy)
        self.spent.append((name, run.spend))
        scenario = tagged.scenario or self.scenarios.get(run.prompt, "")
        for pick in self.picks:
            own = name if pick == self.picks[0] else f"{name} ({pick})"
            images = [image for image in picked(run, pick) if run.path(image.id).is_file()]
            if not images:
                why = run.error.message if run.error else f"it is {run.status} and has no such image"
                self.skipped.append(Skipped(own, scenario, str(place), why))
            for image in images:
                concepts = None if is_whole(run.concepts) else run.concepts
                sample = Sample(image, run.prompt, Store(place), concepts)
                self.shots.append(Shot(own, scenario, tagged.subclass, run.run, run.started.seed, sample))

    def _method(self, given: str | None, policy: str) -> str:
        return given if given is not None and self.by == "folder" else policy_class(policy)


def collect(
    arguments: Iterable[str],
    *,
    by: By = "folder",
    picks: Sequence[Pick] = ("best",),
    scenarios: Mapping[str, str] | None = None,
) -> Collected:
    """The images of runs.

    Args:
        arguments: Folders: of a run, of a batch or of other runs, or of several batches, each of which is a method.
            ``NAME=FOLDER`` names the method of all that is in it; else a folder is called by its own name, a run by
            its policy.
        by: What a method is.
        picks: Which images of each run; each further one is a method of its own, such as ``NAME (first)``.
        scenarios: Scenario by prompt, for runs whose batch does not tell it.

    Raises:
        SettingsError: an argument is no folder, or there is no run in it.
    """
    collector = _Collector(by, picks, scenarios or {})
    for name, folder in chain.from_iterable(map(_methods, arguments)):
        if not folder.is_dir():
            raise SettingsError(f"there is no folder {folder}: name a run folder, or one that holds runs")
        if not runs_in(folder):
            raise SettingsError(f"there is no run in {folder}: name a run folder, or one that holds runs")
        collector.add(name, folder)
    return Collected(tuple(collector.shots), tuple(collector.skipped), tuple(collector.spent))


def runs_in(folder: Path) -> list[Path]:
    """The folder itself where it is a run, else every run folder in it, in the order of their names."""
    return [folder] if is_run(folder) else sorted(path.parent for path in folder.rglob(EVENTS))


def picked(run: RecordedRun, pick: Pick) -> Iterator[ImageRecord]:
    """The images of a run that a pick means; previews, which show no finished image, are left out."""
    whole = [image for image in run.images.values() if image.stop_step is None]
    if pick == "all":
        yield from whole
    elif pick == "best":
        yield from () if run.best is None else (run.best,)
    else:
        yield from whole[:1] if pick == "first" else whole[-1:]


def _methods(argument: str) -> list[tuple[str | None, Path]]:
    """Methods and folders of an argument; no method for a single run that is not named."""
    name, equals, rest = argument.partition("=")
    if equals and name and not Path(argument).exists():
        return [(name, Path(rest))]
    folder = Path(argument)
    if is_run(folder):
        return [(None, folder)]
    inside = [] if is_batch(folder) or not folder.is_dir() else sorted(filter(is_batch, folder.iterdir()))
    return [(one.resolve().name, one) for one in inside or [folder]]
