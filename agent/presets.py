"""Presets: settings by one name. They go before the defaults and after all that the user says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ..tools.errors import SettingsError
from .roles import EMBEDDED_DIFFUSION, Roles, roles_of

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["EMBEDDED_DIFFUSION", "EMBEDDED_GUIDANCE", "EMBEDDED_STEPS", "PRESETS", "Preset", "preset_named"]

EMBEDDED_STEPS = 28
EMBEDDED_GUIDANCE = 3.0
CHAT = {"model": "gpt-4o"}
"""OpenAI's, which the published experiments used."""
LARGE = "stabilityai/stable-diffusion-3.5-large"
MEDIUM = "stabilityai/stable-diffusion-3.5-medium"
TURBO = "stabilityai/stable-diffusion-3.5-large-turbo"
ONE_PART = {"offload": "model", "t5": "once", "max_batch": 1}
"""One part at a time is on the GPU, and T5 is not kept."""
FOUR_BITS = {"precision": "nf4", **ONE_PART}
SD35 = {"steps": 28, "guidance": 4.5}
"""As its publisher draws with Large; Medium wants more steps, Turbo fewer and no guidance."""


@dataclass(frozen=True)
class Preset:
    """One choice of models, with what suits them."""

    summary: str
    """In a few words, for lists."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Values by section."""
    roles: Callable[["Settings"], Roles] = roles_of
    """How its models are made from the settings in the end."""


PRESETS: dict[str, Preset] = {
    "embedded": Preset(
        "the small models inside the package; offline, on a CPU",
        {"run": {"steps": EMBEDDED_STEPS, "guidance": EMBEDDED_GUIDANCE}},
    ),
    "sd35-large": Preset(
        "Stable Diffusion 3.5 Large in bf16, all of it on the GPU",
        {"run": SD35, "chat": CHAT, "diffusion": {"model": LARGE}},
    ),
    "sd35-large-24gb": Preset(
        "the same, one part at a time on the GPU",
        {"run": SD35, "chat": CHAT, "diffusion": {"model": LARGE, **ONE_PART}},
    ),
    "sd35-large-12gb": Preset(
        "the same, with denoiser and T5 in 4 bits",
        {"run": SD35, "chat": CHAT, "diffusion": {"model": LARGE, **FOUR_BITS}},
    ),
    "sd35-large-turbo": Preset(
        "the distilled variant: 4 steps, no guidance",
        {"run": {"steps": 4, "guidance": 0.0}, "chat": CHAT, "diffusion": {"model": TURBO}},
    ),
    "sd35-medium": Preset(
        "Stable Diffusion 3.5 Medium in bf16, all of it on the GPU",
        {"run": {**SD35, "steps": 40}, "chat": CHAT, "diffusion": {"model": MEDIUM}},
    ),
    "sd35-medium-12gb": Preset(
        "the same, one part at a time on the GPU, with denoiser and T5 in 4 bits",
        {"run": {**SD35, "steps": 40}, "chat": CHAT, "diffusion": {"model": MEDIUM, **FOUR_BITS}},
    ),
    "paper": Preset(
        "the published settings: 4 bits, two fixed seeds, four refinements, the best of all",
        {
            "run": {"policy": "paper", **SD35},
            "chat": CHAT,
            "diffusion": {
                "model": LARGE,
                "precision": "nf4",
                "offload": "model",
                "max_tokens": 512,
                "max_batch": 1,
                "swap_pooled": False,
            },
        },
    ),
    "diffusers": Preset(
        "any other text-to-image model of diffusers, named by --diffusion",
        {"run": {"guidance": 3.5}, "chat": CHAT},
    ),
    "images-endpoint": Preset(
        "an OpenAI-compatible images endpoint draws; it can start again but not refine",
        {
            "run": {"policy": "best_of_n"},
            "chat": CHAT,
            "diffusion": {"model": "gpt-image-1", "kind": "endpoint"},
        },
    ),
    "dall-e-3": Preset(
        "the same with DALL-E 3 of OpenAI, as published",
        {
            "run": {"policy": "best_of_n"},
            "chat": CHAT,
            "diffusion": {"model": "dall-e-3", "kind": "endpoint"},
            "images": {"price": 0.04},
        },
    ),
}


def preset_named(name: str) -> Preset:
    """The preset of that name, or ``PRESET+BASELINE``; ``SettingsError`` if there is none."""
    bare, plus, baseline = name.partition("+")
    return _without(preset_named(bare), baseline) if plus else _preset(name)


def _without(preset: Preset, name: str) -> Preset:
    """The preset's models, as a baseline works with them."""
    from .baselines import baseline_named  # its parts are made of what presets are made of

    baseline = baseline_named(name)
    return Preset(
        f"{preset.summary}; {baseline.summary}",
        baseline.over(preset.settings),
        lambda settings: baseline.roles(settings, preset.roles(settings)),
    )


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        near = get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise SettingsError(f"no preset {name!r}: {hint}known are {', '.join(PRESETS)}")
    return PRESETS[name]
