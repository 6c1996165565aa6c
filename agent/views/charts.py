"""The layout of the charts on a run's page: the tree of images and the timeline."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from ...state import ImageRecord
from ..records.events import Event, NodeFinished, NodeStarted, processes
from .words import WORK, duration


class Place(NamedTuple):
    """A cell of the tree."""

    column: int
    """One for each round."""
    lane: int
    """One for each line of images and their refinements."""


def lay_out(images: Sequence[ImageRecord]) -> dict[str, Place]:
    """The cell of each image, by id. Children keep their parent's lane where possible; no line to a parent crosses
    another image."""
    rounds = {number: column for column, number in enumerate(sorted({i.round for i in images}))}
    places: dict[str, Place] = {}
    taken: set[Place] = set()
    for image in sorted(images, key=lambda i: i.round):
        column = rounds[image.round]
        parent = places.get(image.parent) if image.parent else None
        crossed = range(min(column, parent.column + 1) if parent else column, column + 1)
        wanted = parent.lane if parent else 0
        nearest = (lane for away in range(len(images)) for lane in (wanted + away, wanted - away))
        inside = (lane for lane in nearest if 0 <= lane < len(images))
        lane = next(lane for lane in inside if all(Place(c, lane) not in taken for c in crossed))
        places[image.id] = Place(column, lane)
        taken |= {Place(c, lane) for c in crossed}
    return places


Kind = Literal["denoiser", "critic", "loading", "waiting"]
"""loading: of models, before a process starts its first node; waiting: everything else."""

KINDS: dict[str, Kind] = {"generate": "denoiser", "refine": "denoiser", "critique": "critic", "": "loading"}
"""By node; every other node is waiting."""


class _Span(NamedTuple):
    start: float
    """Seconds since the run began, without the time in which no process worked on it."""
    end: float
    node: str
    """Empty for the loading of models."""
    image: str | None

    @property
    def kind(self) -> Kind:
        return KINDS.get(self.node, "waiting")


def timeline(events: Sequence[Event], images: Iterable[ImageRecord]) -> dict[str, Any] | None:
    """The values for the timeline, without the time in which no process worked on the run; edges, widths and shares in
    percent of the whole. None without a trace, or before the first node."""
    spans = list(_spans(events))
    total = max((s.end for s in spans if s.node), default=0.0)
    if not total:
        return None
    by_id = {i.id: i for i in images}
    drawing = _covered(s for s in spans if s.kind == "denoiser")
    seconds: dict[Kind, float] = {
        "denoiser": min(sum(i.seconds for i in by_id.values()), drawing),
        "critic": _covered(s for s in spans if s.kind == "critic"),
        "loading": sum(s.end - s.start for s in spans if s.kind == "loading"),
    }
    seconds["waiting"] = max(0.0, total - sum(seconds.values()))
    bars: list[dict[str, Any]] = []
    for span in spans:
        length, image = span.end - span.start, by_id.get(span.image or "")
        waited = "" if image is None or image.waited < 0.01 else f", of which {duration(image.waited)} waiting"
        bar = {"work": WORK.get(span.node, span.node) or "loading models", "image": span.image, "kind": span.kind}
        bar |= {"left": 100 * span.start / total, "width": 100 * length / total, "words": duration(length) + waited}
        bars.append(bar)
    parts = [{"kind": kind, "percent": 100 * s / total, "words": duration(s)} for kind, s in seconds.items()]
    return {"total": duration(total), "bars": bars, "parts": parts}


def _spans(events: Sequence[Event]) -> Iterable[_Span]:
    """Every node's work in the order of its start; without an end it lasts as long as its process."""
    worked = 0.0
    for process in processes(events):
        zero = process[0].time.timestamp() - worked  # as if no time had passed since the process before
        worked = process[-1].time.timestamp() - zero
        ends = {e.task: e.time.timestamp() - zero for e in process if isinstance(e, NodeFinished)}
        starts = [(e, e.time.timestamp() - zero) for e in process if isinstance(e, NodeStarted)]
        if starts:
            yield _Span(process[0].time.timestamp() - zero, starts[0][1], "", None)
        for e, start in starts:
            yield _Span(start, ends.get(e.task, worked), e.node or "node", e.image)


def _covered(spans: Iterable[_Span]) -> float:
    """Seconds that at least one span covers."""
    covered, reached = 0.0, 0.0
    for span in sorted(spans, key=lambda s: s.start):
        covered += max(0.0, span.end - max(span.start, reached))
        reached = max(reached, span.end)
    return covered
