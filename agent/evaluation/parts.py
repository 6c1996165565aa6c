"""From settings to what metrics are made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...tools.errors import SettingsError
from ...tools.metrics import METRICS, BatchMetric, Parts, PhrasesName
from ..roles import Chats, roles_of
from ..settings import ChatSection, Settings

if TYPE_CHECKING:
    from ...tools.language.chat import ChatModel


def make_metrics(
    names: Sequence[str], settings: Settings, weights: Mapping[str, str], phrases: PhrasesName = "concepts"
) -> dict[str, BatchMetric]:
    """The metrics of these names, none of them loaded yet.

    Raises:
        SettingsError: a name is unknown, or a metric needs a chat model and none is configured.
        ModelError: a critic's model cannot be loaded.
    """
    unknown = [name for name in (*names, *weights) if name not in METRICS]
    if unknown or not names:
        named = ", ".join(unknown) or "nothing"
        raise SettingsError(f"{named} is no metric; these are known: {', '.join(METRICS)}")
    parts = parts_of(settings, weights, phrases)
    return {name: METRICS[name](parts) for name in names}


def parts_of(settings: Settings, weights: Mapping[str, str], phrases: PhrasesName = "concepts") -> Parts:
    """What the settings give; scores are kept beside the answers of chat models."""
    roles = roles_of(settings)

    def chat() -> "ChatModel":
        if not settings.chats:
            raise SettingsError("this metric asks a chat model that sees: name one with --chat-model and --chat-url")
        return Chats(settings).vision

    return Parts(
        cache=cache_folder(settings),
        chat=chat,
        critic=roles.critic,
        decomposer=roles.decomposer,
        models=dict(weights),
        phrases=phrases,
    )


def cache_folder(settings: Settings) -> Path:
    """Beside the answers of chat models; where these are not kept, at their default place."""
    answers = settings.chat.cache or ChatSection().cache
    if answers is None:
        raise SettingsError("there is no folder for scores: name one with chat.cache")
    return answers.parent
