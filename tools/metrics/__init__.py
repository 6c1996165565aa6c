"""Numbers for images and their prompts; higher is better, and what cannot be told is missing, with the reason."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..language.chat import ChatModel
from ..roles import Critic, Decomposer
from . import blip_vqa, clipscore
from .asking import Rubric, VqaScore
from .blip_vqa import BlipVqa, ChatPhrases
from .checklist import Checklist, JudgeMetric
from .clipscore import ClipScore
from .image_reward import ImageReward
from .metric import (
    AskingMetric,
    BatchMetric,
    CachedMetric,
    LocalMetric,
    MetricCritic,
    Sample,
    Score,
    WithConcepts,
    batched,
    missing,
)
from .questions import OwnQuestions

PhrasesName = Literal["concepts", "chat"]
"""Where the noun phrases of BLIP-VQA come from: the prompt's entities, or a list of the chat model's own."""


@dataclass(frozen=True)
class Parts:
    """What metrics are made of; each is asked for only by the metrics that need it."""

    cache: Path
    """Folder for scores."""
    chat: Callable[[], ChatModel]
    """The chat model that sees; ``SettingsError`` if none is configured."""
    critic: Callable[[], Critic]
    """Answers checklists."""
    decomposer: Callable[[], Decomposer]
    """For prompts that no run decomposed."""
    models: dict[str, str] = field(default_factory=dict[str, str])
    """Folder or hub id by metric name, where it is another than the metric's own."""
    phrases: PhrasesName = "concepts"
    """Where the noun phrases of BLIP-VQA come from."""

    def cached(self, metric: LocalMetric) -> BatchMetric:
        """The metric with its scores kept in ``cache``."""
        return CachedMetric(metric, self.cache / "scores")


def _blip_vqa(parts: Parts) -> BatchMetric:
    model = parts.models.get("blip_vqa", blip_vqa.MODEL)
    if parts.phrases == "chat":
        return parts.cached(BlipVqa(model, phrases=ChatPhrases(parts.chat())))
    return WithConcepts(parts.cached(BlipVqa(model)), parts.decomposer)


METRICS: dict[str, Callable[[Parts], BatchMetric]] = {
    "clipscore": lambda parts: parts.cached(ClipScore(parts.models.get("clipscore", clipscore.MODEL))),
    "image_reward": lambda parts: ImageReward(parts.cache / "image_reward", parts.models.get("image_reward")),
    "blip_vqa": _blip_vqa,
    "vqascore": lambda parts: VqaScore(parts.chat()),
    "interactions": lambda parts: Rubric(parts.chat(), "interactions"),
    "layout": lambda parts: Rubric(parts.chat(), "layout"),
    "questions": lambda parts: OwnQuestions(parts.chat()),
    "questions_geometric": lambda parts: OwnQuestions(parts.chat(), "geometric"),
    "questions_gated": lambda parts: OwnQuestions(parts.chat(), "gated"),
    "checklist": lambda parts: WithConcepts(Checklist(parts.critic()), parts.decomposer),
    "all_correct": lambda parts: WithConcepts(Checklist(parts.critic(), whole=True), parts.decomposer),
    "judge": lambda parts: parts.cached(JudgeMetric()),
    "judge_all_correct": lambda parts: parts.cached(JudgeMetric(whole=True)),
}
"""How to make each metric, by name; making one loads nothing."""

__all__ = [
    "METRICS",
    "AskingMetric",
    "BatchMetric",
    "LocalMetric",
    "MetricCritic",
    "Parts",
    "PhrasesName",
    "Sample",
    "Score",
    "batched",
    "missing",
]
