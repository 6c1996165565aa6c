"""The settings of a run, from a TOML file and from what the caller gave on top of it."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ..state import SEED_LIMIT, Budget, Frozen
from ..tools.errors import SettingsError
from .validation import first_problem


class Settings(Frozen):
    """Everything about a run but the prompt."""

    policy: str = "adaptive"
    """A known name or ``module:Name``."""
    policy_args: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the policy's class."""
    preset: str = "embedded"
    """Which models take part."""
    seed: int = Field(default=0, ge=0, lt=SEED_LIMIT)
    steps: int | None = Field(default=None, ge=1, le=1000)
    """Length of the denoising schedule; None for the preset's own."""
    guidance: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Scale of classifier-free guidance; None for the preset's own."""
    budget: Budget = Field(default_factory=Budget)
    out: Path | None = None
    """The run folder; None for a new one under ``runs/``."""


def make_settings(**given: object) -> Settings:
    """The settings of these values.

    Raises:
        SettingsError: a value is out of range or a name unknown.
    """
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError(first_problem(error)) from error


def load_settings(path: Path) -> Settings:
    """The settings of a TOML file.

    Raises:
        SettingsError: the file cannot be read, is no TOML, or holds what is no setting.
    """
    try:
        return Settings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except ValidationError as error:
        raise SettingsError(f"settings file {path}: {first_problem(error)}") from error
    except ValueError as error:
        raise SettingsError(f"settings file {path} is no TOML: {error}") from error
