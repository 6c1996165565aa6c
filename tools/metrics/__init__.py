"""Metrics of images and their prompts: higher is better; a score may be missing, with the reason."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..language.chat import ChatModel
from ..roles import Critic, Decomposer
from .asking import Checklist, JudgeMetric, OwnQuestions, Rubric, VqaScore
from .image_reward import ImageReward
from .local import BLIP, CLIP, BlipVqa, ClipScore
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
    decompose_all,
    missing,
)

PhrasesName = Literal["concepts", "chat"]
"""Where the noun phrases of BLIP-VQA come from: the prompt's entities, or a list of the chat model's own."""


@dataclass(frozen=True)
class Parts:
    """What metrics are made of; each metric only calls for what it needs."""

    cache: Path
    """Folder for scores."""
    chat: Callable[[], ChatModel]
    """Makes the chat model with vision; ``SettingsError`` if none is configured."""
    critic: Callable[[], Critic]
    """Makes the critic that answers checklists."""
    decomposer: Callable[[], Decomposer]
    """For prompts that no run decomposed."""
    models: dict[str, str] = field(default_factory=dict[str, str])
    """Folder or hub id by metric, instead of the metric's default."""
    phrases: PhrasesName = "concepts"
    """Where the noun phrases of BLIP-VQA come from."""

    def cached(self, metric: LocalMetric) -> BatchMetric:
        """The metric with its scores kept in ``cache``."""
        return CachedMetric(metric, self.cache / "scores")


def _blip_vqa(parts: Parts) -> BatchMetric:
    model = parts.models.get("blip_vqa", BLIP)
    if parts.phrases == "chat":
        return parts.cached(BlipVqa(model, chat=parts.chat()))
    return WithConcepts(parts.cached(BlipVqa(model)), parts.decomposer)


METRICS: dict[str, Callable[[Parts], BatchMetric]] = {
    "clipscore": lambda parts: parts.cached(ClipScore(parts.models.get("clipscore", CLIP))),
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
"""Makes a metric by name, without loading a model."""

__all__ = ["METRICS", "AskingMetric", "BatchMetric", "JudgeMetric", "LocalMetric", "MetricCritic", "Parts"]
__all__ += ["PhrasesName", "Sample", "Score", "batched", "decompose_all", "missing"]
