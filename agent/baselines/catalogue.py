"""The baselines by name. Each changes settings and roles of a preset, and leaves its model that draws alone."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any

from ...tools.errors import SettingsError
from ..roles import Chats, Roles
from .metric_critic import MetricCritic
from .rewriting import RewritingDecomposer
from .whole import NoCritic, WholeDecomposer

if TYPE_CHECKING:
    from ...tools.language.rewriter import Rewriter
    from ...tools.metrics import BatchMetric
    from ..settings import Settings

BEST = re.compile(r"best-(?:of-(?P<n>[1-9]\d{0,2})-)?by-(?P<metric>.+)")
"""Names of those that choose by a metric; of two seeds where no number is said."""
ASKING = ("vqascore", "interactions", "layout", "checklist", "all_correct")
"""Metrics that ask the chat model."""
Values = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Baseline:
    """One method without a part of DetailScribe."""

    summary: str
    """In a few words, for lists."""
    roles: Callable[["Settings", Roles], Roles]
    """Its roles, from the settings and from those that the preset would have."""
    settings: Values = field(default_factory=dict[str, Mapping[str, Any]])
    """Values by section, which go before the preset's."""
    policy: str | None = None
    """Where the preset names none."""
    asks: bool = True
    """Whether a chat model takes part; where none does, the preset's is not asked for, and no key is needed, unless
    an endpoint draws, which may be found where the chat model is."""

    def over(self, preset: Values) -> dict[str, dict[str, Any]]:
        """Settings of the preset with its own on top."""
        asks = self.asks or preset.get("diffusion", {}).get("kind") == "endpoint"
        kept = {name: dict(values) for name, values in preset.items() if asks or name not in ("chat", "vision")}
        if self.policy is not None:
            kept["run"] = {"policy": self.policy, **kept.get("run", {})}
        for name, values in self.settings.items():
            kept[name] = {**kept.get(name, {}), **values}
        return kept


def baseline_named(name: str) -> Baseline:
    """The baseline of that name; ``SettingsError`` if there is none."""
    if best := BEST.fullmatch(name):
        return _best_by(best["metric"], int(best["n"] or 2))
    if name not in BASELINES:
        near = get_close_matches(name, BASELINES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        known = f"{', '.join(BASELINES)}, best-by-METRIC and best-of-N-by-METRIC"
        raise SettingsError(f"no baseline {name!r}: {hint}known are {known}")
    return BASELINES[name]


def _drawings(n: int) -> dict[str, dict[str, Any]]:
    return {"run": {"policy": "best_of_n", "policy_args": {"n": n}}}


def _bare(settings: "Settings", roles: Roles) -> Roles:
    return replace(roles, decomposer=WholeDecomposer, critic=NoCritic)


def _rewritten(settings: "Settings", roles: Roles) -> Roles:
    return replace(
        roles,
        decomposer=lambda: RewritingDecomposer(WholeDecomposer(), _rewriter(settings)),
        critic=NoCritic,
    )


def _undecomposed(settings: "Settings", roles: Roles) -> Roles:
    """The embedded critic cannot read one question for all; its answers are then made into one."""
    if settings.chats:
        return replace(roles, decomposer=WholeDecomposer)
    from ..experiments.critics import WholeCritic

    return replace(roles, critic=lambda: WholeCritic(roles.critic()))


def _rewriter(settings: "Settings") -> "Rewriter":
    if not settings.chats:
        from ...tools.world.rewriter import EmbeddedRewriter

        return EmbeddedRewriter()
    from ...tools.language.rewriter import ChatRewriter

    return ChatRewriter(Chats(settings).language, settings.chat.templates, words=settings.vision.words)


def _best_by(metric: str, n: int) -> Baseline:
    from ...tools.metrics import METRICS

    if metric not in METRICS:
        raise SettingsError(f"no metric {metric!r} to choose by; known are {', '.join(METRICS)}")
    return Baseline(
        f"the best of {'two' if n == 2 else n} seeds by {metric}",
        partial(_chosen_by, metric),
        settings=_drawings(n),
        asks=metric in ASKING,
    )


def _chosen_by(metric: str, settings: "Settings", roles: Roles) -> Roles:
    def make() -> "BatchMetric":
        from ..evaluation.parts import make_metrics

        return make_metrics([metric], settings, {})[metric]

    return replace(roles, decomposer=WholeDecomposer, critic=lambda: MetricCritic(metric, make))


BASELINES: dict[str, Baseline] = {
    "base": Baseline("one drawing from the prompt as it is; nobody looks", _bare, _drawings(1), asks=False),
    "rewrite": Baseline(
        "one drawing from a prompt that is rewritten before anything is seen", _rewritten, _drawings(1)
    ),
    "refine": Baseline(
        "refinement without decomposition: one question for the whole picture", _undecomposed, policy="single"
    ),
}
"""By name; ``best-by-METRIC`` and ``best-of-N-by-METRIC`` are further ones for each metric."""
