"""The roles: one protocol each; variants are swapped by name, a fake is a few lines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel

from ..state import Comparison, ConceptGraph, Critique, ImageRecord, Operator
from .store import Store

if TYPE_CHECKING:
    from .language.question import Question, Reply

M = TypeVar("M", bound=BaseModel)

Progress = Callable[[str, int, int], None]
"""Called with image id, steps done and steps to do."""


class Decomposer(Protocol):
    """Turns a prompt into a graph of checkable concepts."""

    async def decompose(self, prompt: str) -> ConceptGraph:
        """Raises ``PromptError`` for a prompt that it cannot read."""
        ...


@dataclass(frozen=True)
class GenerateRequest:
    """An image to draw from pure noise."""

    id: str
    """Of the image to be."""
    round: int
    prompt: str
    seed: int
    parent: str | None = None
    """The image that this one replaces, for a reseed."""
    keep_steps: tuple[int, ...] = ()
    """Steps k whose x_k is kept."""
    stop_step: int | None = None
    """Step k in [1, N] to stop at, for a preview: the picture is what the denoiser takes for the final one there, and
    x_k is kept, so that ``resume`` at k goes on as if it had not stopped. None goes to the end."""
    steps: int | None = None
    """N; None is the model's own."""
    guidance: float | None = None
    """Scale of classifier-free guidance, 1 or less for none; None is the model's own."""


@dataclass(frozen=True)
class RedenoiseRequest:
    """An image to take up again at a step of its schedule."""

    id: str
    """Of the image to be."""
    round: int
    prompt: str
    source: ImageRecord
    """The image to start from; it becomes the parent."""
    operator: Operator
    start_step: int
    """k in [0, N]; at N the source comes back unchanged."""
    seed: int
    """Of the noise that ``inject`` adds."""
    keep_steps: tuple[int, ...] = ()
    """Steps k whose x_k is kept."""
    stop_step: int | None = None
    """Step k in [start_step + 1, N] to stop at, as in ``GenerateRequest``."""
    steps: int | None = None
    """N; None is the model's own, and ``resume`` needs that of the source."""
    guidance: float | None = None
    """Scale of classifier-free guidance, 1 or less for none; None is the model's own."""


class Diffusion(Protocol):
    """Draws images into a store; the only owner of its model."""

    async def generate(
        self, requests: Sequence[GenerateRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """One record for each request, in order."""
        ...

    async def redenoise(
        self, requests: Sequence[RedenoiseRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """One record for each request, in order; ``MissingLatentError`` if x_k was not kept."""
        ...


@runtime_checkable
class KnowsItsCost(Protocol):
    """A diffusion role that tells beforehand what a drawing costs, so that a budget holds from the first one on."""

    @property
    def evaluations_per_drawing(self) -> int:
        """Forward passes of the denoiser for one full drawing; a guided step counts two."""
        ...


class Critic(Protocol):
    """Answers the checklist about one image and says how to correct it."""

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """One verdict for each check; what it cannot tell is unknown, with the reason."""
        ...


@runtime_checkable
class Comparer(Protocol):
    """A critic that can also say which of two images is better; asked only where several lead together."""

    async def compare(
        self, first: ImageRecord, second: ImageRecord, concepts: ConceptGraph, store: Store
    ) -> Comparison: ...


class Asker(Protocol):
    """A chat model as policies see it."""

    async def ask(self, question: "Question", answer: type[M]) -> "Reply[M]":
        """Ask until the reply is an ``answer``; ``ReplyError`` if none is, ``ModelError`` if it cannot be asked."""
        ...


class Metric(Protocol):
    """A number for an image and its prompt; higher is better."""

    async def score(self, image: ImageRecord, prompt: str, store: Store) -> float | None:
        """None where it cannot tell; ``tools.metrics`` says why, and takes many images at once."""
        ...
