"""A run as its folder tells it: finished, failed, or cut off anywhere."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import ValidationError

from ...state import (
    Advice,
    Change,
    Comparison,
    ConceptGraph,
    Critique,
    Decision,
    ImageRecord,
    ModelSpend,
    Population,
    RunResult,
    Spend,
    change,
    pair_name,
    spend_by_model,
    spend_of,
)
from .events import (
    Advised,
    Compared,
    Critiqued,
    Decided,
    Event,
    Failed,
    ImageMade,
    NodeFinished,
    NodeStarted,
    PromptDecomposed,
    Resumed,
    RunFinished,
    RunStarted,
    TraceError,
    read_events,
)
from .frames import Table, frame, rows
from .sittings import clock_of

if TYPE_CHECKING:
    from .manifest import Manifest, Parent

E = TypeVar("E")
T = TypeVar("T")

Status = Literal["finished", "failed", "unfinished"]
"""finished: it came to its end; failed: its last word is an error; unfinished: it goes on, or was
interrupted or killed."""

EVENTS, RESULT, MANIFEST = "events.jsonl", "result.json", "manifest.json"


@dataclass(frozen=True)
class RecordedRun:
    """What is known of a run; everything is read from its trace, and nothing is asked of a model."""

    folder: Path
    """Where its files lie."""
    events: tuple[Event, ...]
    """The whole trace in its order; never empty."""
    result: RunResult | None
    """As ``result.json`` holds it; None where the run did not come that far."""

    @cached_property
    def started(self) -> RunStarted:
        """How it began."""
        return next(e for e in self.events if isinstance(e, RunStarted))

    @property
    def run(self) -> str:
        """Its readable id."""
        return self.started.run

    @property
    def prompt(self) -> str:
        """What the picture should show."""
        return self.started.prompt

    @cached_property
    def status(self) -> Status:
        """How far it came."""
        telling = RunFinished | Failed | NodeStarted | RunStarted | Resumed
        last = next((e for e in reversed(self.events) if isinstance(e, telling)), None)
        if isinstance(last, RunFinished):
            return "finished"
        return "failed" if isinstance(last, Failed) and not last.interrupted else "unfinished"

    @property
    def error(self) -> Failed | None:
        """Why it failed; None where it did not."""
        return next(e for e in reversed(self.events) if isinstance(e, Failed)) if self.status == "failed" else None

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it, and nobody took it up again."""
        return self.status == "unfinished" and isinstance(self.events[-1], Failed)

    @property
    def stop(self) -> str | None:
        """Rule that ended the best image's work; None where it is not at its end."""
        return next((e.stop for e in reversed(self.events) if isinstance(e, RunFinished)), None)

    @cached_property
    def manifest(self) -> "Manifest":
        """Settings, versions and models; ``TraceError`` if ``manifest.json`` is absent or of another version."""
        from .manifest import Manifest

        return _read(self.folder / MANIFEST, Manifest.model_validate_json)

    @property
    def parent(self) -> "Parent | None":
        """The run that it was forked from, and where; None where it began with its prompt, or no manifest tells."""
        return self._known_manifest.parent if self._known_manifest else None

    @property
    def interactive(self) -> bool:
        """Whether a person decides, as far as a manifest tells."""
        return self._known_manifest is not None and self._known_manifest.interactive

    @cached_property
    def _known_manifest(self) -> "Manifest | None":
        try:
            return self.manifest
        except TraceError:
            return None

    @cached_property
    def concepts(self) -> ConceptGraph | None:
        """What the prompt asks for; None where it was not read yet."""
        return next((e.concepts for e in reversed(self.events) if isinstance(e, PromptDecomposed)), None)

    @cached_property
    def images(self) -> dict[str, ImageRecord]:
        """By id, in the order of the ids."""
        return _by_id((e.record.id, e.record) for e in self.events if isinstance(e, ImageMade))

    @cached_property
    def critiques(self) -> dict[str, Critique]:
        """By image id; an image that was not looked at has none."""
        return _by_id((e.critique.image, e.critique) for e in self.events if isinstance(e, Critiqued))

    @cached_property
    def decisions(self) -> dict[str, Decision]:
        """By image id; an image that waits for its decision has none."""
        return _by_id((e.decision.image, e.decision) for e in self.events if isinstance(e, Decided))

    @cached_property
    def advice(self) -> tuple[Advice, ...]:
        """By round, where the policy had a model asked."""
        return tuple(e.advice for e in self.events if isinstance(e, Advised))

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Of images that led together, in the order they were made."""
        return tuple(e.comparison for e in self.events if isinstance(e, Compared))

    @cached_property
    def spend(self) -> Spend:
        """What it cost so far."""
        return spend_of(self.concepts, self.images, self.critiques, self.advice, self.comparisons)

    @cached_property
    def spend_by_model(self) -> dict[str, ModelSpend]:
        """``spend`` by the name of the model, without what a critic cost that keeps no exchanges."""
        read = () if self.concepts is None else (self.concepts,)
        answers = (*read, *self.critiques.values(), *self.advice, *self.comparisons)
        return spend_by_model(self.images.values(), [e for answer in answers for e in answer.exchanges])

    @property
    def seconds(self) -> float:
        """Wall time from the first line of the trace to the last, without that in which no process worked on it."""
        return clock_of(self.events).seconds(self.events[-1].time)

    @cached_property
    def rounds(self) -> tuple[int, ...]:
        """Rounds of which every image was looked at."""
        unseen = {i.round for i in self.images.values() if i.id not in self.critiques}
        last = min(unseen, default=None)
        found = {i.round for i in self.images.values()}
        return tuple(sorted(r for r in found if last is None or r < last))

    @cached_property
    def best(self) -> ImageRecord | None:
        """The best image, so far where the run is not at its end; None where no round was looked at."""
        end = next((e for e in reversed(self.events) if isinstance(e, RunFinished)), None)
        if end is not None and end.image is not None:
            return self.images[end.image]
        return self.population(self.rounds[-1]).best() if self.rounds else None

    def population(self, round: int) -> Population:
        """What the judge saw after that round; it can be judged again by any policy.

        Raises:
            TraceError: the round was not looked at, or not to its end.
        """
        if round not in self.rounds or self.concepts is None:
            raise TraceError(f"round {round} of {self.run} was not looked at to its end; known: {list(self.rounds)}")
        seen = RecordedRun(self.folder, self.events[: self._judged_at(round)], None)
        return Population(
            concepts=self.concepts,
            images={id: i for id, i in seen.images.items() if id in seen.critiques},
            critiques=seen.critiques,
            decisions=seen.decisions,
            budget=self.started.budget,
            seed=self.started.seed,
            round=round,
            advice={str(a.round): a for a in seen.advice},
            comparisons={pair_name(self.images[c.first], self.images[c.second]): c for c in seen.comparisons},
        )

    def _judged_at(self, round: int) -> int:
        """How many events lie before the judgement of a round."""
        looks = [n for n, e in enumerate(self.events) if isinstance(e, Critiqued | Advised) and e.round == round]
        return looks[-1] + 1

    def change(self, image: str) -> Change | None:
        """What became of the checks against the image's parent; None without a parent, or a look at either."""
        parent = self.images[image].parent
        before, after = self.critiques.get(parent or ""), self.critiques.get(image)
        return change(before, after) if before and after else None

    def path(self, image: str) -> Path:
        """The PNG of the image of that id; ``KeyError`` if there is none."""
        return self.folder / self.images[image].path

    def node_seconds(self) -> dict[str, float]:
        """Wall time by node, summed over its tasks, which may have run side by side."""
        seconds: dict[str, float] = {}
        for event in self.events:
            if isinstance(event, NodeFinished) and event.node:
                seconds[event.node] = seconds.get(event.node, 0.0) + event.seconds
        return seconds

    def rows(self, of: Table = "images") -> list[dict[str, Any]]:
        """One plain dict an image, or one a check of each image."""
        return rows(self, of)

    def to_frame(self, of: Table = "images") -> Any:
        """``rows`` as a ``pandas.DataFrame``; ``SettingsError`` where pandas is not installed."""
        return frame(rows(self, of))


def read_run(folder: Path | str) -> RecordedRun:
    """Read a run folder, whether its run is finished, failed, going on, or was killed in the middle of a line.

    Raises:
        TraceError: it is no run folder, or a file in it is not of a version that this code knows.
    """
    folder = Path(folder)
    if not is_run(folder):
        raise TraceError(f"{folder} is no run folder: it holds no {EVENTS}")
    events = read_events(folder / EVENTS)
    if not any(isinstance(e, RunStarted) for e in events):
        raise TraceError(f"the run in {folder} was cut off before its first line; start it again")
    result = folder / RESULT
    return RecordedRun(folder, tuple(events), _read(result, RunResult.model_validate_json) if result.exists() else None)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / EVENTS).is_file()


def _read(path: Path, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(path.read_bytes())
    except FileNotFoundError as error:
        raise TraceError(f"{path} is missing") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise TraceError(f"{path} is of another version of DetailScribe: {place}: {problem['msg']}") from error


def _by_id(found: Iterable[tuple[str, E]]) -> dict[str, E]:
    return dict(sorted(dict(found).items()))
