"""The processes that worked on a run, one after the other, and its time, which stands still between two of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from .events import Event, Resumed


@dataclass(frozen=True)
class Clock:
    """Counts the seconds of a trace in which somebody worked on it."""

    began: datetime
    pauses: tuple[tuple[datetime, datetime], ...]
    """From the last word of a process to the first of the next."""

    def seconds(self, time: datetime) -> float:
        """From the beginning until then."""
        away = sum((min(time, until) - since).total_seconds() for since, until in self.pauses if since < time)
        return (time - self.began).total_seconds() - away


def clock_of(events: Sequence[Event]) -> Clock:
    """Of a trace that is not empty."""
    pauses = [(last.time, next.time) for last, next in pairwise(events) if isinstance(next, Resumed)]
    return Clock(events[0].time, tuple(pauses))


def sittings(events: Sequence[Event]) -> list[Sequence[Event]]:
    """What each process told, in their order."""
    starts = [0, *(n for n, event in enumerate(events) if n and isinstance(event, Resumed)), len(events)]
    return [events[start:end] for start, end in pairwise(starts) if end > start]
