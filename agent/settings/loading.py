"""The settings of a run: arguments before the environment, before a file, before the preset, before defaults."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...tools.errors import SettingsError
from ..presets import preset_named
from ..validation import first_problem
from .layers import (
    Layer,
    Table,
    explicit,
    from_arguments,
    from_environment,
    from_fallbacks,
    from_file,
    leaves,
    overlay,
    variable,
)
from .sections import Settings

SECRETS = ("chat", "vision", "images")
"""Sections that have a key."""


@dataclass(frozen=True)
class Loaded:
    """Settings, and where each came from."""

    settings: Settings
    layers: tuple[Layer, ...]
    """That had something to say, from the strongest to the weakest."""

    def source(self, name: str) -> str:
        """Of the setting ``section.name``: ``argument``, ``environment``, ``file``, ``preset`` or ``default``.

        What is more to say follows: the variable, the path of the file, the preset's name.
        """
        return _told(next((layer for layer in self.layers if _holds(layer.values, name.split("."))), None), name)


Given = Settings | Loaded | Mapping[str, Any]
"""A table by section; or settings as an object, of which what was set counts; or what ``load`` returned."""


def load(*given: Given, file: Path | None = None) -> Loaded:
    """All layers together; of ``given``, later ones go before earlier ones.

    Where one is an object, the caller has chosen: neither the environment nor a file is read.

    Raises:
        SettingsError: a source cannot be read, a name is unknown, a value is out of range, or a part is missing.
    """
    closed = [one for one in given if isinstance(one, (Settings, Loaded))]
    layers = [from_arguments(*(_arguments(one) for one in given))]
    if closed:
        layers += [layer for one in closed if isinstance(one, Loaded) for layer in one.layers if _may_stay(layer)]
    else:
        layers += [from_environment(), from_file(file)]
    name = _table(merged(layers), "run").get("preset", "embedded")
    preset = preset_named(str(name))
    layers.append(Layer("preset", str(name), {section: dict(values) for section, values in preset.settings.items()}))
    if not closed and _wants_chat(merged(layers)):
        layers[-1:-1] = from_fallbacks()
    return Loaded(_validated(layers), tuple(layer for layer in layers if layer.values))


def _arguments(given: Given) -> Mapping[str, Any]:
    if isinstance(given, Settings):
        return explicit(given)
    if isinstance(given, Loaded):
        return next((layer.values for layer in given.layers if layer.source == "argument"), {})
    return given


def _may_stay(layer: Layer) -> bool:
    """Arguments were taken already, and the preset may be another now."""
    return layer.source not in ("argument", "preset")


def load_settings(*given: Given, file: Path | None = None) -> Settings:
    """The settings alone; see ``load``."""
    return load(*given, file=file).settings


def with_secrets(settings: Settings) -> Settings:
    """The same settings with the keys that the environment, or a file in it, holds now; a record has none."""
    sources = [from_environment(), from_file(None), *(from_fallbacks() if settings.chats else [])]
    found = merged(sources)
    keys = {name: {"key": key} for name in SECRETS if (key := _table(found, name).get("key")) is not None}
    values = explicit(settings)
    overlay(values, keys)
    return Settings.model_validate(values)


def merged(layers: list[Layer]) -> Table:
    """One table of all, the first layer on top."""
    values: Table = {}
    for layer in reversed(layers):
        overlay(values, layer.values)
    return values


def _wants_chat(values: Table) -> bool:
    """Whether anything is said of a chat model; a key lying about in the environment is no wish for one."""
    named = [_table(values, section).get(field) for section in ("chat", "vision") for field in ("model", "url")]
    return any(named)


def _validated(layers: list[Layer]) -> Settings:
    try:
        settings = Settings.model_validate(merged(layers))
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        layer = next((layer for layer in layers if place in leaves(layer.values)), None)
        origin = "" if layer is None or layer.source == "argument" else f" ({_told(layer, place)})"
        raise SettingsError(first_problem(error) + origin) from None  # its inputs may be secret
    _complete(settings)
    return settings


def _complete(settings: Settings) -> None:
    """Refuse what lacks a part that no default can fill."""
    if not settings.chats and (settings.chat.url or settings.vision.url or settings.vision.model):
        where = settings.chat.url or settings.vision.url or "the critic"
        raise SettingsError(f"no chat model is named for {where}: give --chat-model NAME")
    if settings.run.preset.partition("+")[0] == "diffusers" and settings.diffusion.model is None:
        raise SettingsError("the preset 'diffusers' draws with a model that you name: --diffusion FOLDER or owner/name")


def _told(layer: Layer | None, name: str) -> str:
    if layer is None:
        return "default"
    place = layer.place
    if layer.source == "environment" and not place and variable(name) in os.environ:
        place = variable(name)
    return f"{layer.source} {place}".rstrip()


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def _holds(values: object, path: list[str]) -> bool:
    for part in path:
        if not isinstance(values, Mapping) or part not in values:
            return False
        values = values[part]
    return True
