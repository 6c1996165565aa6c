"""The folder of a run: its name, its claim, and its end if the run comes to nothing."""

import os
import re
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from ..tools.errors import SettingsError
from ..tools.store import Store

SLUG_LENGTH = 40
"""Characters of the prompt in a run's id."""


def new_run_id(prompt: str) -> str:
    """Readable, sortable by time within a prompt, and unique: ``cat-holding-umbrella-1123-0947-3fa2``."""
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    slug = "-".join(word for word in words if word not in ("a", "an", "the"))[:SLUG_LENGTH].strip("-")
    return f"{slug or 'run'}-{datetime.now():%m%d-%H%M}-{secrets.token_hex(2)}"


@contextmanager
def claimed(folder: Path) -> Generator[Store]:
    """The folder, made and ours; where the run fails before its first image, all that was made goes again.

    Raises:
        SettingsError: it cannot be made or written, or holds something already.
    """
    absent = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        _make(folder)
    except SettingsError:
        _remove_empty(absent)
        raise
    try:
        yield Store(folder)
    except BaseException:
        if not any(folder.glob("images/*.png")):
            _clear(folder)
            _remove_empty(absent)
        raise


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise SettingsError(f"the run folder {folder} is not empty; name another with --out")
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"cannot write to the run folder {str(folder)!r}: {cause}") from error


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _remove_empty(folders: list[Path]) -> None:
    """Remove these, innermost first, up to one that holds something."""
    for folder in folders:
        if os.path.isdir(folder):
            if any(folder.iterdir()):
                return
            folder.rmdir()
