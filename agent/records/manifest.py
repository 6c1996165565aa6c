"""The manifest of a run: settings, versions and models, enough to make it again."""

import platform
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError

from ...state import STATE_VERSION, Frozen
from ...tools.errors import first_problem
from ...tools.files import Store, require_own
from ...tools.text import without_secrets
from ..settings.settings import Settings
from .events import TraceError

T = TypeVar("T", bound=BaseModel)

MANIFEST = "manifest.json"

PACKAGES = (
    "accelerate",
    "bitsandbytes",
    "detailscribe",
    "diffusers",
    "langchain-core",
    "langgraph",
    "langgraph-checkpoint-sqlite",
    "numpy",
    "openai",
    "pillow",
    "pydantic",
    "safetensors",
    "torch",
    "transformers",
)
"""Packages whose version can change a run."""


@cache
def installed() -> dict[str, str]:
    """Version of each installed package of ``PACKAGES``; cached, since looking it up takes a while."""
    versions: dict[str, str] = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def command_line() -> tuple[str, ...]:
    """The arguments of the process, without secrets in URLs, since files hold them."""
    return tuple(map(without_secrets, sys.argv))


class Parent(Frozen):
    """The run that a run was forked from."""

    run: str
    """Its id."""
    step: int = Field(ge=0)
    """The last one that both runs share; see ``detailscribe history``."""
    edits: dict[str, str] = Field(default_factory=dict)
    """The changes of its state, as ``fork`` takes them."""


class Provenance(Frozen):
    """How a run or a batch was made."""

    settings: Settings
    """All of them, without secrets."""
    policy: str
    """Its class with parameters, as Python writes it."""
    models: dict[str, str] = Field(default_factory=dict[str, str])
    """Name and content hash by role; empty while none is loaded."""
    command: tuple[str, ...] = Field(default_factory=lambda: command_line())
    """The arguments of the process, without secrets in URLs."""
    python: str = Field(default_factory=platform.python_version)
    platform: str = Field(default_factory=platform.platform)
    packages: dict[str, str] = Field(default_factory=installed)
    """Version by distribution."""
    state_version: int = STATE_VERSION


class Manifest(Provenance):
    """Written as ``manifest.json`` before any model is asked, and again when the models are loaded."""

    run: str
    """Its id."""
    prompt: str
    seed: int
    """In [0, 2**32)."""
    sources: dict[str, str]
    """Where each setting came from, by dotted name; without defaults."""
    interactive: bool = False
    """Whether a person decides."""
    parent: Parent | None = None
    """The run that it was forked from, if any."""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run folder; ``TraceError`` if there is none of this version."""
    return read_json(folder / MANIFEST, Manifest)


def read_json(path: Path, model: type[T]) -> T:
    """Read a JSON file of a run folder; ``TraceError`` if it is missing, damaged or of another version,
    ``OutsideError`` if the folder holds links that lead out of it."""
    require_own(path.parent)
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise TraceError(f"{path.parent} is no run folder: it holds no {path.name}") from error
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise TraceError(f"{path} is damaged or of another version of DetailScribe: {first_problem(error)}") from error


def write_manifest(store: Store, manifest: Manifest) -> None:
    """Write ``manifest.json``."""
    store.write(MANIFEST, manifest.model_dump_json(indent=2).encode())
