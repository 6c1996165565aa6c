"""The roles: a protocol for each, lazy loading, and checks of the user's own roles."""

import asyncio
import inspect
import reprlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeGuard, TypeVar, cast, runtime_checkable

from pydantic import BaseModel

from ..state import Attempt, Comparison, ConceptGraph, Critique, Exchange, ImageRecord
from .errors import ModelError, SettingsError
from .files import Store

if TYPE_CHECKING:
    from .language.question import Question, Reply

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")

LOADING = RLock()
"""Held while a model of this process loads: building a model without memory is a global mode of torch, and two loads at
once break every later one."""

Progress = Callable[[str, int, int], None]
"""Called with image id, steps done and steps to do."""

BoxForm = Literal["pixels", "pixels-yx", "thousandths", "thousandths-yx", "shares", "shares-yx"]
"""Coordinates of a model's boxes. pixels: of the picture as it is sent; thousandths: 0 to 1000; shares: 0 to 1, of
width and height; -yx: top, left, bottom, right instead of left, top, right, bottom."""

Explicitness = Literal["oracle", "place", "pose", "words"]
"""oracle: where every thing should stand, failed or not; the others are about the failed checks only, the worst first.
place: where their things should stand; pose: how these should be arranged, side by side or one above the other; words:
the prompt's words again."""


class Decomposer(Protocol):
    """Turns a prompt into a graph of checkable concepts."""

    async def decompose(self, prompt: str) -> ConceptGraph:
        """Raises ``PromptError`` for a prompt that it cannot read."""
        ...


class Diffusion(Protocol):
    """Draws images into a store."""

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """Make the image of an attempt; concurrent calls may share the model's forward passes.

        Args:
            attempt: With id, prompt and seed.
            store: For picture and latents.
            source: The attempt's source; None for a new drawing.
            progress: Called after each step of the denoiser, from any thread.

        Raises:
            MissingLatentError: the source has no x_k at the step that ``resume`` should start from.
        """
        ...


@dataclass(frozen=True)
class Rewritten:
    """A rewritten prompt."""

    prompt: str
    """It begins with the user's prompt."""
    exchanges: tuple[Exchange, ...] = ()
    """What the model was asked and answered."""


class Rewriter(Protocol):
    """Adds detail to a prompt before anything is drawn."""

    async def rewrite(self, prompt: str) -> Rewritten:
        """Raises ``ReplyError`` without a usable answer, and never falls back to the bare prompt."""
        ...


@runtime_checkable
class KnowsItsCost(Protocol):
    """A diffusion role that knows in advance what a drawing costs, so that the budget holds for the first ones too."""

    @property
    def evaluations_per_drawing(self) -> int:
        """Forward passes of the denoiser for one full drawing; a guided step counts two."""
        ...


class Critic(Protocol):
    """Answers the checklist for an image and corrects the prompt."""

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """One verdict for each check; if it cannot tell, unknown with the reason."""
        ...


class Comparer(Protocol):
    """A critic that can also say which of two images is better; asked only if several rank highest."""

    async def compare(
        self, first: ImageRecord, second: ImageRecord, concepts: ConceptGraph, store: Store
    ) -> Comparison: ...


def compares(critic: object) -> TypeGuard[Comparer]:
    """Whether a critic can compare, perhaps through ``__getattr__``, which ``isinstance`` may not see."""
    return callable(getattr(critic, "compare", None))


@runtime_checkable
class Asker(Protocol):
    """A chat model for policies."""

    async def ask(self, question: "Question", answer: type[M]) -> "Reply[M]":
        """Ask until a reply is an ``answer``; ``ReplyError`` if none is, ``ModelError`` if it cannot be asked."""
        ...


class Metric(Protocol):
    """Scores an image and its prompt; higher is better."""

    async def score(self, image: ImageRecord, prompt: str, store: Store) -> float | None:
        """None if it cannot tell; ``tools.metrics`` gives the reason, and scores many images at once."""
        ...


def require_role(given: object, role: type[Any], **methods: object) -> None:
    """Refuse an object that lacks a method of a role's protocol, or whose method takes other arguments; ``methods``
    replace those of ``given``, by name. A ``Lazy`` role is not checked."""
    if isinstance(given, Lazy):
        return
    what = f"{' '.join(repr(given).split())[:100]} is no {role.__name__.lower()}"
    if inspect.isclass(given):
        raise SettingsError(f"{what} but a class: give one that is made, {given.__name__}(...)")
    for name, declared in vars(role).items():
        if name.startswith("_") or not inspect.isfunction(declared):
            continue
        own: Any = methods.get(name) or getattr(given, name, None)
        _, *parameters = inspect.signature(declared).parameters.values()
        form = f"{name}({', '.join(parameter.name for parameter in parameters)})"
        if not callable(own):
            raise SettingsError(f"{what}: it has no method {form}")
        named = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        try:
            inspect.signature(own).bind(*parameters[: len(parameters) - len(named)], **dict.fromkeys(named))
        except (TypeError, ValueError) as error:
            raise SettingsError(f"{what}: its {name} cannot be called as {form}: {error}") from error
        wrong = inspect.iscoroutinefunction(own) != inspect.iscoroutinefunction(declared)
        if inspect.isroutine(own) and (wrong or inspect.isgeneratorfunction(own) or inspect.isasyncgenfunction(own)):
            problem = f"is no async function: write async def {name}(...)"
            if not inspect.iscoroutinefunction(declared):
                problem = "should be no async function and no generator, but return a list"
            raise SettingsError(f"{type(given).__name__}.{name} {problem}")


class Lazy(Generic[R]):
    """A role that is created once, at its first use, in a worker thread; any event loop may await it."""

    def __init__(self, make: Callable[[], R]) -> None:
        self._make = make
        self._lock = Lock()
        self._made: Future[R] | None = None

    async def get(self) -> R:
        """The role. Concurrent callers wait for the same one; after an error the next caller tries again."""
        with self._lock:
            made = self._made
            if made is None or (made.done() and made.exception() is not None):
                made = self._made = Future()
                context = copy_context()
                asyncio.get_running_loop().run_in_executor(None, lambda: context.run(self._run, made))
        # If one caller is cancelled, the others still wait for the model.
        return await asyncio.shield(asyncio.wrap_future(made))

    @property
    def made(self) -> R | None:
        """The role, if it exists already."""
        made = self._made
        return made.result() if made is not None and made.done() and made.exception() is None else None

    def _run(self, made: Future[R]) -> None:
        try:
            with LOADING:
                role = self._make()
        except BaseException as error:  # noqa: BLE001 - raised in the callers
            made.set_exception(error)
        else:
            made.set_result(role)


async def ready(role: R | Lazy[R]) -> R:
    """The role itself, created if necessary."""
    return await cast("Lazy[R]", role).get() if isinstance(role, Lazy) else role


def model_name(role: object) -> str:
    """Name and content hash of the role's model, or the name of its class if it has none."""
    made: object = cast("Lazy[object]", role).made if isinstance(role, Lazy) else role
    return str(getattr(made, "model", type(made).__qualname__))


async def answered(answer: Awaitable[R], kind: type[R], role: object, method: str) -> R:
    """The result of an async method of a role; ``ModelError`` if it is of another type."""
    name = f"{type(role).__name__}.{method}"
    if not inspect.isawaitable(answer):
        raise ModelError(f"{name} is no async function: write async def {method}(...)")
    value: object = await answer
    if isinstance(value, kind):
        return value
    missing = "; an await is missing" if inspect.isawaitable(value) else ""
    if inspect.iscoroutine(value):
        value.close()
    raise ModelError(f"{name} returned {reprlib.repr(value)}, not the {kind.__name__} that was expected{missing}")
