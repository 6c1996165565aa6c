"""The trace of a run as typed records, one JSON object a line."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from ...state import Advice, Budget, Change, Comparison, ConceptGraph, Critique, Decision, Frozen, ImageRecord, Spend
from ...tools.errors import SettingsError, first_problem
from ...tools.files import read_lines

T = TypeVar("T")

SCHEMA_VERSION = 3
"""Raised whenever a reader of the last version could misunderstand a line; every earlier one can still be read."""


class TraceError(SettingsError):
    """A file of a run cannot be read."""


class LaterVersion(TraceError):
    """It was written by a later version."""


def _in_utc(time: datetime) -> datetime:
    if time.year < 1970:
        raise ValueError("it is before 1970")
    return time if time.tzinfo else time.replace(tzinfo=UTC)


class EventBase(Frozen):
    """What every event has."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    """``SCHEMA_VERSION`` of the code that wrote the line."""
    time: Annotated[datetime, AfterValidator(_in_utc)] = Field(default_factory=lambda: datetime.now(UTC))
    """UTC; a time without a zone is read as UTC."""
    run: str
    """Id of the run."""
    round: int | None = None
    """Round of the image or the node; None before the first."""
    node: str | None = None
    """Node of the graph."""
    image: str | None = None
    """Id of the image."""


class RunStarted(EventBase):
    """The first line."""

    type: Literal["run_started"] = "run_started"
    prompt: str
    seed: int
    policy: str
    """Its class with parameters, as Python writes it."""
    budget: Budget


class Resumed(EventBase):
    """Another process goes on with the run. Since version 2."""

    type: Literal["resumed"] = "resumed"


class NodeStarted(EventBase):
    """A node begins; ``image`` is the one that it makes, if any."""

    type: Literal["node_started"] = "node_started"
    task: str
    """LangGraph's id of the task; the same in ``node_finished`` and ``error``."""


class NodeFinished(EventBase):
    """A node is done."""

    type: Literal["node_finished"] = "node_finished"
    task: str
    seconds: float = Field(ge=0)
    """Wall time between the two lines."""


class PromptDecomposed(EventBase):
    """The prompt was decomposed."""

    type: Literal["decomposed"] = "decomposed"
    concepts: ConceptGraph


class ImageMade(EventBase):
    """An image is in the run folder."""

    type: Literal["image_made"] = "image_made"
    record: ImageRecord


class Critiqued(EventBase):
    """The critic answered about an image."""

    type: Literal["critiqued"] = "critiqued"
    critique: Critique
    change: Change | None = None
    """Relative to the parent; None for a first drawing."""


class Advised(EventBase):
    """A policy's chat model answered. Since version 2."""

    type: Literal["advised"] = "advised"
    advice: Advice


class Compared(EventBase):
    """The critic compared two leading images; ``image`` is the better, None for equals. Since version 2."""

    type: Literal["compared"] = "compared"
    comparison: Comparison


class Decided(EventBase):
    """The policy decided about an image, and the graph carries the decision out."""

    type: Literal["decided"] = "decided"
    decision: Decision


class Steered(EventBase):
    """A person steered the run; ``image`` is the one they accepted. Since version 3."""

    type: Literal["steered"] = "steered"
    action: Literal["pause", "go", "accept", "decide", "budget", "cancel"]
    """What they asked for, done after the current step; the decisions of ``decide`` follow as events of their own, with
    the rule ``person``."""
    by: str = ""
    """Name of the person; may be empty."""
    budget: Budget | None = None
    """budget: that of the run from now on."""
    refused: str | None = None
    """Why it was not done; None where it was."""


class Failed(EventBase):
    """A node raised, or the run was interrupted."""

    type: Literal["error"] = "error"
    task: str | None = None
    """None where the error is not a node's."""
    error: str
    """Class of the exception."""
    message: str

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped the run, and nothing failed."""
        return self.error in ("Interrupted", "KeyboardInterrupt", "CancelledError")


class RunFinished(EventBase):
    """The last line of a finished run; ``image`` is the best one."""

    type: Literal["run_finished"] = "run_finished"
    stop: str
    """Rule that ended the best image's work."""
    spend: Spend


class Denoising(EventBase):
    """A step of the denoiser. Only ``on_event`` gets it; the file does not hold it."""

    type: Literal["denoising"] = "denoising"
    done: int
    """Steps done, 1 to ``steps``."""
    steps: int
    """Steps in all."""


Event = Annotated[
    RunStarted
    | Resumed
    | NodeStarted
    | NodeFinished
    | PromptDecomposed
    | ImageMade
    | Critiqued
    | Advised
    | Compared
    | Decided
    | Steered
    | Failed
    | RunFinished
    | Denoising,
    Field(discriminator="type"),
]
"""Any event; ``type`` says which."""

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)
_VERSION = re.compile(rb'"schema_version": ?(\d{1,9})')
"""In a line of any version."""


def read_events(path: Path | str) -> list[Event]:
    """Every event of a trace, as ``records_in``; ``FileNotFoundError`` if there is no such file."""
    if not os.path.exists(path):
        raise FileNotFoundError(path)
    return list(records_in(Path(path), _ADAPTER.validate_json, "event"))


def records_in(path: Path, read: Callable[[bytes], T], what: str) -> Iterator[T]:
    """Every line of a file of JSON lines, parsed by ``read``; without a last line that a kill cut off.

    ``TraceError`` if a line cannot be parsed, ``LaterVersion`` if it is of a later schema, and ``SettingsError`` if the
    file cannot be read. ``what`` names a line in messages.
    """
    for number, line in enumerate(read_lines(path), 1):
        try:
            yield read(line)
        except ValueError as error:
            if (found := _VERSION.search(line)) and int(found[1]) > SCHEMA_VERSION:
                raise LaterVersion(
                    f"line {number} of {path} was written by a later DetailScribe (schema {int(found[1])}, this one"
                    f" reads up to {SCHEMA_VERSION}): update with pip install -U detailscribe"
                ) from error
            problem = first_problem(error) if isinstance(error, ValidationError) else error
            raise TraceError(f"line {number} of {path} is no {what} of this version: {problem}") from error


def processes(events: Sequence[Event]) -> list[Sequence[Event]]:
    """The events of each process that worked on a run, in order."""
    starts = [0, *(n for n, event in enumerate(events) if n and isinstance(event, Resumed)), len(events)]
    return [events[start:end] for start, end in pairwise(starts) if end > start]
