"""The record of a prompt, which readers return and files of this project hold."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ...state import Frozen, Words
from ..errors import SettingsError
from ..files import write_whole

ScenarioName = Literal["functional", "compositional", "multi_subject"]
"""functional: one acts on something, with a tool or its body; compositional: things make up a form;
multi_subject: several act together."""

_OWN = ("id", "prompt", "scenario", "subclass")
_SETTINGS = ("seed", "policy", "policy_args", "budget")
"""Fields of a batch's line that are settings of its run."""


class PromptRecord(Frozen):
    """One prompt of a set."""

    id: Words
    """Unique in its set."""
    prompt: Words
    scenario: str | None = None
    """The group that it is reported in; None if unknown."""
    subclass: str | None = None
    """A part of the scenario; None if unknown."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """The other columns of its source, as JSON values."""

    def line(self) -> str:
        """The record as one JSON object with the fields of ``extra``, without unknown ones. A field of ``extra`` that a
        batch would read as a setting, such as ``seed``, becomes ``source_seed``."""
        known = {name: value for name in _OWN if (value := getattr(self, name)) is not None}
        extra = {f"source_{k}" if k in (*_OWN, *_SETTINGS) else k: v for k, v in self.extra.items()}
        return json.dumps({**known, **extra}, ensure_ascii=False)


def with_own_ids(records: Iterable[PromptRecord]) -> Iterator[PromptRecord]:
    """The same records with distinct ids: the second ``a`` becomes ``a-2``."""
    seen: Counter[str] = Counter()
    for record in records:
        id = record.id
        while seen[id]:
            seen[record.id] += 1
            id = f"{record.id}-{seen[record.id]}"
        seen[id] += 1
        yield record if id == record.id else record.model_copy(update={"id": id})


def distinct(records: Iterable[PromptRecord]) -> Iterator[PromptRecord]:
    """The first record of each prompt, ignoring case and spaces."""
    seen = set[str]()
    for record in records:
        key = " ".join(record.prompt.casefold().split())
        if key not in seen:
            seen.add(key)
            yield record


def write_prompts(records: Iterable[PromptRecord], path: Path) -> int:
    """Write one record a line and return their number; ``SettingsError`` if that fails, or the suffix names another
    format."""
    if path.suffix.lower() in (".json", ".csv", ".tsv", ".parquet", ".txt"):
        raise SettingsError(f"prompts are written as JSON lines: name {path.with_suffix('.jsonl')}")
    lines = [record.line() for record in records]
    try:
        write_whole(path, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error
    return len(lines)
