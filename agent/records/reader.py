"""A run as its folder holds it: what ``run`` returns, and what can be read of one that failed or was cut off."""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from html import escape
from io import BytesIO
from math import inf
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import ValidationError

from ...state import (
    Advice,
    Budget,
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
from ...tools.errors import first_problem
from ...tools.files import Store, require_own
from .events import (
    Advised,
    Compared,
    Critiqued,
    Decided,
    Event,
    EventBase,
    Failed,
    ImageMade,
    NodeFinished,
    NodeStarted,
    PromptDecomposed,
    Resumed,
    RunFinished,
    RunStarted,
    Steered,
    TraceError,
    processes,
    read_events,
)
from .manifest import Manifest, Parent, read_json, read_manifest

if TYPE_CHECKING:
    from PIL.Image import Image

E = TypeVar("E", bound=EventBase)
T = TypeVar("T")

EVENTS, RESULT, REPORT = "events.jsonl", "result.json", "report.html"
"""Files of a run folder, beside the manifest."""

Status = Literal["finished", "failed", "unfinished"]
"""finished: it came to its end; failed: its last word is an error; unfinished: it goes on, or was
interrupted or killed."""

SHOWN, MOST_SHOWN = 128, 12
"""Pixels of a picture in a notebook, and how many it shows at most."""
Table = Literal["images", "checks"]
"""images: one row an image; checks: one row a check of each image that was looked at."""


@dataclass(frozen=True)
class RunImage:
    """One image of a run."""

    record: ImageRecord
    critique: Critique
    decision: Decision
    path: Path
    """The PNG."""

    @property
    def image(self) -> "Image":
        """Its pixels, read anew each time."""
        from PIL import Image

        with Image.open(self.path) as opened:
            opened.load()
            return opened


@dataclass(frozen=True, repr=False)
class Run:
    """A run that came to its end, as ``run`` returns it; a notebook shows its pictures in a table."""

    result: RunResult
    """All of it, as ``result.json`` holds it."""
    folder: Path
    """Where its files lie."""

    @cached_property
    def images(self) -> tuple[RunImage, ...]:
        """Every image, in the order it was asked for."""
        found = zip(self.result.images, self.result.critiques, self.result.decisions, strict=True)
        return tuple(RunImage(record, look, end, Store(self.folder).path(record.path)) for record, look, end in found)

    @property
    def best(self) -> RunImage:
        """The best image over all rounds."""
        return next(image for image in self.images if image.record == self.result.best)

    @property
    def concepts(self) -> ConceptGraph:
        """What the prompt asks for."""
        return self.result.concepts

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """One for each image, in the same order."""
        return self.result.decisions

    @property
    def stop(self) -> str:
        """Name of the rule that ended the best image's work."""
        return self.result.stop

    @property
    def spend(self) -> Spend:
        """What it cost."""
        return self.result.spend

    @property
    def report(self) -> Path:
        """The run as one HTML page."""
        return self.folder / REPORT

    def to_frame(self, of: "Table" = "images") -> Any:
        """Its images, or its checks, as a ``pandas.DataFrame``; see ``RecordedRun.rows``."""
        return read_run(self.folder).to_frame(of)

    def __repr__(self) -> str:
        look = self.best.critique
        return (
            f"<Run {str(self.folder)!r}: {look.passed} of {len(look.verdicts)} checks pass on {look.image}, the best of"
            f" {len(self.images)} image(s); stopped by {self.stop}>"
        )

    def _repr_html_(self) -> str:
        from PIL import Image

        def line(image: RunImage) -> str:
            source = ""
            if image.path.is_file():
                with Image.open(image.path) as picture, BytesIO() as file:
                    picture.thumbnail((SHOWN, SHOWN))
                    picture.convert("RGB").save(file, "JPEG")
                    source = f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
            look, made = image.critique, image.record
            star = "★ " if made == self.result.best else ""
            cells = (made.origin, made.parent or "", f"{look.passed}/{len(look.verdicts)}", image.decision.rule)
            words = "".join(f"<td>{escape(cell)}</td>" for cell in (star + made.id, *cells, made.prompt))
            return f'<tr><td><img src="{source}" alt="{escape(made.id)}"></td>{words}</tr>'

        ranked = sorted(self.images, key=lambda image: image.record != self.result.best)
        heads = "".join(f"<th>{name}</th>" for name in ("", "image", "origin", "from", "checks", "rule", "drawn from"))
        more = "" if len(ranked) <= MOST_SHOWN else f"<p>{len(ranked) - MOST_SHOWN} more: <code>to_frame()</code></p>"
        return (
            f"<p>{escape(repr(self))}</p><table><tr>{heads}</tr>{''.join(map(line, ranked[:MOST_SHOWN]))}</table>{more}"
        )


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
        kinds = RunFinished | Failed | NodeStarted | RunStarted | Resumed
        last = next((e for e in reversed(self.events) if isinstance(e, kinds)), None)
        if isinstance(last, RunFinished):
            return "finished"
        return "failed" if isinstance(last, Failed) and not last.interrupted else "unfinished"

    @property
    def error(self) -> Failed | None:
        """Why it failed; None where it did not."""
        return self._last(Failed) if self.status == "failed" else None

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it, and nobody took it up again."""
        return self.status == "unfinished" and isinstance(self.events[-1], Failed)

    @property
    def paused(self) -> bool:
        """Whether a person had it wait, and nothing came after that."""
        last = next((e for e in reversed(self.events) if not (isinstance(e, Steered) and e.budget)), None)
        return isinstance(last, Steered) and last.action == "pause"

    @property
    def budget(self) -> Budget:
        """Its bounds, as a person may have changed them."""
        changed = next((e.budget for e in reversed(self.events) if isinstance(e, Steered) and e.budget), None)
        return changed or self.started.budget

    @property
    def steered(self) -> tuple[Steered, ...]:
        """What a person did to it while it went on, in that order."""
        return tuple(e for e in self.events if isinstance(e, Steered))

    @property
    def stop(self) -> str | None:
        """Rule that ended the best image's work; None where it is not at its end."""
        end = self._last(RunFinished)
        return end.stop if end else None

    @cached_property
    def manifest(self) -> Manifest:
        """Settings, versions and models; ``TraceError`` if ``manifest.json`` is absent or of another version."""
        return read_manifest(self.folder)

    @cached_property
    def parent(self) -> Parent | None:
        """The run that it was forked from, and where; None where it began with its prompt, or without a manifest."""
        with suppress(TraceError):
            return self.manifest.parent

    @cached_property
    def interactive(self) -> bool:
        """Whether a person decides, as far as there is a manifest."""
        with suppress(TraceError):
            return self.manifest.interactive
        return False

    @cached_property
    def concepts(self) -> ConceptGraph | None:
        """What the prompt asks for; None where it was not read yet."""
        read = self._last(PromptDecomposed)
        return read.concepts if read else None

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
        return sum((events[-1].time - events[0].time).total_seconds() for events in processes(self.events))

    @cached_property
    def rounds(self) -> tuple[int, ...]:
        """Rounds of which every image was looked at."""
        rounds = {i.round for i in self.images.values()}
        unseen = min((i.round for i in self.images.values() if i.id not in self.critiques), default=inf)
        return tuple(sorted(round for round in rounds if round < unseen))

    @cached_property
    def best(self) -> ImageRecord | None:
        """The best image, so far where the run is not at its end; None where no round was looked at."""
        end = self._last(RunFinished)
        if end is not None and end.image is not None:
            return self.images[end.image]
        return self.population(self.rounds[-1]).best() if self.rounds else None

    def is_best(self, image: ImageRecord) -> bool:
        """Whether an image is ``best``."""
        return self.best is not None and image.id == self.best.id

    @property
    def best_critique(self) -> Critique | None:
        """What the critic says of ``best``; None where that, or there, is none."""
        return self.critiques.get(self.best.id) if self.best else None

    def population(self, round: int) -> Population:
        """What the judge saw after that round, for any policy to judge again; ``TraceError`` if nobody looked at it."""
        if round not in self.rounds or self.concepts is None:
            raise TraceError(f"round {round} of {self.run} was not looked at to its end; known: {list(self.rounds)}")
        looks = [n for n, e in enumerate(self.events) if isinstance(e, Critiqued | Advised) and e.round == round]
        seen = RecordedRun(self.folder, self.events[: looks[-1] + 1], None)
        try:
            return Population(
                concepts=self.concepts,
                images={id: i for id, i in seen.images.items() if id in seen.critiques},
                critiques=seen.critiques,
                decisions=seen.decisions,
                budget=seen.budget,
                seed=self.started.seed,
                round=round,
                advice={str(a.round): a for a in seen.advice},
                comparisons={pair_name(self.images[c.first], self.images[c.second]): c for c in seen.comparisons},
            )
        except ValidationError as error:
            raise TraceError(f"the trace in {self.folder} contradicts itself: {first_problem(error)}") from error

    def line(self, image: ImageRecord) -> list[ImageRecord]:
        """All that an image descends from, the first drawing first, and the image."""
        line, at = list[ImageRecord](), image
        while at is not None and at not in line:
            line.insert(0, at)
            at = self.images.get(at.parent or "")
        return line

    def change(self, image: str) -> Change | None:
        """What became of the checks against the image's parent; None without a parent, or a look at either."""
        parent = self.images[image].parent
        before, after = self.critiques.get(parent or ""), self.critiques.get(image)
        return change(before, after) if before and after else None

    def path(self, image: str) -> Path:
        """The PNG of the image of that id; ``KeyError`` if there is none, ``OutsideError`` if it leads out."""
        return Store(self.folder).path(self.images[image].path)

    def node_seconds(self) -> dict[str, float]:
        """Wall time by node, summed over its tasks, which may have run side by side."""
        seconds: dict[str, float] = {}
        for event in self.events:
            if isinstance(event, NodeFinished):
                seconds[event.node or ""] = seconds.get(event.node or "", 0.0) + event.seconds
        return seconds

    def _last(self, kind: type[E]) -> E | None:
        return next((e for e in reversed(self.events) if isinstance(e, kind)), None)

    def rows(self, of: Table = "images") -> list[dict[str, Any]]:
        """Plain dicts, every one with the same keys; None where nothing is known."""
        if of == "images":
            return [_image_row(self, image) for image in self.images.values()]
        return [row for image in self.images.values() for row in _check_rows(self, image)]

    def to_frame(self, of: Table = "images") -> Any:
        """``rows`` as a ``pandas.DataFrame``."""
        import pandas  # not needed to import the package

        return pandas.DataFrame(self.rows(of))


def _image_row(run: RecordedRun, image: ImageRecord) -> dict[str, Any]:
    look, decision, changed = run.critiques.get(image.id), run.decisions.get(image.id), run.change(image.id)
    made = ("round", "origin", "parent", "prompt", "seed", "operator", "start_step", "stop_step")
    return {
        "run": run.run,
        "image": image.id,
        **{name: getattr(image, name) for name in made},
        "checks": len(look.verdicts) if look else None,
        "passed": look.passed if look else None,
        "score": look.score if look else None,
        "fixed": len(changed.fixed) if changed else None,
        "broken": len(changed.broken) if changed else None,
        **{name: getattr(decision, name, None) for name in ("action", "rule", "reason")},
        **{name: getattr(image, name) for name in ("evaluations", "seconds", "waited", "money")},
        "best": run.is_best(image),
        "path": str(run.path(image.id)),
    }


def _check_rows(run: RecordedRun, image: ImageRecord) -> Iterator[dict[str, Any]]:
    look, changed, concepts = run.critiques.get(image.id), run.change(image.id), run.concepts
    if look is None or concepts is None:
        return
    for verdict in look.verdicts:
        check = concepts.check(verdict.check)
        yield {
            "run": run.run,
            "image": image.id,
            "round": image.round,
            "check": check.id,
            "question": check.question,
            "aspect": check.aspect,
            **{name: getattr(verdict, name) for name in ("answer", "probability", "settled_by", "reason", "evidence")},
            "fixed": changed is not None and check.id in changed.fixed,
            "broken": changed is not None and check.id in changed.broken,
        }


def read_run(folder: Path | str) -> RecordedRun:
    """Read a run folder, whether its run is finished, failed, going on, or was killed in the middle of a line.

    ``TraceError`` if it is none, or of a later version; ``OutsideError`` if it holds links that lead out of it.
    """
    folder = Path(folder)
    if not is_run(folder):
        raise TraceError(f"{folder} is no run folder: it holds no {EVENTS}")
    require_own(folder)
    events = read_events(folder / EVENTS)
    if not any(isinstance(e, RunStarted) for e in events):
        raise TraceError(f"the run in {folder} was cut off before its first line; start it again")
    result = read_json(folder / RESULT, RunResult) if (folder / RESULT).exists() else None
    run = RecordedRun(folder, tuple(events), result)
    ends = {e.image for e in events if isinstance(e, RunFinished) and e.image is not None}
    parents = {image.parent for image in run.images.values() if image.parent is not None}
    compared = {id for pair in run.comparisons for id in (pair.first, pair.second)}
    if unknown := {*run.critiques, *run.decisions, *parents, *ends, *compared} - run.images.keys():
        raise TraceError(f"{folder / EVENTS} speaks of {min(unknown)!r:.40}, an image that it does not hold")
    _ = run.best  # which only a trace that fits together has
    return run


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return isfile(folder / EVENTS)  # False for a path that cannot be, too


def runs_in(folder: Path) -> list[Path]:
    """Every run folder in a folder, at any depth, in the order of their names; the folder itself where it is one."""
    return sorted(path.parent for path in folder.rglob(EVENTS))


def _by_id(found: Iterable[tuple[str, T]]) -> dict[str, T]:
    return dict(sorted(dict(found).items()))
