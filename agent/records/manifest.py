"""What a run was made of: enough to make it again."""

import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import Field, ValidationError

from ...state import STATE_VERSION, Frozen
from ...tools.errors import SettingsError, first_problem
from ..settings.settings import Settings

MANIFEST = "manifest.json"

PACKAGES = (
    "accelerate",
    "bitsandbytes",
    "detailscribe",
    "diffusers",
    "langchain-core",
    "openai",
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
"""Those whose version can change a run."""


class Parent(Frozen):
    """The run that a run was forked from."""

    run: str
    """Its id."""
    step: int = Field(ge=0)
    """After which the two part; see ``detailscribe history``."""
    edits: dict[str, str] = Field(default_factory=dict)
    """What was changed in its state, as ``fork`` takes it."""


class Manifest(Frozen):
    """Written as ``manifest.json`` before anything is asked, and again when the models are loaded."""

    run: str
    prompt: str
    seed: int
    """In [0, 2**32)."""
    policy: str
    """Its class with parameters, as Python writes it."""
    settings: Settings
    """All of them, as the run used them, without secrets."""
    sources: dict[str, str]
    """Where each setting came from, by dotted name; those at their defaults are left out."""
    models: dict[str, str]
    """Name and content hash by role; empty while none is loaded."""
    interactive: bool = False
    """Whether a person decides."""
    parent: Parent | None = None
    """Where the run comes from; None for one that began with its prompt."""
    command: tuple[str, ...] = Field(default_factory=lambda: tuple(sys.argv))
    """The arguments of the process."""
    python: str = Field(default_factory=platform.python_version)
    platform: str = Field(default_factory=platform.platform)
    packages: dict[str, str] = Field(default_factory=lambda: installed())
    """Version by distribution."""
    state_version: int = STATE_VERSION


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run folder.

    Raises:
        SettingsError: there is none, or it is of a version that this code does not know.
    """
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except OSError as error:
        raise SettingsError(f"{folder} is no run folder: it holds no {MANIFEST}") from error
    except ValidationError as error:
        raise SettingsError(
            f"{folder / MANIFEST} is of another version of DetailScribe: {first_problem(error)}"
        ) from error


def installed() -> dict[str, str]:
    """Version of each of ``PACKAGES`` that is there."""
    return {name: found for name in PACKAGES if (found := _version(name))}


@cache
def _version(name: str) -> str | None:
    """Looked up once a process, since it takes a while."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
