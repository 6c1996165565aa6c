"""The folder of a run: its name, its lock, its manifest and result, and its removal if the run fails early."""

import os
import re
import secrets
import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ...state import RunResult, RunState, spend_of
from ...tools.errors import SettingsError
from ...tools.files import PARTIAL, Store, require_own, set_aside
from ..policies import Policy, policy_name
from ..records.events import LaterVersion, RunFinished, read_events
from ..records.manifest import Manifest, read_json
from ..records.reader import EVENTS, RESULT, Run
from ..settings.loading import Loaded, known_names

LOCK = ".lock"
"""Held by the process that works on the folder; a kill releases it."""
SLUG_LENGTH = 40
"""Characters of the prompt in a run's id."""


class FolderInUse(SettingsError):
    """Another process works on the run folder."""


def slug(text: str) -> str:
    """The Latin words of a text without articles, for a name: ``cat-holding-umbrella``."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return "-".join(word for word in words if word not in ("a", "an", "the"))[:SLUG_LENGTH].strip("-")


def new_run_id(prompt: str) -> str:
    """A readable, unique name: ``cat-holding-umbrella-1123-0947-3fa2``."""
    return f"{slug(prompt) or 'run'}-{datetime.now():%m%d-%H%M}-{secrets.token_hex(2)}"


@contextmanager
def new_folder(folder: Path) -> Generator[Store]:
    """Make and lock the folder; if the run fails before its first image, remove what was made."""
    with made_and_locked(folder):
        # Partial files of a run that was killed before it wrote anything do not count.
        if any(path.name != LOCK and not path.match(PARTIAL) for path in folder.iterdir()):
            unfinished = (folder / "manifest.json").exists() and not (folder / "result.json").exists()
            other = f", or go on with the run in it: detailscribe resume {folder}" if unfinished else ""
            raise SettingsError(f"the run folder {folder} is not empty; name another with --out{other}")
        for partial in folder.glob(PARTIAL):
            partial.unlink()
        try:
            yield Store(folder)
        except BaseException:
            if not any(folder.glob("images/*.png")):
                for path in folder.iterdir():
                    if path.name != LOCK:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
            raise


@contextmanager
def old_folder(folder: Path) -> Generator[Store]:
    """Lock the folder of a run that goes on; remove partial files that a kill left."""
    if not folder.is_dir():
        raise SettingsError(f"there is no run folder {folder}")
    require_own(folder)
    with made_and_locked(folder):
        for partial in folder.rglob(PARTIAL):
            partial.unlink()
        yield Store(folder)


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Lock a folder that exists; ``FolderInUse`` where another process works on it."""
    require_own(folder, deep=False)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0.2)  # ``is_at_work`` holds it for a moment
    except Timeout as error:
        raise FolderInUse(f"another process is working on {folder}: wait until it ends, or stop it first") from error
    try:
        yield
    finally:
        with suppress(OSError):  # a process that waits for the lock sees that the file is missing, and makes a new one
            (folder / LOCK).unlink()
        lock.release()


def is_at_work(folder: Path) -> bool:
    """Whether a process works on the folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        with FileLock(folder / LOCK).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # not ours to lock
        return False


@contextmanager
def made_and_locked(folder: Path) -> Generator[None]:
    """Make and lock a folder; where the block raises, remove the folders that were made and are empty."""
    absent = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        with ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(folder))
            except (OSError, ValueError) as error:
                raise unusable(folder, error) from error
            yield
    except BaseException:
        for path in absent:
            with suppress(OSError, ValueError):  # it holds something, or is no path
                path.rmdir()
        raise


def unusable(folder: Path, error: OSError | ValueError) -> SettingsError:
    cause = error.strerror if isinstance(error, OSError) else error
    return SettingsError(f"cannot write to the folder {str(folder)!r}: {cause}")


def manifest_of(run: str, prompt: str, seed: int, policy: Policy, loaded: Loaded, **more: object) -> Manifest:
    """The manifest of a new run; ``more`` are further fields."""
    sources = {name: source for name in known_names() if (source := loaded.source(name)) != "default"}
    fields: dict[str, Any] = {"settings": loaded.settings, **more}
    return Manifest(run=run, prompt=prompt, seed=seed, policy=policy_name(policy), sources=sources, **fields)


def finished_run(folder: Path) -> Run | None:
    """The run in a locked folder, if it is finished. A trace or a result that cannot be read is set aside, since a
    resumed run writes both anew; one of a later version is refused."""
    path = folder / EVENTS
    try:
        events = read_events(path)
        if not events or not isinstance(events[-1], RunFinished):
            return None
        path = folder / RESULT
        return Run(read_json(path, RunResult), folder)
    except FileNotFoundError:
        if os.path.lexists(path):
            set_aside(path, f"{path} leads nowhere")
    except LaterVersion:
        raise
    except SettingsError as error:
        set_aside(path, error)
    return None


def result_of(run: str, state: RunState) -> RunResult:
    """The result of a run whose node ``finish`` has run."""
    ids = sorted(state["images"])
    advice, comparisons = state.get("advice", {}).values(), state.get("comparisons", {}).values()
    return RunResult(
        run=run,
        prompt=state["prompt"],
        concepts=state["concepts"],
        best=state["images"][state["best"]],
        images=tuple(state["images"][id] for id in ids),
        critiques=tuple(state["critiques"][id] for id in ids),
        decisions=tuple(state["decisions"][id] for id in ids),
        advice=tuple(advice),
        comparisons=tuple(comparisons),
        stop=state["stop"],
        spend=spend_of(state["concepts"], state["images"], state["critiques"], advice, comparisons),
    )
