"""The judge of an experiment: it takes no part in any loop, and says how good every image is."""

import asyncio

from ...state import ConceptGraph, Critique, ImageRecord, RunResult
from ...tools.roles import Critic
from ...tools.store import Store
from ..settings import Settings
from .spec import JudgeSettings


def make_judge(chosen: JudgeSettings, settings: Settings) -> Critic | None:
    """The judge; None where the critic's word is taken.

    Raises:
        ModelError: it cannot be loaded, or lacks a key.
    """
    if chosen.kind == "critic":
        return None
    return EmbeddedJudge() if chosen.kind == "embedded" else _chat_judge(chosen, settings)


class EmbeddedJudge:
    """The network of the embedded world that is of another kind, and was taught by other pictures, than the critic."""

    def __init__(self) -> None:
        """Raises ``ModelError`` if its weights cannot be read."""
        from ...tools.world.eyes import Eyes

        self._eyes = Eyes.load("judge")

    @property
    def model(self) -> str:
        """Name and content hash."""
        return self._eyes.model

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """Verdicts alone: a judge corrects nothing."""
        return await asyncio.to_thread(self._critique, image, concepts, store)

    def _critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        from ...tools.world.decomposer import spec_of
        from ...tools.world.eyes import read_picture
        from ...tools.world.verdicts import settle

        [seen] = self._eyes.look([read_picture(store, image)])
        return Critique(image=image.id, verdicts=settle(concepts, spec_of(concepts), seen))


async def judged(judge: Critic, result: RunResult, store: Store) -> dict[str, Critique]:
    """The judge's critiques by image id; previews are not judged."""
    images = [image for image in result.images if image.stop_step is None] or list(result.images)
    seen = [await judge.critique(image, result.concepts, store) for image in images]
    return {critique.image: critique for critique in seen}


def _chat_judge(chosen: JudgeSettings, settings: Settings) -> Critic:
    """A critic over the named model, with the limits of ``chat``; its key is that of the settings where the server is
    the same."""
    from ..roles import Chats

    server: dict[str, object] = {"model": chosen.model}
    if chosen.url is not None:
        own = settings.vision.key if chosen.url == settings.vision.url else None
        server |= {"url": chosen.url, "key": own}
    vision = settings.vision.model_copy(update=server)
    chat = settings.chat.model_copy(update={"model": settings.chat.model or chosen.model})
    return Chats(settings.model_copy(update={"chat": chat, "vision": vision})).critic()
