"""Presets and baselines: named settings, which override the defaults and nothing that the user sets."""

import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...tools.errors import no_such

EMBEDDED_DIFFUSION = Path(__file__).parents[2] / "tools" / "world" / "weights" / "diffusion"
"""The diffusers folder inside the package."""
PUBLISHED_SEEDS = (2628670643, 2628670647)
"""Of the published code: for every drawing, and for the second of two that a metric chooses from."""

Replacement = Literal["bare", "rewritten", "undecomposed", "metric"]
"""What a baseline does to a preset. bare: no decomposition and no critic; rewritten: the same with a rewritten prompt;
undecomposed: one question about the whole picture; metric: no decomposition, and a metric as the critic."""


@dataclass(frozen=True)
class Preset:
    """A choice of models with settings that suit them; or a baseline: a method to compare with, which lacks a part of
    DetailScribe and draws with the same model."""

    summary: str
    """In a few words, for lists."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By section; a baseline's override those of its preset."""
    baseline: "Preset | None" = None
    """For ``PRESET+BASELINE``."""
    replaces: Replacement | None = None
    """What a baseline does to the preset."""
    asks: bool = True
    """Whether a baseline uses a chat model. If not, the preset's is dropped, so that no key is needed, unless an
    endpoint draws, which may be at the same server."""
    metric: str = ""
    """The metric that chooses an image, if one does."""


_TABLES = tomllib.loads((Path(__file__).with_name("presets.toml")).read_text(encoding="utf-8"))
BASELINES = {name: Preset(**table) for name, table in _TABLES.pop("baselines").items()}
"""By name; ``baseline_named`` also knows ``best-by-METRIC`` and ``best-of-N-by-METRIC``."""
PRESETS = {name: Preset(table.pop("summary"), table) for name, table in _TABLES.items()}
"""In the order of the lists."""
EMBEDDED_STEPS: int = PRESETS["embedded"].settings["run"]["steps"]
EMBEDDED_GUIDANCE: float = PRESETS["embedded"].settings["run"]["guidance"]

BEST = re.compile(r"best-(?:of-(?P<n>[1-9]\d{0,2})-)?by-(?P<metric>.+)")
"""Names of baselines that choose by a metric, of two seeds by default."""
ASKING = ("vqascore", "interactions", "layout", "checklist", "all_correct")
"""Metrics that ask the chat model."""


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


def baseline_named(name: str) -> Preset:
    """The baseline of that name; ``SettingsError`` if there is none."""
    if best := BEST.fullmatch(name):
        from ...tools.metrics import METRICS

        metric, n = best["metric"], int(best["n"] or 2)
        if metric not in METRICS:
            raise no_such("metric", metric, METRICS)
        summary = f"the best of {'two' if n == 2 else n} seeds by {metric}"
        drawings = {"run": {"policy": "best_of_n", "policy_args": {"n": n}}}
        return Preset(summary, drawings, replaces="metric", asks=metric in ASKING, metric=metric)
    if name not in BASELINES:
        raise no_such("baseline", name, [*BASELINES, "best-by-METRIC", "best-of-N-by-METRIC"])
    return BASELINES[name]
