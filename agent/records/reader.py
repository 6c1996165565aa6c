"""A run as its folder holds it: what ``run`` returns, and what can be read of one that failed or was killed."""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from html import escape
from math import inf
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import ValidationError

from ... import state
from ...state import Budget, Change, Comparison, ConceptGraph, Critique, Decision, ImageRecord, RunResult, Spend
from ...tools.errors import first_problem
from ...tools.files import Store, picture_file, picture_in, require_own
from . import events
from .events import Event, Failed, RunStarted, Steered, TraceError
from .manifest import Manifest, Parent, read_json, read_manifest

if TYPE_CHECKING:
    from PIL.Image import Image

E = TypeVar("E", bound=events.EventBase)
T = TypeVar("T")

EVENTS, RESULT, REPORT = "events.jsonl", "result.json", "report.html"
"""Files of a run folder, beside the manifest."""

Status = Literal["finished", "failed", "unfinished"]
"""failed: the last event is an error; unfinished: it is running, or was interrupted or killed."""

SHOWN, MOST_SHOWN = 128, 12
"""Pixels of a picture in a notebook, and how many pictures it shows at most."""
RowKind = Literal["images", "checks"]
"""images: a row for each image; checks: a row for each check of each image that has a critique."""


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
        return picture_in(self.path.read_bytes())


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run, as ``run`` returns it; a notebook shows its pictures in a table."""

    result: RunResult
    """All of it, as ``result.json`` holds it."""
    folder: Path
    """Where its files lie."""

    @cached_property
    def images(self) -> tuple[RunImage, ...]:
        """Every image, in the order it was asked for."""
        rows = zip(self.result.images, self.result.critiques, self.result.decisions, strict=True)
        return tuple(RunImage(*row, Store(self.folder).path(row[0].path)) for row in rows)

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

    def to_frame(self, of: RowKind = "images") -> Any:
        """Its images, or its checks, as a ``pandas.DataFrame``; see ``RecordedRun.rows``."""
        return read_run(self.folder).to_frame(of)

    def __repr__(self) -> str:
        best = self.best.critique
        return (
            f"<Run {str(self.folder)!r}: {best.passed} of {len(best.verdicts)} checks pass on {best.image}, the best of"
            f" {len(self.images)} image(s); stopped by {self.stop}>"
        )

    def _repr_html_(self) -> str:
        def row(image: RunImage) -> str:
            source = ""
            if image.path.is_file():
                picture = image.image
                picture.thumbnail((SHOWN, SHOWN))
                source = f"data:image/jpeg;base64,{b64encode(picture_file(picture, 'JPEG')).decode()}"
            critique, record = image.critique, image.record
            name = "★ " * (record == self.result.best) + record.id
            checks = f"{critique.passed}/{len(critique.verdicts)}"
            texts = (name, record.origin, record.parent or "", checks, image.decision.rule, record.prompt)
            cells = "".join(f"<td>{escape(text)}</td>" for text in texts)
            return f'<tr><td><img src="{source}" alt="{escape(record.id)}"></td>{cells}</tr>'

        ranked = sorted(self.images, key=lambda image: image.record != self.result.best)
        heads = "".join(f"<th>{name}</th>" for name in ("", "image", "origin", "from", "checks", "rule", "drawn from"))
        rows = "".join(map(row, ranked[:MOST_SHOWN]))
        more = "" if len(ranked) <= MOST_SHOWN else f"<p>{len(ranked) - MOST_SHOWN} more: <code>to_frame()</code></p>"
        return f"<p>{escape(repr(self))}</p><table><tr>{heads}</tr>{rows}</table>{more}"


@dataclass(frozen=True)
class RecordedRun:
    """Everything that is known of a run, read from its trace; no model is asked."""

    folder: Path
    """Where its files lie."""
    events: tuple[Event, ...]
    """The whole trace in its order; never empty."""
    result: RunResult | None
    """As ``result.json`` holds it; None where there is none yet."""

    @cached_property
    def started(self) -> RunStarted:
        """The first event, with prompt, seed, policy and budget."""
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
        """Whether it finished or failed."""
        last = self._last(events.RunFinished, Failed, events.NodeStarted, RunStarted, events.Resumed)
        if isinstance(last, events.RunFinished):
            return "finished"
        return "failed" if isinstance(last, Failed) and not last.interrupted else "unfinished"

    @property
    def error(self) -> Failed | None:
        """Why it failed; None where it did not."""
        return self._last(Failed) if self.status == "failed" else None

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it, and it was not resumed."""
        return self.status == "unfinished" and isinstance(self.events[-1], Failed)

    @property
    def paused(self) -> bool:
        """Whether a person paused it, and only changed its budget since."""
        last = next((e for e in reversed(self.events) if not (isinstance(e, Steered) and e.budget)), None)
        return isinstance(last, Steered) and last.action == "pause"

    @property
    def budget(self) -> Budget:
        """Its bounds, with the changes that a person made."""
        return [self.started.budget, *(e.budget for e in self.steered if e.budget)][-1]

    @property
    def steered(self) -> tuple[Steered, ...]:
        """What a person asked of it while it was running, in that order."""
        return tuple(e for e in self.events if isinstance(e, Steered))

    @property
    def stop(self) -> str | None:
        """Rule that ended the best image's work; None where it is not finished."""
        end = self._last(events.RunFinished)
        return end.stop if end else None

    @cached_property
    def manifest(self) -> Manifest:
        """Settings, versions and models; ``TraceError`` if ``manifest.json`` is missing or of another version."""
        return read_manifest(self.folder)

    @cached_property
    def parent(self) -> Parent | None:
        """The run and the step that it was forked from; None where it was not forked, or has no manifest."""
        with suppress(TraceError):
            return self.manifest.parent

    @cached_property
    def interactive(self) -> bool:
        """Whether a person decides; False without a manifest."""
        with suppress(TraceError):
            return self.manifest.interactive
        return False

    @cached_property
    def concepts(self) -> ConceptGraph | None:
        """What the prompt asks for; None where it was not decomposed yet."""
        decomposed = self._last(events.PromptDecomposed)
        return decomposed.concepts if decomposed else None

    @cached_property
    def images(self) -> dict[str, ImageRecord]:
        """By id, in the order of the ids."""
        return _by_id((e.record.id, e.record) for e in self.events if isinstance(e, events.ImageMade))

    @cached_property
    def critiques(self) -> dict[str, Critique]:
        """By image id; an image that the critic has not seen has none."""
        return _by_id((e.critique.image, e.critique) for e in self.events if isinstance(e, events.Critiqued))

    @cached_property
    def decisions(self) -> dict[str, Decision]:
        """By image id; an image that waits for its decision has none."""
        return _by_id((e.decision.image, e.decision) for e in self.events if isinstance(e, events.Decided))

    @cached_property
    def advice(self) -> tuple[state.Advice, ...]:
        """By round, where the policy asks a model."""
        return tuple(e.advice for e in self.events if isinstance(e, events.Advised))

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Of images that led together, in the order they were made."""
        return tuple(e.comparison for e in self.events if isinstance(e, events.Compared))

    @cached_property
    def spend(self) -> Spend:
        """What it cost so far."""
        return state.spend_of(self.concepts, self.images, self.critiques, self.advice, self.comparisons)

    @cached_property
    def spend_by_model(self) -> dict[str, state.ModelSpend]:
        """``spend`` by the name of the model, without that of a critic that keeps no exchanges."""
        answers = (*self.critiques.values(), *self.advice, *self.comparisons)
        answers = answers if self.concepts is None else (self.concepts, *answers)
        return state.spend_by_model(self.images.values(), [e for answer in answers for e in answer.exchanges])

    @property
    def seconds(self) -> float:
        """Wall time of all processes that worked on it, from the first event of each to its last."""
        processes = events.processes(self.events)
        return sum((process[-1].time - process[0].time).total_seconds() for process in processes)

    @cached_property
    def rounds(self) -> tuple[int, ...]:
        """Rounds of which every image has a critique."""
        rounds = {i.round for i in self.images.values()}
        unseen = min((i.round for i in self.images.values() if i.id not in self.critiques), default=inf)
        return tuple(sorted(round for round in rounds if round < unseen))

    @cached_property
    def best(self) -> ImageRecord | None:
        """The best image so far; None before the first round has its critiques."""
        end = self._last(events.RunFinished)
        if end is not None and end.image is not None:
            return self.images[end.image]
        return self.population(self.rounds[-1]).best() if self.rounds else None

    @property
    def best_critique(self) -> Critique | None:
        """That of ``best``, if there is one."""
        return self.critiques.get(self.best.id) if self.best else None

    def population(self, round: int) -> state.Population:
        """What the policy was given after that round, so that another one can judge it; ``TraceError`` if the round has
        no critiques."""
        if round not in self.rounds or self.concepts is None:
            raise TraceError(f"round {round} of {self.run} was not looked at to its end; known: {list(self.rounds)}")
        of_round = (events.Critiqued, events.Advised)
        last = max(n for n, e in enumerate(self.events) if isinstance(e, of_round) and e.round == round)
        then = RecordedRun(self.folder, self.events[: last + 1], None)
        try:
            return state.Population(
                concepts=self.concepts,
                images={id: i for id, i in then.images.items() if id in then.critiques},
                critiques=then.critiques,
                decisions=then.decisions,
                budget=then.budget,
                seed=self.started.seed,
                round=round,
                advice={str(a.round): a for a in then.advice},
                comparisons={state.pair_name(self.images[c.first], self.images[c.second]): c for c in then.comparisons},
            )
        except ValidationError as error:
            raise TraceError(f"the trace in {self.folder} contradicts itself: {first_problem(error)}") from error

    def line(self, image: ImageRecord) -> list[ImageRecord]:
        """The ancestors of an image, the first drawing first, and the image."""
        line, at = list[ImageRecord](), image
        while at is not None and at not in line:
            line.insert(0, at)
            at = self.images.get(at.parent or "")
        return line

    def change(self, image: str) -> Change | None:
        """How the checks changed relative to the parent image; None without a parent, or a critique of either."""
        before, after = self.critiques.get(self.images[image].parent or ""), self.critiques.get(image)
        return state.change(before, after) if before and after else None

    def path(self, image: str) -> Path:
        """The PNG of the image of that id; ``KeyError`` if there is none, ``OutsideError`` if it leads out."""
        return Store(self.folder).path(self.images[image].path)

    def node_seconds(self) -> dict[str, float]:
        """Wall time by node, summed over its tasks, which may have run side by side."""
        seconds = dict[str, float]()
        for event in self.events:
            if isinstance(event, events.NodeFinished):
                seconds[event.node or ""] = seconds.get(event.node or "", 0.0) + event.seconds
        return seconds

    def _last(self, *kinds: type[E]) -> E | None:
        return next((e for e in reversed(self.events) if isinstance(e, kinds)), None)

    def rows(self, of: RowKind = "images") -> list[dict[str, Any]]:
        """Plain dicts with the same keys; None where a value is unknown."""
        if of == "images":
            return [_image_row(self, image) for image in self.images.values()]
        return [row for image in self.images.values() for row in _check_rows(self, image)]

    def to_frame(self, of: RowKind = "images") -> Any:
        """``rows`` as a ``pandas.DataFrame``."""
        import pandas  # not needed to import the package

        return pandas.DataFrame(self.rows(of))


def _image_row(run: RecordedRun, image: ImageRecord) -> dict[str, Any]:
    critique, decision, changed = run.critiques.get(image.id), run.decisions.get(image.id), run.change(image.id)
    made = ("round", "origin", "parent", "prompt", "seed", "operator", "start_step", "stop_step")
    return {
        "run": run.run,
        "image": image.id,
        **{name: getattr(image, name) for name in made},
        "checks": len(critique.verdicts) if critique else None,
        "passed": critique.passed if critique else None,
        "score": critique.score if critique else None,
        "fixed": len(changed.fixed) if changed else None,
        "broken": len(changed.broken) if changed else None,
        **{name: getattr(decision, name, None) for name in ("action", "rule", "reason")},
        **{name: getattr(image, name) for name in ("evaluations", "seconds", "waited", "money")},
        "best": image == run.best,
        "path": str(run.path(image.id)),
    }


def _check_rows(run: RecordedRun, image: ImageRecord) -> Iterator[dict[str, Any]]:
    critique, changed, concepts = run.critiques.get(image.id), run.change(image.id), run.concepts
    if critique is None or concepts is None:
        return
    for verdict in critique.verdicts:
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
    """Read a run folder, whether its run is finished, failed, running, or was killed in the middle of a line.

    ``TraceError`` if it is none, or of a later version; ``OutsideError`` if it holds links that lead out of it.
    """
    folder = Path(folder)
    if not is_run(folder):
        raise TraceError(f"{folder} is no run folder: it holds no {EVENTS}")
    require_own(folder)
    trace = tuple(events.read_events(folder / EVENTS))
    if not any(isinstance(e, RunStarted) for e in trace):
        raise TraceError(f"the run in {folder} was cut off before its first line; start it again")
    result = read_json(folder / RESULT, RunResult) if (folder / RESULT).exists() else None
    run = RecordedRun(folder, trace, result)
    best = {e.image for e in trace if isinstance(e, events.RunFinished)}
    parents = {image.parent for image in run.images.values()}
    compared = {id for pair in run.comparisons for id in (pair.first, pair.second)}
    named = {id for id in (*run.critiques, *run.decisions, *parents, *best, *compared) if id is not None}
    if unknown := named - run.images.keys():
        raise TraceError(f"{folder / EVENTS} speaks of {min(unknown)!r:.40}, an image that it does not hold")
    _ = run.best  # raises where the trace contradicts itself
    return run


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return isfile(folder / EVENTS)  # False for an impossible path, too


def runs_in(folder: Path) -> list[Path]:
    """Every run folder in a folder, at any depth, in the order of their names; the folder itself where it is one."""
    return sorted(path.parent for path in folder.rglob(EVENTS))


def _by_id(records: Iterable[tuple[str, T]]) -> dict[str, T]:
    return dict(sorted(dict(records).items()))
