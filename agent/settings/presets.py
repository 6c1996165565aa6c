"""Presets and baselines: settings by one name, which override the defaults and nothing that the user sets."""

import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...tools.errors import no_such

EMBEDDED_DIFFUSION = Path(__file__).parents[2] / "tools" / "world" / "weights" / "diffusion"
"""The diffusers folder inside the package."""
PUBLISHED_SEEDS = (2628670643, 2628670647)
"""Of the published code: of every drawing, and of the second one where a metric chooses among two."""

Replacement = Literal["bare", "rewritten", "undecomposed", "metric"]
"""What a baseline does to the models of a preset. bare: no decomposition and no critic; rewritten: the same, from a
prompt that is rewritten first; undecomposed: one question for the whole picture; metric: no decomposition, and a metric
in place of the critic."""


@dataclass(frozen=True)
class Preset:
    """One choice of models, with the settings that suit them; or a baseline, which is a method without a part of
    DetailScribe to compare with, and leaves the model that draws as it is."""

    summary: str
    """In a few words, for lists."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By section; a baseline's override those of the preset that it stands behind."""
    baseline: "Preset | None" = None
    """What stands in for some of its models, for ``PRESET+BASELINE``."""
    replaces: Replacement | None = None
    """What it does to the models of the preset, if it is a baseline."""
    asks: bool = True
    """Whether a chat model takes part in a baseline. Where none does, the preset's is left out, so that no key is
    needed, unless an endpoint draws, which may be at the same server."""
    metric: str = ""
    """The name of the metric that chooses, where one does."""


_TABLES = tomllib.loads((Path(__file__).with_name("presets.toml")).read_text(encoding="utf-8"))
BASELINES = {name: Preset(**table) for name, table in _TABLES.pop("baselines").items()}
"""Those with a name of their own; ``best-by-METRIC`` and ``best-of-N-by-METRIC`` are further ones for each metric."""
PRESETS = {name: Preset(table.pop("summary"), table) for name, table in _TABLES.items()}
"""In the order of the lists."""
EMBEDDED_STEPS: int = PRESETS["embedded"].settings["run"]["steps"]
EMBEDDED_GUIDANCE: float = PRESETS["embedded"].settings["run"]["guidance"]

BEST = re.compile(r"best-(?:of-(?P<n>[1-9]\d{0,2})-)?by-(?P<metric>.+)")
"""Names of baselines that choose by a metric; of two seeds where no number is given."""
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
