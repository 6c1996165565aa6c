"""What people say of a recorded run: kept beside the record in ``notes.jsonl``, which it never changes."""

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
"""favourite: worth keeping; reject: not usable; none: a mark that was taken back."""


class Note(Frozen):
    """One line of ``notes.jsonl``; what it does not set keeps what earlier lines of the same image said."""

    image: str = ""
    """Id of the image; empty for the run as a whole."""
    mark: Mark | None = None
    text: str | None = Field(default=None, max_length=20_000)
    """In the person's words; empty where a text was taken back."""
    verdicts: dict[str, Answer] = Field(default_factory=dict[str, Answer])
    """What the person answers, by check id, whatever the critic says."""
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """When it was said, UTC."""
    by: str = Field(default="", max_length=200)
    """Who said it; empty where they gave no name."""


class Correction(NamedTuple):
    """A check that a person answered on an image that the critic looked at."""

    image: str
    check: Check
    critic: Answer
    person: Answer


def read_notes(folder: Path) -> dict[str, Note]:
    """What holds now, by image id, or the empty one for the whole run; ``TraceError`` if a line is no note."""
    found, path = dict[str, Note](), Store(folder).path(NOTES)
    for note in records_in(path, Note.model_validate_json, "note"):
        before = found.get(note.image, Note())
        said = {name: value for name in ("mark", "text") if (value := getattr(before, name)) is not None}
        said |= note.model_dump(exclude_none=True) | {"verdicts": before.verdicts | note.verdicts}
        found[note.image] = Note.model_validate(said)
    return found


def add_note(run: RecordedRun, note: Note) -> None:
    """Write a note about a run beside it; ``TraceError`` if the run has no such image, or asks for no such check."""
    if note.image and note.image not in run.images:
        raise TraceError(f"the run {run.run} has no image {note.image!r:.40}")
    known = {check.id for check in run.concepts.checks} if run.concepts else set[str]()
    if unknown := sorted(note.verdicts.keys() - known):
        raise TraceError(f"the run {run.run} asks for no check {unknown[0]!r:.40}")
    with JsonLines(Store(run.folder).path(NOTES)) as file:
        file.append(note.model_dump_json(exclude_none=True))


def corrections(run: RecordedRun) -> list[Correction]:
    """The checks that people answered, beside what the critic answered."""
    if run.concepts is None:
        return []
    checks, found = {check.id: check for check in run.concepts.checks}, list[Correction]()
    for image, note in read_notes(run.folder).items():
        said = run.critiques[image].answers() if image in run.critiques else {}
        for check, person in note.verdicts.items():
            if check in checks and check in said:
                found.append(Correction(image, checks[check], said[check], person))
    return found
