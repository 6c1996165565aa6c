"""From settings to roles; a model loads only when its role is made."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tools.errors import SettingsError
from ..tools.roles import Asker, Critic, Decomposer, Diffusion

if TYPE_CHECKING:
    from ..tools.diffusion.endpoint import EndpointDiffusion
    from ..tools.language.chat import ChatModel
    from .settings import Settings

EMBEDDED_DIFFUSION = Path(__file__).parent.parent / "tools" / "world" / "weights" / "diffusion"
"""The diffusers folder inside the package."""


@dataclass(frozen=True)
class Roles:
    """How to make the roles of one set of models. Each may raise ``ModelError``."""

    decomposer: Callable[[], Decomposer]
    """Cheap: it is made before anything is loaded, so that a bad prompt is told at once."""
    diffusion: Callable[[], Diffusion]
    critic: Callable[[], Critic]
    chat: Callable[[], Asker | None] = lambda: None
    """The chat model that policies may ask; None where none is configured."""


def roles_of(settings: "Settings") -> Roles:
    """The roles that the settings describe."""
    if not settings.chats:
        return Roles(_embedded_decomposer, lambda: make_diffusion(settings), _embedded_critic)
    chats = Chats(settings)
    return Roles(chats.decomposer, lambda: make_diffusion(settings), chats.critic, lambda: chats.language)


class Chats:
    """The roles over chat models; one model is one limiter, however many roles share it."""

    def __init__(self, settings: "Settings") -> None:
        """Raises ``SettingsError`` if the folder of templates is not there."""
        folder = settings.chat.templates
        if folder is not None and not folder.is_dir():
            raise SettingsError(f"there is no folder {folder}, which chat.templates names")
        self._settings = settings

    @cached_property
    def language(self) -> "ChatModel":
        """The decomposer's model."""
        from ..tools.language.chat import ChatModel

        return ChatModel(self._settings.chat_settings())

    @cached_property
    def vision(self) -> "ChatModel":
        """The critic's model."""
        from ..tools.language.chat import ChatModel

        wanted = self._settings.vision_settings()
        return self.language if wanted == self._settings.chat_settings() else ChatModel(wanted)

    def decomposer(self) -> Decomposer:
        from ..tools.language.decomposer import ChatDecomposer

        return ChatDecomposer(self.language, self._settings.chat.templates)

    def critic(self) -> Critic:
        from ..tools.vision.critic import ChatCritic

        own = self._settings.vision
        return ChatCritic(
            self.vision,
            templates=self._settings.chat.templates,
            votes=own.votes,
            probabilities=own.probabilities,
            words=own.words,
        )


def make_diffusion(settings: "Settings") -> Diffusion:
    """The diffusion role, loaded."""
    chosen = settings.diffusion
    how: dict[str, Any] = {"steps": settings.run.steps, "guidance": settings.run.guidance}
    how |= {"device": chosen.device, "precision": chosen.precision, "offload": chosen.offload}
    if draws_remotely(settings):
        return endpoint_of(settings)
    if not is_sd3(settings):
        from ..tools.diffusion import PipelineDiffusion

        return PipelineDiffusion.load(diffusion_source(settings), **how)
    from ..tools.diffusion import LocalDiffusion

    return LocalDiffusion.load(
        diffusion_source(settings),
        **how,
        t5=chosen.t5,
        max_tokens=chosen.max_tokens,
        max_batch=chosen.max_batch,
        compiled=chosen.compiled,
        swap_pooled=chosen.swap_pooled,
    )


def endpoint_of(settings: "Settings") -> "EndpointDiffusion":
    """The images endpoint; ``ModelError`` if it needs a key and has none."""
    from ..tools.diffusion.endpoint import EndpointDiffusion
    from ..tools.diffusion.endpoint_server import EndpointSettings

    own = settings.images
    return EndpointDiffusion(
        EndpointSettings(
            server=settings.images_settings(),
            size=own.size,
            quality=own.quality,
            price=own.price,
            send_seed=own.send_seed,
        )
    )


def diffusion_source(settings: "Settings") -> Path | str:
    """The folder or hub id that draws."""
    return EMBEDDED_DIFFUSION if settings.diffusion.model is None else settings.diffusion.model


def draws_remotely(settings: "Settings") -> bool:
    """Whether an images endpoint draws."""
    return settings.diffusion.kind == "endpoint"


def is_sd3(settings: "Settings") -> bool:
    """Whether the model is of the SD3 class, which can be refined by every operator; its index may be fetched."""
    if settings.diffusion.kind == "auto" and settings.diffusion.model is not None:
        from .hub import pipeline_class

        return pipeline_class(settings.diffusion.model).startswith("StableDiffusion3")
    return settings.diffusion.kind != "pipeline"


def _embedded_decomposer() -> Decomposer:
    from ..tools.world import EmbeddedDecomposer

    return EmbeddedDecomposer()


def _embedded_critic() -> Critic:
    from ..tools.world import EmbeddedCritic

    return EmbeddedCritic.load()
