"""The folder of a run: its name, its lock, what is written into it, and its removal if nothing comes of the run."""

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
from ..records.events import Event, LaterVersion, RunFinished, TraceError, read_events
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
    """The words of a text without articles, for a name: ``cat-holding-umbrella``; empty where it has no Latin word."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return "-".join(word for word in words if word not in ("a", "an", "the"))[:SLUG_LENGTH].strip("-")


def new_run_id(prompt: str) -> str:
    """Readable, sortable by time within a prompt, and unique: ``cat-holding-umbrella-1123-0947-3fa2``."""
    return f"{slug(prompt) or 'run'}-{datetime.now():%m%d-%H%M}-{secrets.token_hex(2)}"


@contextmanager
def new_folder(folder: Path) -> Generator[Store]:
    """The folder, made and locked; where the run fails before its first image, all that was made is removed."""
    with made_and_locked(folder):
        # Files of a run that was killed before it wrote anything do not count.
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
    """The folder of a run that goes on, locked; partial files that a kill left in it are removed."""
    if not folder.is_dir():
        raise SettingsError(f"there is no run folder {folder}")
    require_own(folder)
    with made_and_locked(folder):
        for partial in folder.rglob(PARTIAL):
            partial.unlink()
        yield Store(folder)


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """The folder, which is there, for this process alone; ``FolderInUse`` where another one works on it."""
    require_own(folder, deep=False)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0.2)  # who only looks has it for a moment
    except Timeout as error:
        raise FolderInUse(f"another process is working on {folder}: wait until it ends, or stop it first") from error
    try:
        yield
    finally:
        with suppress(OSError):  # a process that waits for the lock sees that the file is gone, and makes a new one
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
    """The folder for this process alone; where the block raises, what was made for it and is empty goes again."""
    absent = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        with ExitStack() as held:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(folder))
            except (OSError, ValueError) as error:
                raise unusable(folder, error) from error
            yield
    except BaseException:
        for path in absent:
            with suppress(OSError, ValueError):  # it holds something, or is no path
                path.rmdir()
        raise


def unusable(folder: Path, error: OSError | ValueError) -> SettingsError:
    """The error of a folder that cannot be written to."""
    cause = error.strerror if isinstance(error, OSError) else error
    return SettingsError(f"cannot write to the folder {str(folder)!r}: {cause}")


def manifest_of(run: str, prompt: str, seed: int, policy: Policy, loaded: Loaded, **more: object) -> Manifest:
    """What the run is made of; ``more`` are further fields."""
    sources = {name: source for name in known_names() if (source := loaded.source(name)) != "default"}
    fields: dict[str, Any] = {"settings": loaded.settings, **more}
    return Manifest(run=run, prompt=prompt, seed=seed, policy=policy_name(policy), sources=sources, **fields)


def finished_run(folder: Path) -> Run | None:
    """The run in a folder that is locked, if it came to its end. A trace or a result that cannot be read is set aside,
    since both are made again where the run goes on; one of a later version is refused."""
    events: list[Event] = []
    try:
        events = read_events(folder / EVENTS)
    except FileNotFoundError:
        if os.path.lexists(folder / EVENTS):
            set_aside(folder / EVENTS, f"{folder / EVENTS} leads nowhere")
    except LaterVersion:
        raise
    except SettingsError as error:
        set_aside(folder / EVENTS, error)
    if not events or not isinstance(events[-1], RunFinished):
        return None
    try:
        return Run(read_json(folder / RESULT, RunResult), folder)
    except TraceError as error:
        set_aside(folder / RESULT, error)
        return None


def result_of(run: str, state: RunState) -> RunResult:
    """The outcome of a state that ``finish`` has written."""
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
