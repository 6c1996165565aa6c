"""Where the seconds went: a bar for each piece of work, from the times in the trace."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ...state import ImageRecord
from ..traces.events import Event, NodeFinished, NodeStarted, RunStarted
from ..traces.sittings import Clock, clock_of, sittings
from .words import duration

Kind = Literal["denoiser", "critic", "loading", "waiting"]
"""denoiser: it worked; critic: it looked; loading: a process read models before its first node; waiting: all else."""

WORK = {
    "decompose": "reading the prompt",
    "generate": "drawing",
    "refine": "refining",
    "critique": "looking",
    "person": "a person deciding",
    "finish": "choosing",
}
"""What each node does, in words."""
KINDS: dict[str, Kind] = {"generate": "denoiser", "refine": "denoiser", "critique": "critic"}


@dataclass(frozen=True)
class Bar:
    """One piece of work on the common axis."""

    work: str
    """What was done, in words."""
    image: str | None
    """Id of the image that it made."""
    kind: Kind
    left: float
    """Where it begins, in percent of the whole."""
    width: float
    """In percent of the whole."""
    words: str
    """Its seconds, and how many of them it waited for other images."""


@dataclass(frozen=True)
class Part:
    """A share of all seconds."""

    kind: Kind
    percent: float
    words: str


@dataclass(frozen=True)
class Timeline:
    """The whole run on one axis, without the time in which no process worked on it."""

    total: str
    bars: tuple[Bar, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class _Span:
    node: str
    image: str | None
    start: float
    """Seconds of work after the run began."""
    end: float


def timeline(events: Sequence[Event], images: Iterable[ImageRecord]) -> Timeline | None:
    """The timeline of a trace; None where there is none, or nothing was begun."""
    began = next((n for n, e in enumerate(events) if isinstance(e, RunStarted)), len(events))
    spans = _spans(events[began:]) if events[began:] else []
    total = max((s.end for s in spans if s.node), default=0.0)
    if not total:
        return None
    made = {i.id: i for i in images}
    return Timeline(
        total=duration(total),
        bars=tuple(_bar(s, made.get(s.image or ""), total) for s in spans),
        parts=_parts(spans, made.values(), total),
    )


def _spans(events: Sequence[Event]) -> list[_Span]:
    """Every piece of work that was begun, in the order of its beginning; the node of loading has no name."""
    clock = clock_of(events)
    return [span for told in sittings(events) for span in _of_process(told, clock)]


def _of_process(told: Sequence[Event], clock: Clock) -> Iterable[_Span]:
    """Work without an end lasts to the last word of its process."""
    ends = {e.task: e.time for e in told if isinstance(e, NodeFinished)}
    begun = [e for e in told if isinstance(e, NodeStarted)]
    if begun:
        yield _Span("", None, clock.seconds(told[0].time), clock.seconds(begun[0].time))
    for e in begun:
        end = ends.get(e.task, told[-1].time)
        yield _Span(e.node or "", e.image, clock.seconds(e.time), clock.seconds(end))


def _bar(span: _Span, image: ImageRecord | None, total: float) -> Bar:
    seconds = span.end - span.start
    waited = "" if image is None or image.waited < 0.01 else f", of which {duration(image.waited)} waiting"
    return Bar(
        work=WORK.get(span.node, span.node) if span.node else "loading models",
        image=span.image,
        kind=KINDS.get(span.node, "waiting") if span.node else "loading",
        left=100 * span.start / total,
        width=100 * seconds / total,
        words=duration(seconds) + waited,
    )


def _parts(spans: list[_Span], images: Iterable[ImageRecord], total: float) -> tuple[Part, ...]:
    drawing = _covered(s for s in spans if KINDS.get(s.node) == "denoiser")
    seconds: dict[Kind, float] = {
        "denoiser": min(sum(i.seconds for i in images), drawing),
        "critic": _covered(s for s in spans if KINDS.get(s.node) == "critic"),
        "loading": sum(s.end - s.start for s in spans if not s.node),
    }
    seconds["waiting"] = max(0.0, total - sum(seconds.values()))
    return tuple(Part(kind, 100 * s / total, duration(s)) for kind, s in seconds.items())


def _covered(spans: Iterable[_Span]) -> float:
    """Seconds in which at least one of them went on."""
    covered, reached = 0.0, 0.0
    for span in sorted(spans, key=lambda s: s.start):
        covered += max(0.0, span.end - max(span.start, reached))
        reached = max(reached, span.end)
    return covered
