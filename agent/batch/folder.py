"""The folder of a batch: its manifest, its rows, and the check that it continues with the same settings."""

import os
import shutil
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from ...tools.errors import SettingsError
from ...tools.files import JsonLines, Store, mend_lines, require_own, write_whole
from ...tools.roles import ready
from ..records.manifest import Provenance
from ..records.rows import PLAN, RESULTS, Plan, Row, Tally, read_rows
from ..runs.folder import made_and_locked, unusable
from ..settings.models import Models
from .jobs import Job

MANIFEST = "batch.json"


class BatchManifest(Provenance):
    """Written as ``batch.json`` before anything is drawn; settings and policy are the defaults of all prompts."""

    source: str | None
    """Where the prompts came from, without secrets; None if the caller passed them."""

    def write(self, folder: Path) -> None:
        """Write it into the folder of the batch."""
        Store(folder).write(MANIFEST, self.model_dump_json(indent=2).encode())

    def refuse_other(self, place: str, now: "BatchManifest") -> None:
        """``SettingsError`` if the batch in ``place``, which began with this manifest, differs from ``now``."""
        _refuse_difference(place, *(m.settings.facts() | {"policy": m.policy} for m in (self, now)))


def _refuse_difference(place: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changes = [f"{name} was {then.get(name)!r} and is {now[name]!r}" for name in now if then.get(name) != now[name]]
    if changes:
        raise SettingsError(f"the batch in {place} began otherwise ({'; '.join(changes)}): name another --out")


class Ledger:
    """Appends rows to ``results.jsonl`` in a folder, which it locks. In memory it keeps no rows, only the id of every
    job and a hash of what it asked for. ``forget_failed`` drops the rows of jobs that failed or whose critic gave no
    answer, so that they run again."""

    def __init__(self, folder: Path, *, forget_failed: bool = False) -> None:
        self.root = folder
        """The folder of the rows and of all that they refer to."""
        self.tally = Tally()
        """Of all rows."""
        self._keys: dict[str, str] = {}
        with ExitStack() as held:
            held.enter_context(made_and_locked(folder))
            mend_lines(folder / RESULTS, Row)
            if forget_failed:
                kept = [row.model_dump_json() for row in read_rows(folder) if row.status == "done" and not row.unheard]
                write_whole(folder / RESULTS, "".join(f"{line}\n" for line in kept).encode())
            for row in read_rows(folder):
                self._note(row)
            self._lines = held.enter_context(JsonLines(folder / RESULTS, sync=True))
            self._held = held.pop_all()

    def has(self, job: Job) -> bool:
        """Whether the job has a row; ``SettingsError`` if that row is of something else under the same id."""
        key = self._keys.get(job.id)
        if key not in (None, job.key):
            raise SettingsError(
                f"{job.id!r} has a row in {self.root} already, for another prompt, seed, policy or budget:"
                " give it another id, or name another --out"
            )
        return key is not None

    def plan(self, jobs: Iterable[Job]) -> None:
        """Write ``plan.json``, from which viewers read how many rows to expect."""
        left, rows = sum(not self.has(job) for job in jobs), self.tally.rows
        write_whole(self.root / PLAN, Plan(jobs=rows + left, rows=rows).model_dump_json().encode())

    def append(self, row: Row) -> None:
        """Write one line, and return when it is on disk."""
        self._lines.append(row.model_dump_json())
        self._note(row)

    def _note(self, row: Row) -> None:
        self._keys[row.id] = row.key
        self.tally.add(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._held.__exit__(*error)


def note_models(folder: Path, models: Mapping[str, str]) -> None:
    """Write the names of the models into ``batch.json``; ``SettingsError`` if it already has other names."""
    manifest = read_manifest(folder)
    if manifest.models:
        _refuse_difference(str(folder), manifest.models, models)
    else:
        manifest.model_copy(update={"models": dict(models)}).write(folder)


async def require_models(folder: Path, models: Models) -> None:
    """Load the models that an earlier start of the batch used; ``SettingsError`` if they have changed."""
    if before := read_manifest(folder).models:
        for role in before:
            await ready(getattr(models, role))
        _refuse_difference(str(folder), before, models.names)


def read_manifest(folder: Path) -> BatchManifest:
    """The manifest of a folder; ``SettingsError`` if it holds no batch, or links that lead out of it."""
    require_own(folder, deep=False)
    try:
        return BatchManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except ValidationError as error:
        raise SettingsError(f"{folder / MANIFEST} is of another version of DetailScribe: name another --out") from error
    except FileNotFoundError as error:
        raise SettingsError(f"{folder} is not empty and holds no batch: name another --out") from error
    except (OSError, ValueError) as error:
        raise unusable(folder, error) from error


@contextmanager
def batch_folder(folder: Path, manifest: BatchManifest, *, forget_failed: bool = False) -> Generator[Ledger]:
    """The locked folder of a batch; if a new batch fails before its first run, the folder is removed again."""
    if os.path.lexists(folder) and not (os.path.isdir(folder) and not os.listdir(folder)):
        read_manifest(folder).refuse_other(str(folder), manifest)
    is_new = not os.path.exists(folder)
    with Ledger(folder, forget_failed=forget_failed) as ledger:
        if not (folder / MANIFEST).exists():
            manifest.write(folder)
        try:
            yield ledger
        except BaseException:
            if is_new and not ledger.tally.rows and not any(folder.glob("runs/*")):
                shutil.rmtree(folder)
            raise
