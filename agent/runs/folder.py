"""The folder of a run: its name, its claim, and its end if the run comes to nothing."""

import os
import re
import secrets
import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from ...tools.errors import SettingsError
from ...tools.store import PARTIAL, Store
from .locking import LOCK, locked

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
        SettingsError: it cannot be made or written, holds something already, or another process works on it.
    """
    absent = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        with _ours(folder):
            _refuse_full(folder)
            with _cleared_without_image(folder):
                yield Store(folder)
    except BaseException:
        _remove_empty(absent)
        raise


@contextmanager
def taken_up(folder: Path) -> Generator[Store]:
    """The folder of a run that goes on; what a kill left half written in it is gone.

    Raises:
        SettingsError: there is no such folder, it cannot be written, or another process works on it.
    """
    if not folder.is_dir():
        raise SettingsError(f"there is no run folder {folder}")
    with _ours(folder):
        for partial in folder.rglob(PARTIAL):
            partial.unlink()
        yield Store(folder)


@contextmanager
def _ours(folder: Path) -> Generator[None]:
    """The folder, made and locked; only its making can fail."""
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder))
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"cannot write to the run folder {str(folder)!r}: {cause}") from error
        yield


def _refuse_full(folder: Path) -> None:
    """What a run left that was killed before it wrote anything does not count."""
    if any(path.name != LOCK and not path.match(PARTIAL) for path in folder.iterdir()):
        unfinished = (folder / "manifest.json").exists() and not (folder / "result.json").exists()
        other = f", or go on with the run in it: detailscribe resume {folder}" if unfinished else ""
        raise SettingsError(f"the run folder {folder} is not empty; name another with --out{other}")


@contextmanager
def _cleared_without_image(folder: Path) -> Generator[None]:
    try:
        yield
    except BaseException:
        if not any(folder.glob("images/*.png")):
            _clear(folder)
        raise


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _remove_empty(folders: list[Path]) -> None:
    """Remove these, innermost first, up to one that holds something."""
    for folder in folders:
        if os.path.isdir(folder):
            if any(folder.iterdir()):
                return
            folder.rmdir()
