"""The metrics by name, each made only when it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..roles import Critic, Decomposer
from .metric import BatchMetric, LocalMetric

if TYPE_CHECKING:
    from ..language.chat import ChatModel

PhrasesName = Literal["concepts", "chat"]


@dataclass(frozen=True)
class Parts:
    """What metrics are made of; each is asked for only by the metrics that need it."""

    cache: Path
    """Folder for scores and environments."""
    chat: "Callable[[], ChatModel]"
    """The chat model that sees; ``SettingsError`` if none is configured."""
    critic: Callable[[], Critic]
    """Answers checklists."""
    decomposer: Callable[[], Decomposer]
    """Takes prompts apart that no run did."""
    models: dict[str, str] = field(default_factory=dict[str, str])
    """Folder or hub id by metric name, where it is another than the metric's own."""
    phrases: PhrasesName = "concepts"
    """Where the noun phrases of BLIP-VQA come from: the prompt's entities, or a list of the chat model's own."""

    def cached(self, metric: LocalMetric) -> BatchMetric:
        """The metric with its scores kept in ``cache``."""
        from .cache import CachedMetric

        return CachedMetric(metric, self.cache / "scores")


def _clipscore(parts: Parts) -> BatchMetric:
    from .clipscore import MODEL, ClipScore

    return parts.cached(ClipScore(parts.models.get("clipscore", MODEL)))


def _blip_vqa(parts: Parts) -> BatchMetric:
    from .blip_vqa import MODEL, BlipVqa
    from .phrases import ChatPhrases
    from .taken_apart import TakenApart

    model = parts.models.get("blip_vqa", MODEL)
    if parts.phrases == "chat":
        return parts.cached(BlipVqa(model, phrases=ChatPhrases(parts.chat())))
    return TakenApart(parts.cached(BlipVqa(model)), parts.decomposer)


def _image_reward(parts: Parts) -> BatchMetric:
    from .image_reward import ImageReward

    folder = parts.models.get("image_reward")
    files = None if folder is None else (Path(folder) / "ImageReward.pt", Path(folder) / "med_config.json")
    return parts.cached(ImageReward(parts.cache / "environments", checkpoint=files))


def _vqascore(parts: Parts) -> BatchMetric:
    from .vqascore import VqaScore

    return VqaScore(parts.chat())


def _interactions(parts: Parts) -> BatchMetric:
    from .rubric import Rubric

    return Rubric(parts.chat(), "interactions")


def _layout(parts: Parts) -> BatchMetric:
    from .rubric import Rubric

    return Rubric(parts.chat(), "layout")


def _checklist(parts: Parts) -> BatchMetric:
    from .checklist import Checklist

    return Checklist(parts.critic(), parts.decomposer())


def _all_correct(parts: Parts) -> BatchMetric:
    from .checklist import Checklist

    return Checklist(parts.critic(), parts.decomposer(), whole=True)


def _judge(parts: Parts) -> BatchMetric:
    from .judge import EmbeddedJudge

    return parts.cached(EmbeddedJudge())


def _judge_all_correct(parts: Parts) -> BatchMetric:
    from .judge import EmbeddedJudge

    return parts.cached(EmbeddedJudge(whole=True))


METRICS: dict[str, Callable[[Parts], BatchMetric]] = {
    "clipscore": _clipscore,
    "image_reward": _image_reward,
    "blip_vqa": _blip_vqa,
    "vqascore": _vqascore,
    "interactions": _interactions,
    "layout": _layout,
    "checklist": _checklist,
    "all_correct": _all_correct,
    "judge": _judge,
    "judge_all_correct": _judge_all_correct,
}
