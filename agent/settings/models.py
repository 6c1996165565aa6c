"""The models that settings name, each loaded at its first use and shared by all runs of a process."""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast
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
"""Models that are in use, by what they were loaded from."""
_LATEST: dict[object, "Lazy[Any]"] = {}
"""The latest model of each role, kept in memory for the next run."""


class Models:
    """The models that settings name, each loaded at its first use; roles that are given replace them. All runs of a
    process share local models, the latest of which stay in memory, and others as long as they are in use."""

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
        # A client of a server is cheap to make and has state of its run, so that runs do not share it.
        self.critic: Critic | Lazy[Critic] = critic or (
            Lazy(self._own_critic)
            if settings.chats or self._baseline
            else _shared(make_critic, partial(make_critic, settings, None), settings.vision.corrections)
        )
        load, run = partial(make_diffusion, settings), settings.run
        key = (settings.diffusion.model_dump_json(), run.steps, run.guidance, settings.edit.model_dump_json())
        is_remote = "endpoint" in (settings.diffusion.kind, settings.edit.kind)
        self.diffusion: Diffusion | Lazy[Diffusion] = diffusion or (
            Lazy(load) if is_remote else _shared(make_diffusion, load, *key)
        )

    @property
    def roles(self) -> dict[str, Any]:
        """The roles by name."""
        return {"decomposer": self.decomposer, "diffusion": self.diffusion, "critic": self.critic}

    @property
    def names(self) -> dict[str, str]:
        """Name and content hash by role, of the models that are loaded."""
        loaded = {name: role.made if isinstance(role, Lazy) else role for name, role in self.roles.items()}
        return {name: model_name(role) for name, role in loaded.items() if role is not None}

    @cached_property
    def language(self) -> "ChatModel | None":
        """The chat model that decomposes, and that policies may ask; None if the settings name none."""
        return _chat_model(self.settings.chat_settings()) if self.settings.chats else None

    @cached_property
    def vision(self) -> "ChatModel | None":
        """The chat model that looks at images, which is ``language`` itself if the settings are the same."""
        if not self.settings.chats or self.settings.vision_settings() == self.settings.chat_settings():
            return self.language
        return _chat_model(self.settings.vision_settings())

    def metrics(
        self, names: Sequence[str], weights: Mapping[str, str] | None = None, phrases: "PhrasesName" = "concepts"
    ) -> "dict[str, BatchMetric]":
        """The metrics of these names, loaded at their first use; scores are kept beside the answers of chat models.
        ``weights`` replaces a metric's own weights by a folder or hub id."""
        from ...tools.metrics import METRICS, Parts

        unknown = [name for name in (*names, *(weights or {})) if name not in METRICS]
        if unknown or not names:
            named = ", ".join(unknown) or "nothing"
            raise SettingsError(f"{named} is no metric; these are known: {', '.join(METRICS)}")

        def vision() -> "ChatModel":
            if self.vision is None:
                raise SettingsError("this metric asks a chat model that sees: give --chat-model and --chat-url")
            return self.vision

        parts = Parts(
            cache=cast("Path", self.settings.chat.cache or ChatSection().cache).parent,
            chat=vision,
            critic=lambda: make_critic(self.settings, self.vision),
            decomposer=lambda: make_decomposer(self.settings, self.language),
            models=dict(weights or {}),
            phrases=phrases,
        )
        return {name: METRICS[name](parts) for name in names}

    async def check(self) -> None:
        """Raise ``DetailScribeError`` for what can be found before anything is spent or loaded, the cheapest checks
        first. The server of the decomposer is not checked, since the run begins with a question to it."""
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
            vision = settings.vision_settings()
            for model in filter(None, (vision.model, settings.vision.second)):
                (await look_at_vision(vision.model_copy(update={"model": model}))).refuse()

    def _own_decomposer(self) -> Decomposer:
        settings, baseline = self.settings, self._baseline
        if settings.run.checklist is not None and baseline is None:
            from ...tools.data.benchmarks import OwnChecklist

            if self._looks and not settings.chats:
                raise SettingsError("the embedded critic cannot read a benchmark's own questions: name a --chat-model")
            return OwnChecklist(settings.run.checklist)
        if baseline is None or (baseline.replaces == "undecomposed" and not settings.chats):
            return make_decomposer(settings, self.language)
        from ...tools.language.rewriting import ChatRewriter, RewritingDecomposer, WholeDecomposer

        if baseline.replaces != "rewritten":
            return WholeDecomposer()
        if self.language is None:
            from ...tools.world.decomposer import EmbeddedRewriter

            return RewritingDecomposer(WholeDecomposer(), EmbeddedRewriter())
        rewriter = ChatRewriter(self.language, settings.chat.templates, words=settings.vision.words)
        return RewritingDecomposer(WholeDecomposer(), rewriter)

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
    """The decomposer of the settings without a baseline: ``model``, or the embedded one."""
    if model is None:
        from ...tools.world import EmbeddedDecomposer

        return EmbeddedDecomposer()
    from ...tools.language.decomposer import ChatDecomposer

    return ChatDecomposer(model, settings.chat.templates)


def make_critic(settings: Settings, model: "ChatModel | None") -> Critic:
    """The critic of the settings without a baseline: ``model``, or the embedded one."""
    if model is None:
        from ...tools.world import EmbeddedCritic

        return EmbeddedCritic.load(corrections=settings.vision.corrections)
    from ...tools.vision.critic import ChatCritic

    chosen = settings.vision
    how: dict[str, Any] = {name: getattr(chosen, name) for name in ("votes", "probabilities", "words", "boxes")}
    how["templates"] = settings.chat.templates
    if chosen.second is not None:  # at the same price
        other = _chat_model(settings.vision_settings().model_copy(update={"model": chosen.second}))
        how["second"] = ChatCritic(other, **how)
    critic = ChatCritic(model, **how)
    if chosen.grounding is None:
        return critic
    from ...tools.vision.grounding import GroundedCritic, Grounder

    return GroundedCritic(critic, Grounder(chosen.grounding))


def make_diffusion(settings: Settings) -> Diffusion:
    """The diffusion role of the settings, loaded, with the model that edits."""
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
    chosen, run = settings.diffusion, settings.run
    if chosen.kind == "endpoint":
        return endpoint_of(settings)
    options = ["device", "precision", "offload", "max_tokens", "max_batch", "compiled", "attention", "tiled", "options"]
    if is_sd3(settings):
        from ...tools.diffusion import LocalDiffusion as Local

        options += ["t5", "swap_pooled"]
    else:
        from ...tools.diffusion import PipelineDiffusion as Local

        check_effect(chosen, "a model of another family than SD3", SD3_ALONE)
    how: dict[str, Any] = {name: getattr(chosen, name) for name in options}
    source = EMBEDDED_DIFFUSION if chosen.model is None else chosen.model
    return Local.load(source, steps=run.steps, guidance=run.guidance, **how)


def _shared(role: Hashable, load: Callable[[], R], *key: Hashable) -> Lazy[R]:
    """The model of a role with this key, which all runs of the process share."""
    with _REGISTRY:
        model = _ALIVE.get((role, *key)) or Lazy(load)
        _ALIVE[role, *key] = _LATEST[role] = model
        return model
