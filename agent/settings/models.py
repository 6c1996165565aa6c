"""The models that settings name, each loaded at its first use and shared by all runs of a process."""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property, partial
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from ...tools.errors import SettingsError
from ...tools.language.settings import ChatSettings
from ...tools.roles import Critic, Decomposer, Diffusion, Lazy, model_name, ready, require_role
from .checks import SD3_ALONE, check_effect, endpoint_at, endpoint_of, is_sd3, look_at_diffusion, look_at_vision
from .presets import EMBEDDED_DIFFUSION, preset_named
from .settings import ChatSection, Settings

if TYPE_CHECKING:
    from ...tools.language.chat import ChatModel
    from ...tools.metrics import BatchMetric, PhrasesName

R = TypeVar("R")

_REGISTRY = Lock()
_ALIVE: WeakValueDictionary[Hashable, "Lazy[Any]"] = WeakValueDictionary()
"""Models that somebody still uses, by what they were loaded from."""
_LATEST: dict[object, "Lazy[Any]"] = {}
"""The model of each role that was asked for last, so that the next run need not load it again."""


class Models:
    """The models that settings name, each loaded at its first use; roles that are given take their place. Local ones
    are shared by all runs of a process; the one that was used last stays in memory, others as long as something uses
    them."""

    def __init__(
        self,
        settings: Settings,
        *,
        decomposer: Decomposer | None = None,
        diffusion: Diffusion | None = None,
        critic: Critic | None = None,
    ) -> None:
        for given, role in ((decomposer, Decomposer), (diffusion, Diffusion), (critic, Critic)):
            if given is not None:
                require_role(given, role)
        templates = settings.chat.templates
        if settings.chats and templates is not None and not templates.is_dir():
            raise SettingsError(f"there is no folder {templates}, which chat.templates names")
        self.settings = settings
        self._baseline = preset_named(settings.run.preset).baseline
        self._draws, self._looks = diffusion is None, critic is None
        self.decomposer: Decomposer | Lazy[Decomposer] = decomposer or Lazy(self._own_decomposer)
        # What asks a server is cheap to make, and remembers what belongs to its run.
        self.critic: Critic | Lazy[Critic] = critic or (
            Lazy(self._own_critic)
            if settings.chats or self._baseline
            else _shared(make_critic, partial(make_critic, settings, None), settings.vision.corrections)
        )
        make_drawer, remote = (
            partial(make_diffusion, settings),
            "endpoint" in (settings.diffusion.kind, settings.edit.kind),
        )
        edit = settings.edit.model_dump_json()
        key = (settings.diffusion.model_dump_json(), settings.run.steps, settings.run.guidance, edit)
        self.diffusion: Diffusion | Lazy[Diffusion] = diffusion or (
            Lazy(make_drawer) if remote else _shared(make_diffusion, make_drawer, *key)
        )

    @property
    def roles(self) -> dict[str, Any]:
        """The roles by name."""
        return {"decomposer": self.decomposer, "diffusion": self.diffusion, "critic": self.critic}

    @property
    def names(self) -> dict[str, str]:
        """Name and content hash by role, of the models that are loaded."""
        made = {name: role.made if isinstance(role, Lazy) else role for name, role in self.roles.items()}
        return {name: model_name(role) for name, role in made.items() if role is not None}

    @cached_property
    def language(self) -> "ChatModel | None":
        """The chat model that decomposes, and that policies may ask; None where the settings name none."""
        return _chat_model(self.settings.chat_settings()) if self.settings.chats else None

    @cached_property
    def vision(self) -> "ChatModel | None":
        """The chat model that sees, which shares the limits of ``language`` where it is the same; None as there."""
        if not self.settings.chats or self.settings.vision_settings() == self.settings.chat_settings():
            return self.language
        return _chat_model(self.settings.vision_settings())

    def metrics(
        self, names: Sequence[str], weights: Mapping[str, str] | None = None, phrases: "PhrasesName" = "concepts"
    ) -> "dict[str, BatchMetric]":
        """The metrics of these names, none of them loaded yet; scores are kept beside the answers of chat models.
        ``weights`` is a folder or hub id by metric, where it is not the metric's own."""
        from ...tools.metrics import METRICS, Parts

        unknown = [name for name in (*names, *(weights or {})) if name not in METRICS]
        if unknown or not names:
            named = ", ".join(unknown) or "nothing"
            raise SettingsError(f"{named} is no metric; these are known: {', '.join(METRICS)}")
        answers = self.settings.chat.cache or ChatSection().cache
        if answers is None:
            raise SettingsError("there is no folder for scores: name one with chat.cache")

        def vision() -> "ChatModel":
            if self.vision is None:
                raise SettingsError("this metric asks a chat model that sees: give --chat-model and --chat-url")
            return self.vision

        parts = Parts(
            cache=answers.parent,
            chat=vision,
            critic=lambda: make_critic(self.settings, self.vision),
            decomposer=lambda: make_decomposer(self.settings, self.language),
            models=dict(weights or {}),
            phrases=phrases,
        )
        return {name: METRICS[name](parts) for name in names}

    async def check(self) -> None:
        """Refuse everything that can be refused before anything is spent or loaded, what costs nothing first. The
        server of the decomposer is not asked: the run's first question goes there before anything else is spent."""
        settings = self.settings
        nobody_looks = self._baseline is not None and self._baseline.replaces in ("bare", "rewritten")
        asks = self._looks and settings.chats and not nobody_looks
        await ready(self.decomposer)
        if asks:
            await ready(self.critic)
        if self._draws and (settings.diffusion.model or settings.diffusion.files or settings.edit.kind != "off"):
            loaded = isinstance(self.diffusion, Lazy) and self.diffusion.made is not None
            for finding in await asyncio.to_thread(lambda: list(look_at_diffusion(settings, loaded=loaded))):
                finding.refuse()
        if asks:
            looks = settings.vision_settings()
            for model in filter(None, (looks.model, settings.vision.second)):
                (await look_at_vision(looks.model_copy(update={"model": model}))).refuse()

    def _own_decomposer(self) -> Decomposer:
        baseline = self._baseline
        if self.settings.run.checklist is not None and baseline is None:
            from ...tools.data.benchmarks import OwnChecklist

            if self._looks and not self.settings.chats:
                raise SettingsError("the embedded critic cannot read a benchmark's own questions: name a --chat-model")
            return OwnChecklist(self.settings.run.checklist)
        if baseline is None or (baseline.replaces == "undecomposed" and not self.settings.chats):
            return make_decomposer(self.settings, self.language)
        from ...tools.language.rewriting import ChatRewriter, RewritingDecomposer, WholeDecomposer

        if baseline.replaces != "rewritten":
            return WholeDecomposer()
        if self.language is None:
            from ...tools.world.decomposer import EmbeddedRewriter

            return RewritingDecomposer(WholeDecomposer(), EmbeddedRewriter())
        templates, words = self.settings.chat.templates, self.settings.vision.words
        return RewritingDecomposer(WholeDecomposer(), ChatRewriter(self.language, templates, words=words))

    def _own_critic(self) -> Critic:
        baseline = self._baseline
        if baseline is None or (baseline.replaces == "undecomposed" and self.settings.chats):
            return make_critic(self.settings, self.vision)
        from ...tools.vision.wrapping import NoCritic, WholeCritic

        if baseline.replaces == "metric":
            from ...tools.metrics import MetricCritic

            return MetricCritic(baseline.metric, lambda: self.metrics([baseline.metric])[baseline.metric])
        if baseline.replaces != "undecomposed":
            return NoCritic()
        # The embedded critic cannot read one question for the whole picture, so its answers are made into one.
        return WholeCritic(make_critic(self.settings, self.vision))


def _chat_model(settings: ChatSettings) -> "ChatModel":
    from ...tools.language.chat import ChatModel

    return ChatModel(settings)


def make_decomposer(settings: Settings, model: "ChatModel | None") -> Decomposer:
    """The decomposer that the settings name, whatever the baseline; it asks ``model``, or none."""
    if model is None:
        from ...tools.world import EmbeddedDecomposer

        return EmbeddedDecomposer()
    from ...tools.language.decomposer import ChatDecomposer

    return ChatDecomposer(model, settings.chat.templates)


def make_critic(settings: Settings, model: "ChatModel | None") -> Critic:
    """The critic that the settings name, whatever the baseline; it asks ``model``, or none."""
    if model is None:
        from ...tools.world import EmbeddedCritic

        return EmbeddedCritic.load(corrections=settings.vision.corrections)
    from ...tools.vision.critic import ChatCritic

    how: dict[str, Any] = {
        name: getattr(settings.vision, name) for name in ("votes", "probabilities", "words", "boxes")
    }
    how["templates"] = settings.chat.templates
    second = settings.vision.second
    if second is not None:  # of the same price, where one is known
        other = _chat_model(settings.vision_settings().model_copy(update={"model": second}))
        how["second"] = ChatCritic(other, **how)
    critic = ChatCritic(model, **how)
    if settings.vision.grounding is None:
        return critic
    from ...tools.vision.grounding import GroundedCritic, Grounder

    return GroundedCritic(critic, Grounder(settings.vision.grounding))


def make_diffusion(settings: Settings) -> Diffusion:
    """The diffusion role that the settings name, loaded, with the model that edits beside it."""
    drawer, chosen = _make_drawer(settings), settings.edit
    if chosen.kind in ("off", "self"):
        return drawer
    from ...tools.diffusion.editing import FunctionEditor, WithEditor

    if chosen.kind == "endpoint":
        return WithEditor(drawer, endpoint_at(settings.edit_settings(), chosen))
    if chosen.kind == "embedded":
        from ...tools.world.painter import EmbeddedPainter

        return WithEditor(drawer, FunctionEditor(EmbeddedPainter(chosen.mistakes)))
    from ...tools.diffusion import PipelineDiffusion

    place: dict[str, Any] = {name: getattr(settings.diffusion, name) for name in ("device", "precision", "offload")}
    return WithEditor(drawer, PipelineDiffusion.load(chosen.model or "", **place))


def _make_drawer(settings: Settings) -> Diffusion:
    if settings.diffusion.kind == "endpoint":
        return endpoint_of(settings)
    options = ["device", "precision", "offload", "max_tokens", "max_batch", "compiled", "attention", "tiled"]
    if is_sd3(settings):
        from ...tools.diffusion import LocalDiffusion as Local

        options += ["t5", "swap_pooled"]
    else:
        from ...tools.diffusion import PipelineDiffusion as Local

        check_effect(settings.diffusion, "a model of another family than SD3", SD3_ALONE)
    source = EMBEDDED_DIFFUSION if settings.diffusion.model is None else settings.diffusion.model
    how: dict[str, Any] = {name: getattr(settings.diffusion, name) for name in options}
    how |= {"steps": settings.run.steps, "guidance": settings.run.guidance, "options": settings.diffusion.options}
    return Local.load(source, **how)


def _shared(kind: Hashable, make: Callable[[], R], *key: Hashable) -> Lazy[R]:
    """What ``make`` makes, the same for all that ask for this kind with this key."""
    with _REGISTRY:
        found = _ALIVE.get((kind, *key)) or Lazy(make)
        _ALIVE[kind, *key] = _LATEST[kind] = found
        return found
