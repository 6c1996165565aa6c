"""A prompt with what is known of it, as every reader returns it and every file of this project holds it."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ...state import Frozen, Words
from ..errors import SettingsError
from ..files import Store

ScenarioName = Literal["functional", "compositional", "multi_subject"]
"""functional: one acts on something, with a tool or its body; compositional: things make up a form;
multi_subject: several act together."""

_OWN = ("id", "prompt", "scenario", "subclass")
_SETTINGS = ("seed", "policy", "policy_args", "budget")
"""Names by which a line of a batch says how its prompt is drawn."""


class PromptRecord(Frozen):
    """One prompt of a set."""

    id: Words
    """Unique in its set."""
    prompt: Words
    scenario: str | None = None
    """The group that it is reported in; None where nothing is known of it."""
    subclass: str | None = None
    """A part of the scenario; None where nothing is known of it."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Whatever else its source says, by the source's names; plain JSON values."""

    def line(self) -> str:
        """It as one JSON object with ``extra`` beside the rest, without what is not known. A name in ``extra`` that a
        batch would read as a setting, such as ``seed``, becomes ``source_seed``."""
        known = {name: value for name in _OWN if (value := getattr(self, name)) is not None}
        extra = {f"source_{k}" if k in (*_OWN, *_SETTINGS) else k: v for k, v in self.extra.items()}
        return json.dumps({**known, **extra}, ensure_ascii=False)


def with_own_ids(records: Iterable[PromptRecord]) -> Iterator[PromptRecord]:
    """The same records, each under an id of its own: the second ``a`` becomes ``a-2``."""
    seen: Counter[str] = Counter()
    for record in records:
        id = record.id
        while seen[id]:
            seen[record.id] += 1
            id = f"{record.id}-{seen[record.id]}"
        seen[id] += 1
        yield record if id == record.id else record.model_copy(update={"id": id})


def distinct(records: Iterable[PromptRecord]) -> Iterator[PromptRecord]:
    """The first record of each prompt, blanks and case aside."""
    seen = set[str]()
    for record in records:
        key = " ".join(record.prompt.casefold().split())
        if key not in seen:
            seen.add(key)
            yield record


def write_prompts(records: Iterable[PromptRecord], path: Path) -> int:
    """Write one record a line, the file whole or not at all, and return their number.

    ``SettingsError`` if it cannot be written, or its suffix names another format, as which it would be read.
    """
    if path.suffix.lower() in (".json", ".csv", ".tsv", ".parquet", ".txt"):
        raise SettingsError(f"prompts are written as JSON lines: name {path.with_suffix('.jsonl')}")
    lines = [record.line() for record in records]
    try:
        Store(path.parent).write(path.name, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error
    return len(lines)
