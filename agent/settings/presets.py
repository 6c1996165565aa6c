"""Presets and baselines, as data: settings by one name, which override the defaults and nothing that the user sets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...tools.errors import no_such

EMBEDDED_DIFFUSION = Path(__file__).parents[2] / "tools" / "world" / "weights" / "diffusion"
"""The diffusers folder inside the package."""
EMBEDDED_STEPS = 28
EMBEDDED_GUIDANCE = 3.0
CHAT = {"model": "gpt-4o"}
"""OpenAI's, which the published experiments used."""
OPEN_CHAT = {"model": "Qwen/Qwen3-VL-8B-Instruct"}
"""At a server that the user names."""
QWEN_IMAGE = "Qwen/Qwen-Image"
Z_IMAGE = "Tongyi-MAI/Z-Image-Turbo"
KLEIN = "black-forest-labs/FLUX.2-klein-4B"
PUBLISHED_SEEDS = (2628670643, 2628670647)
"""Of the published code: of every drawing, and of the second one where a metric chooses among two."""
LARGE = "stabilityai/stable-diffusion-3.5-large"
MEDIUM = "stabilityai/stable-diffusion-3.5-medium"
TURBO = "stabilityai/stable-diffusion-3.5-large-turbo"
TURNS: Mapping[str, Any] = {"offload": "model", "max_batch": 1}
"""Denoiser and T5 take turns on the GPU."""

Values = Mapping[str, Mapping[str, Any]]
"""Settings by section."""
Replacement = Literal["bare", "rewritten", "undecomposed", "metric"]
"""What a baseline does to the models of a preset. bare: no decomposition and no critic; rewritten: the same, from a
prompt that is rewritten first; undecomposed: one question for the whole picture; metric: no decomposition, and a metric
in place of the critic."""


@dataclass(frozen=True)
class Preset:
    """One choice of models, with the settings that suit them."""

    summary: str
    """In a few words, for lists."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By section."""
    baseline: "Baseline | None" = None
    """What stands in for some of its models, for ``PRESET+BASELINE``."""


@dataclass(frozen=True)
class Baseline:
    """A method without a part of DetailScribe, to compare with; it leaves the model that draws as it is."""

    summary: str
    """In a few words, for lists."""
    replaces: Replacement
    """What it does to the models of the preset."""
    settings: Values = field(default_factory=dict[str, Mapping[str, Any]])
    """By section; they override the preset's."""
    asks: bool = True
    """Whether a chat model takes part. Where none does, the preset's is left out, so that no key is needed, unless an
    endpoint draws, which may be at the same server."""
    metric: str = ""
    """The name of the metric that chooses, where one does."""


def _drawn_by(model: str, summary: str, run: Mapping[str, Any] | None = None, **diffusion: Any) -> Preset:
    """A preset of which a chat model decomposes and looks; steps and guidance are the model's own."""
    return Preset(summary, {"run": {**(run or {})}, "chat": CHAT, "diffusion": {"model": model, **diffusion}})


def _open(model: str, summary: str, **diffusion: Any) -> Preset:
    """The same of another family than SD3, with an open chat model; steps and guidance are the model's own."""
    return Preset(summary, {"chat": OPEN_CHAT, "diffusion": {"model": model, "kind": "pipeline", **diffusion}})


PRESETS: dict[str, Preset] = {
    "embedded": Preset(
        "the small models inside the package; offline, on a CPU",
        {"run": {"steps": EMBEDDED_STEPS, "guidance": EMBEDDED_GUIDANCE}},
    ),
    "sd35-large": _drawn_by(LARGE, "Stable Diffusion 3.5 Large in bf16, all of it on the GPU"),
    "sd35-large-24gb": _drawn_by(LARGE, "the same; denoiser and T5 take turns on the GPU", **TURNS),
    "sd35-large-12gb": _drawn_by(
        LARGE, "the same with denoiser and T5 in 4 bits, which take turns on the GPU", precision="nf4", **TURNS
    ),
    "sd35-large-turbo": _drawn_by(TURBO, "the distilled variant: 4 steps, no guidance"),
    "sd35-medium": _drawn_by(MEDIUM, "Stable Diffusion 3.5 Medium in bf16, all of it on the GPU"),
    "sd35-medium-12gb": _drawn_by(
        MEDIUM,
        "the same with T5 in 4 bits, which takes turns with the denoiser on the GPU",
        precision="nf4-t5",
        **TURNS,
    ),
    "paper": _drawn_by(
        LARGE,
        "the published procedure: the denoiser in 4 bits, one fixed seed, four refinements, the best of these",
        {"policy": "paper", "seed": PUBLISHED_SEEDS[0], "steps": 28, "guidance": 4.5},
        precision="nf4-denoiser",
        max_tokens=512,
        swap_pooled=False,
        **TURNS,
    ),
    "qwen-image": _open(QWEN_IMAGE, "Qwen-Image in bf16, all of it on the GPU"),
    "qwen-image-24gb": _open(QWEN_IMAGE, "the same in 4 bits", precision="nf4"),
    "z-image-turbo": _open(Z_IMAGE, "Z-Image-Turbo in bf16, all of it on the GPU: 9 steps"),
    "z-image-turbo-24gb": _open(Z_IMAGE, "the same; denoiser and text encoder take turns on the GPU", offload="model"),
    "z-image-turbo-12gb": _open(Z_IMAGE, "the same in 4 bits", precision="nf4"),
    "flux2-klein": _open(KLEIN, "FLUX.2 klein 4B in bf16, all of it on the GPU: 4 steps"),
    "flux2-klein-12gb": _open(KLEIN, "the same in 4 bits", precision="nf4"),
    "diffusers": Preset("any other text-to-image model of diffusers, named by --diffusion", {"chat": CHAT}),
    "images-endpoint": _drawn_by(
        "gpt-image-1",
        "an OpenAI-compatible images endpoint draws; it can start again but not refine",
        {"policy": "best_of_n"},
        kind="endpoint",
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

BEST = re.compile(r"best-(?:of-(?P<n>[1-9]\d{0,2})-)?by-(?P<metric>.+)")
"""Names of baselines that choose by a metric; of two seeds where no number is given."""
ASKING = ("vqascore", "interactions", "layout", "checklist", "all_correct")
"""Metrics that ask the chat model."""


def _drawings(n: int) -> Values:
    return {"run": {"policy": "best_of_n", "policy_args": {"n": n}}}


BASELINES: dict[str, Baseline] = {
    "base": Baseline("one drawing from the prompt as it is; nobody looks", "bare", _drawings(1), asks=False),
    "rewrite": Baseline(
        "one drawing from a prompt that is rewritten before anything is seen", "rewritten", _drawings(1)
    ),
    "refine": Baseline(
        "one drawing from a prompt that is corrected after one question for the whole picture",
        "undecomposed",
        {"run": {"policy": "paper", "policy_args": {"start_steps": (0,)}}},
    ),
    "undecomposed": Baseline("the preset without decomposition: one question for the whole picture", "undecomposed"),
}
"""By name; ``best-by-METRIC`` and ``best-of-N-by-METRIC`` are further ones for each metric."""


def preset_named(name: str) -> Preset:
    """The preset of that name, or ``PRESET+BASELINE``; ``SettingsError`` if there is none."""
    bare, plus, method = name.partition("+")
    if bare not in PRESETS:
        raise no_such("preset", bare, PRESETS)
    preset = PRESETS[bare]
    if not plus:
        return preset
    baseline = baseline_named(method)
    asks = baseline.asks or preset.settings.get("diffusion", {}).get("kind") == "endpoint"
    settings = {name: values for name, values in preset.settings.items() if asks or name not in ("chat", "vision")}
    for section, values in baseline.settings.items():
        settings[section] = {**settings.get(section, {}), **values}
    if baseline.metric and bare == "paper":  # as published
        settings["run"]["policy_args"] = {**settings["run"]["policy_args"], "seeds": PUBLISHED_SEEDS}
    return replace(preset, summary=f"{preset.summary}; {baseline.summary}", settings=settings, baseline=baseline)


def baseline_named(name: str) -> Baseline:
    """The baseline of that name; ``SettingsError`` if there is none."""
    if best := BEST.fullmatch(name):
        from ...tools.metrics import METRICS

        metric, n = best["metric"], int(best["n"] or 2)
        if metric not in METRICS:
            raise no_such("metric", metric, METRICS)
        summary = f"the best of {'two' if n == 2 else n} seeds by {metric}"
        return Baseline(summary, "metric", _drawings(n), asks=metric in ASKING, metric=metric)
    if name not in BASELINES:
        raise no_such("baseline", name, [*BASELINES, "best-by-METRIC", "best-of-N-by-METRIC"])
    return BASELINES[name]
