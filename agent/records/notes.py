"""Notes that people make about a recorded run, in ``notes.jsonl`` beside it; the record never changes."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from ...state import Answer, Check, Frozen
from ...tools.files import JsonLines, Store
from .events import TraceError, records_in
from .reader import RecordedRun

NOTES = "notes.jsonl"

Mark = Literal["favourite", "reject", "none"]
"""favourite: worth keeping; reject: not usable; none: the mark was removed."""


class Note(Frozen):
    """One line of ``notes.jsonl``; fields that are not set keep the value of earlier lines about the same image."""

    image: str = ""
    """Id of the image; empty for the run as a whole."""
    mark: Mark | None = None
    text: str | None = Field(default=None, max_length=20_000)
    """In the person's words; empty where a text was removed."""
    verdicts: dict[str, Answer] = Field(default_factory=dict[str, Answer])
    """The person's answers by check id."""
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """When it was written, UTC."""
    by: str = Field(default="", max_length=200)
    """Name of the person; may be empty."""


class Correction(NamedTuple):
    """A check of one image that both the critic and a person answered."""

    image: str
    check: Check
    critic: Answer
    person: Answer


def read_notes(folder: Path) -> dict[str, Note]:
    """All notes on each image merged into one, by image id (empty for the run); ``TraceError`` if a line is no note."""
    notes = dict[str, Note]()
    for note in records_in(Store(folder).path(NOTES), Note.model_validate_json, "note"):
        before = notes.get(note.image, note)
        changes = {name: value for name, value in note if value is not None}
        changes["verdicts"] = before.verdicts | note.verdicts
        notes[note.image] = before.model_copy(update=changes)
    return notes


def add_note(run: RecordedRun, note: Note) -> None:
    """Append a note to ``notes.jsonl``; ``TraceError`` if the run has no such image or check."""
    if note.image and note.image not in run.images:
        raise TraceError(f"the run {run.run} has no image {note.image!r:.40}")
    known = {check.id for check in run.concepts.checks} if run.concepts else set[str]()
    if unknown := sorted(note.verdicts.keys() - known):
        raise TraceError(f"the run {run.run} asks for no check {unknown[0]!r:.40}")
    with JsonLines(Store(run.folder).path(NOTES)) as file:
        file.append(note.model_dump_json(exclude_none=True))


def corrections(run: RecordedRun) -> list[Correction]:
    """The checks that both the critic and a person answered."""
    checks = {check.id: check for check in run.concepts.checks} if run.concepts else {}
    answers = {image: critique.answers() for image, critique in run.critiques.items()}
    return [
        Correction(image, checks[check], answers[image][check], person)
        for image, note in read_notes(run.folder).items()
        for check, person in note.verdicts.items()
        if check in checks and check in answers.get(image, {})
    ]
