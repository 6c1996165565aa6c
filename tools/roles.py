"""The roles: one protocol each; variants are swapped by name, a fake is a few lines."""

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
"""Held while any model of this process loads: torch's way to build a model without memory is global to the process,
and two loads at once break every later one."""

Progress = Callable[[str, int, int], None]
"""Called with image id, steps done and steps to do."""

BoxForm = Literal["pixels", "pixels-yx", "thousandths", "thousandths-yx", "shares", "shares-yx"]
"""How a model writes a box. pixels: of the picture as it is sent; thousandths: 0 to 1000; shares: 0 to 1, each of width
and height; with -yx the upper and left edges come in this order, and so the lower and right ones."""

Explicitness = Literal["oracle", "place", "pose", "words"]
"""oracle: where every thing is to stand, whether it failed or not; the others speak of what failed alone, the gravest
first. place: where its things are to stand; pose: how they are to stand to each other, side by side or one above the
other; words: the words of the prompt again."""


class Decomposer(Protocol):
    """Turns a prompt into a graph of checkable concepts."""

    async def decompose(self, prompt: str) -> ConceptGraph:
        """Raises ``PromptError`` for a prompt that it cannot read."""
        ...


class Diffusion(Protocol):
    """Draws images into a store; the only owner of its model."""

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """Carry an attempt out; calls that overlap may share the model's forward passes.

        Args:
            attempt: With id, prompt and seed.
            store: Where picture and latents go.
            source: The image that the attempt names as its source; None for a new drawing.
            progress: Called after each step of the denoiser, from any thread.

        Raises:
            MissingLatentError: the source kept no x_k at the step that ``resume`` is to start from.
        """
        ...


@dataclass(frozen=True)
class Rewritten:
    """The words to draw from."""

    prompt: str
    """It begins with the user's prompt."""
    exchanges: tuple[Exchange, ...] = ()
    """What was asked to get it."""


class Rewriter(Protocol):
    """Says in more words what a prompt asks for."""

    async def rewrite(self, prompt: str) -> Rewritten:
        """Raises ``ReplyError`` where no usable answer comes, and never returns the bare prompt in its place."""
        ...


@runtime_checkable
class KnowsItsCost(Protocol):
    """A diffusion role that knows beforehand what a drawing costs, so that a budget holds from the first one on."""

    @property
    def evaluations_per_drawing(self) -> int:
        """Forward passes of the denoiser for one full drawing; a guided step counts two."""
        ...


class Critic(Protocol):
    """Answers the checklist about one image and says how to correct it."""

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """One verdict for each check; what it cannot tell is unknown, with the reason."""
        ...


class Comparer(Protocol):
    """A critic that can also say which of two images is better; asked only where several lead together."""

    async def compare(
        self, first: ImageRecord, second: ImageRecord, concepts: ConceptGraph, store: Store
    ) -> Comparison: ...


def compares(critic: object) -> TypeGuard[Comparer]:
    """Whether a critic can compare, be it by another one that it wraps, which ``isinstance`` may not see."""
    return callable(getattr(critic, "compare", None))


@runtime_checkable
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


def require_role(given: object, role: type[Any], **methods: object) -> None:
    """Refuse what cannot take a part, before anything is asked of it: each method of the protocol is there and takes
    the arguments; ``methods`` stand in for those of ``given``, by name. A ``Lazy`` role is not looked at."""
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
        form = f"{name}({', '.join(one.name for one in parameters)})"
        if not callable(own):
            raise SettingsError(f"{what}: it has no method {form}")
        named = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
        try:
            inspect.signature(own).bind(*parameters[: len(parameters) - len(named)], **dict.fromkeys(named))
        except (TypeError, ValueError) as error:
            raise SettingsError(f"{what}: its {name} cannot be called as {form}: {error}") from error
        wrong = inspect.iscoroutinefunction(own) != inspect.iscoroutinefunction(declared)
        if inspect.isroutine(own) and (wrong or inspect.isgeneratorfunction(own) or inspect.isasyncgenfunction(own)):
            way = f"is no async function: write async def {name}(...)"
            if not inspect.iscoroutinefunction(declared):
                way = "should be no async function and no generator, but return a list"
            raise SettingsError(f"{type(given).__name__}.{name} {way}")


class Lazy(Generic[R]):
    """A role that is made at its first use, once, in a worker thread, whatever event loops await it."""

    def __init__(self, make: Callable[[], R]) -> None:
        self._make = make
        self._lock = Lock()
        self._made: Future[R] | None = None

    async def get(self) -> R:
        """The role. Callers that come while it is made wait for the same making; where that raises, the next one tries
        again."""
        with self._lock:
            made = self._made
            if made is None or (made.done() and made.exception() is not None):
                made = self._made = Future()
                context = copy_context()
                asyncio.get_running_loop().run_in_executor(None, lambda: context.run(self._run, made))
        # A caller that is cancelled leaves the others waiting for the same model.
        return await asyncio.shield(asyncio.wrap_future(made))

    @property
    def made(self) -> R | None:
        """The role if it is there already; None before."""
        made = self._made
        return made.result() if made is not None and made.done() and made.exception() is None else None

    def _run(self, made: Future[R]) -> None:
        try:
            with LOADING:
                role = self._make()
        except BaseException as error:  # noqa: BLE001 - raised by those who wait
            made.set_exception(error)
        else:
            made.set_result(role)


async def ready(role: R | Lazy[R]) -> R:
    """The role itself, made if it was not yet."""
    return await cast("Lazy[R]", role).get() if isinstance(role, Lazy) else role


def model_name(role: object) -> str:
    """Name and content hash of the role's model, or the name of its class where it has none."""
    made: object = cast("Lazy[object]", role).made if isinstance(role, Lazy) else role
    return str(getattr(made, "model", type(made).__qualname__))


async def answered(answer: Awaitable[R], kind: type[R], role: object, method: str) -> R:
    """What an async method of a role returns; ``ModelError`` where its protocol says otherwise."""
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
