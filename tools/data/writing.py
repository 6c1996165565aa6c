"""Prompts as JSON lines, which every command that takes prompts reads."""

from collections.abc import Iterable
from pathlib import Path

from ..errors import SettingsError
from ..store import Store
from .formats import FORMATS
from .records import PromptRecord


def write_prompts(records: Iterable[PromptRecord], path: Path) -> int:
    """Write one record a line, the file whole or not at all; the number of records.

    Raises:
        SettingsError: the file cannot be written, or its suffix names another format, as which it would be read.
    """
    if path.suffix.lower().lstrip(".") in {*FORMATS} - {"jsonl", "ndjson"}:
        raise SettingsError(f"prompts are written as JSON lines: name {path.with_suffix('.jsonl')}")
    lines = [record.line() for record in records]
    try:
        Store(path.parent).write(path.name, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error
    return len(lines)
