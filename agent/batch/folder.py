"""The folder of a batch: what it is made with, and that it goes on with nothing else."""

import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...tools.errors import SettingsError
from ...tools.files import Store, require_own
from ...tools.roles import ready
from ..records.manifest import Provenance
from ..runs.folder import remove_empty
from ..settings.models import Models
from .jobs import Ledger

MANIFEST = "batch.json"


class BatchManifest(Provenance):
    """Written as ``batch.json`` before anything is drawn; settings and policy are of every prompt that says nothing
    else."""

    source: str | None
    """Where the prompts came from, without secrets; None where the caller gave them."""

    def facts(self) -> dict[str, Any]:
        """What must be alike for a batch to go on, by dotted name."""
        return self.settings.facts() | {"policy": self.policy}


def note_models(folder: Path, models: Mapping[str, str]) -> None:
    """Write the names of the models into ``batch.json``, when they were loaded for the first time.

    Raises:
        SettingsError: the folder's batch began with others.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise SettingsError(f"{folder / MANIFEST} is missing: start again")
    if manifest.models:
        refuse_difference(str(folder), manifest.models, models)
    else:
        write_manifest(folder, manifest.model_copy(update={"models": dict(models)}))


async def require_models(folder: Path, models: Models) -> None:
    """Load the models that an earlier start of the batch used; ``SettingsError`` where they are others now."""
    manifest = read_manifest(folder) if (folder / MANIFEST).exists() else None
    if manifest is not None and manifest.models:
        for role in manifest.models:
            await ready(getattr(models, role))
        refuse_difference(str(folder), manifest.models, models.names)


def write_manifest(folder: Path, manifest: BatchManifest) -> None:
    """Write it into the folder."""
    Store(folder).write(MANIFEST, manifest.model_dump_json(indent=2).encode())


def refuse_difference(place: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """``SettingsError`` where what a batch in a place began with is not what it is to go on with."""
    others = [f"{name} was {then.get(name)!r} and is {now[name]!r}" for name in now if then.get(name) != now[name]]
    if others:
        raise SettingsError(f"the batch in {place} began otherwise ({'; '.join(others)}): name another --out")


def read_manifest(folder: Path) -> BatchManifest | None:
    """That of the folder; None where the folder is empty or absent.

    Raises:
        SettingsError: it holds something that is no batch, one of another version, or links that lead out of it.
    """
    require_own(folder, deep=False)
    try:
        return BatchManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except ValidationError as error:
        raise SettingsError(f"{folder / MANIFEST} is of another version of DetailScribe: name another --out") from error
    except FileNotFoundError as error:
        if os.path.isdir(folder) and any(folder.iterdir()):
            raise SettingsError(f"{folder} is not empty and holds no batch: name another --out") from error
        return None
    except (OSError, ValueError) as error:
        raise _unusable(folder, error) from error


@contextmanager
def batch_folder(folder: Path, manifest: BatchManifest, *, forget_failed: bool = False) -> Generator[Ledger]:
    """The folder with its rows, ours alone; where nothing comes of a new batch, all that was made goes again.

    Raises:
        SettingsError: it cannot be written, is in use, or holds the batch of other settings.
    """
    if (before := read_manifest(folder)) is not None:
        refuse_difference(str(folder), before.facts(), manifest.facts())
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(folder, forget_failed=forget_failed)
    except (OSError, ValueError) as error:
        remove_empty(absent)
        raise _unusable(folder, error) from error
    with ledger:
        if not (folder / MANIFEST).exists():
            write_manifest(folder, manifest)
        try:
            yield ledger
        except BaseException:
            if absent and not ledger.tally.rows and not any(folder.glob("runs/*")):
                shutil.rmtree(folder)
                remove_empty(absent)
            raise


def _unusable(folder: Path, error: Exception) -> SettingsError:
    cause = error.strerror if isinstance(error, OSError) else error
    return SettingsError(f"cannot write to the folder {str(folder)!r}: {cause}")
