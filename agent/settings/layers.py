"""Where settings come from: each source as a nested table of what it says, and nothing that it does not say."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_settings import BaseSettings, EnvSettingsSource
from pydantic_settings.exceptions import SettingsError as EnvironmentSyntaxError

from ...tools.errors import SettingsError
from .sections import ChatSection, DiffusionSection, ImagesSection, RunSettings, Settings, VisionSection

PREFIX = "DETAILSCRIBE_"
"""Of environment variables; ``DETAILSCRIBE_RUN__SEED`` is ``run.seed``."""
NESTED = "__"
DEFAULT_FILE = Path("detailscribe.toml")
"""Read where no other file is named and this one is there."""
FALLBACKS = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": "url"}
"""Environment variables of the chat side that other programs use too."""

Table = dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """What one source says."""

    source: str
    """``argument``, ``environment``, ``file``, ``preset`` or ``default``."""
    place: str
    """Which one, in words; empty where the source is enough."""
    values: Table = field(repr=False)
    """Nested by section; among them may be secrets."""


class _Environment(BaseSettings):
    """The sections as pydantic-settings reads them from the environment."""

    run: RunSettings = RunSettings()
    chat: ChatSection = ChatSection()
    vision: VisionSection = VisionSection()
    diffusion: DiffusionSection = DiffusionSection()
    images: ImagesSection = ImagesSection()


def from_arguments(*given: Mapping[str, Any]) -> Layer:
    """What the caller gave; later tables go before earlier ones.

    Raises:
        SettingsError: a name is unknown.
    """
    values: Table = {}
    for table in given:
        overlay(values, table)
    return _known(Layer("argument", "", values))


def from_environment() -> Layer:
    """Variables with the prefix.

    Raises:
        SettingsError: a name is unknown, or a section given whole is no JSON.
    """
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            _refuse_unknown(name.upper().removeprefix(PREFIX).lower().split(NESTED), name)
    try:
        read = EnvSettingsSource(_Environment, env_prefix=PREFIX, env_nested_delimiter=NESTED)()
    except EnvironmentSyntaxError as error:
        raise SettingsError(f"the environment variables {PREFIX}*: {error}") from None  # its cause holds the value
    return _known(Layer("environment", "", read))


def from_file(path: Path | None) -> Layer:
    """A TOML file; where none is named, ``./detailscribe.toml`` if it is there.

    Raises:
        SettingsError: it cannot be read, is no TOML, or a name is unknown.
    """
    if path is None and not DEFAULT_FILE.is_file():
        return Layer("file", "", {})
    path = path or DEFAULT_FILE
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"settings file {path} is no TOML: {error}") from error
    return _known(Layer("file", str(path), values))


def from_fallbacks() -> list[Layer]:
    """Key and URL of the chat side under the names that other programs use."""
    there = {name: field for name, field in FALLBACKS.items() if os.environ.get(name)}
    return [Layer("environment", name, {"chat": {field: os.environ[name]}}) for name, field in there.items()]


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.replace(".", NESTED).upper()


def overlay(below: Table, above: Mapping[str, Any]) -> None:
    """Write ``above`` over ``below``, table by table; another policy takes none of the parameters of the one below."""
    for name, value in above.items():
        if name == "policy" and value != below.get("policy"):
            below.pop("policy_args", None)
    for name, value in above.items():
        if isinstance(value, Mapping):
            inner = below.get(name)
            below[name] = inner = dict(inner) if isinstance(inner, Mapping) else {}
            overlay(inner, value)
        else:
            below[name] = value


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of all that a table says."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def explicit(model: BaseModel) -> Table:
    """What was given when the record was made; secrets stay what they are."""
    values = {name: getattr(model, name) for name in model.model_fields_set}
    return {name: explicit(value) if isinstance(value, BaseModel) else value for name, value in values.items()}


def known_names(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Dotted names of every setting."""
    names: list[str] = []
    for name, info in model.model_fields.items():
        inner = _model_of(info.annotation)
        names += known_names(inner, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]
    return names


def _known(layer: Layer) -> Layer:
    for name in leaves(layer.values):
        _refuse_unknown(name.split("."), layer.place and f"settings file {layer.place}")
    return layer


def _refuse_unknown(path: list[str], place: str) -> None:
    model: type[BaseModel] | None = Settings
    for part in path:
        if model is None:
            return  # below a table of any names, or below a value, which validation refuses
        if part not in model.model_fields:
            raise SettingsError(f"{place}: " * bool(place) + f"no setting {'.'.join(path)!r}{_nearest(path)}")
        model = _model_of(model.model_fields[part].annotation)


def _nearest(path: list[str]) -> str:
    """The known name that is most like this one, by all of it or by its last part."""
    names = {name: name for name in known_names()}
    by_end = {name.rpartition(".")[2]: name for name in reversed(names)}
    for asked, known in ((".".join(path), names), (path[-1], by_end)):
        if near := get_close_matches(asked, known, n=1):
            return f"; did you mean {known[near[0]]!r}?"
    return ""


def _model_of(annotation: object) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
