"""The calls of roles inside nodes, each a LangGraph task: recorded as soon as it returns, and not made again.

The checkpointer keeps a task's result with the step that it belongs to, and the cache of the context keeps it under a
hash of everything that it depends on. So a run that was killed asks and draws again only what was in flight, and
runs with one cache do the same work once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, TypeVar, cast, get_args

from langgraph.config import get_config
from langgraph.func import task

from ...state import Advice, Attempt, Comparison, ConceptGraph, Critique, ImageRecord, Population
from ...tools.errors import ModelError
from ...tools.files import Store, content_hash, copy_file
from ...tools.roles import Comparer, Progress, answered, model_name, ready
from ..policies.policy import Advised
from .context import Context, chat_of

R = TypeVar("R")
Work = Callable[[], Awaitable[Any]]
Name = Literal["decompose", "draw", "critique", "compare", "advise"]
"""What is asked of a role; the name of the task in LangGraph's stream."""

Drawn = tuple[ImageRecord, str]
"""An image, and the folder of the run that it was drawn for, relative to ``Context.shared``; empty where nothing is
shared."""


async def _done(work: Work) -> Any:
    return await work()


_TASKS: dict[str, Any] = {name: cast(Any, task)(name=name)(partial(_done)) for name in get_args(Name)}


async def _once(
    name: Name, context: Context, parts: Callable[[], tuple[object, ...]], work: Callable[[], Awaitable[R]]
) -> R:
    """What ``work`` gives, or gave when it was called for the same parts before. A run without a thread id cannot be
    continued, so that no task is made of its calls, and it costs less."""
    cache = context.cache
    kept = work if cache is None else lambda: cache.once(content_hash(name, *parts()), work)
    if "thread_id" not in get_config().get("configurable", {}):
        return await kept()
    return cast(R, await _TASKS[name](kept))


async def decompose(prompt: str, context: Context) -> ConceptGraph:
    """The concepts of a prompt."""
    decomposer = await ready(context.decomposer)
    return await _once(
        "decompose",
        context,
        lambda: (model_name(decomposer), prompt),
        lambda: answered(decomposer.decompose(prompt), ConceptGraph, decomposer, "decompose"),
    )


async def draw(attempt: Attempt, source: ImageRecord | None, context: Context, progress: Progress) -> ImageRecord:
    """The image of an attempt; drawn again where it is known and its files are missing."""
    if attempt.operator == "look" and source is not None:
        return source.again(attempt)
    diffusion, store, shared = await ready(context.diffusion), context.store, context.shared
    folder = "" if shared is None else store.root.relative_to(shared).as_posix()
    within, is_new = _place(context), False

    def parts() -> tuple[object, ...]:
        asked = attempt.model_dump(mode="json", exclude={"id", "round", "parent", "source"})
        return model_name(diffusion), asked, source and _content(source, store)

    async def carry_out() -> Drawn:
        nonlocal is_new
        is_new = True
        place = Store(store.root / within)
        if within:
            for file in () if source is None else filter(lambda file: (store.root / file).is_file(), source.files):
                await asyncio.to_thread(copy_file, store.path(file), place.path(file))
        drawing = diffusion.draw(attempt, place, source=source, progress=progress)
        made = await answered(drawing, ImageRecord, diffusion, "draw")
        if made.id != attempt.id:
            raise ModelError(
                f"{type(diffusion).__name__}.draw returned the record of {made.id!r}, not that of {attempt.id!r}"
            )
        return made.moved(lambda file: f"{within}/{file}") if within else made, folder

    record, origin = await _once("draw", context, lambda: parts() if shared else (*parts(), attempt.id), carry_out)
    if origin != folder and not record.seeded:  # a server without seeds draws for each run anew
        record, origin = await _once("draw", context, lambda: (*parts(), folder, attempt.id), carry_out)
    if is_new:
        return record
    root = store if shared is None else Store(Store(shared).path(origin))
    found = await asyncio.to_thread(_adopted, record, root, attempt, store)
    return found or (await carry_out())[0]


def _place(context: Context) -> str:
    """The folder in the store that the drawing of this node writes to; empty where the store belongs to the run. Image
    ids repeat, so that another thread, a loop that comes again, or a fork would replace pictures. LangGraph's
    checkpoint namespace names the very task, the same when it is carried out again after a kill."""
    return "" if context.owns_store else content_hash(get_config().get("configurable", {}).get("checkpoint_ns"))[:12]


def _adopted(record: ImageRecord, origin: Store, attempt: Attempt, store: Store) -> ImageRecord | None:
    """A known image of the run in ``origin`` as the one that an attempt asks for; None where its files are not
    those."""
    if not all(origin.path(file).is_file() for file in record.files):
        return None
    from PIL import Image

    from ...tools.diffusion.job import pixel_digest, png_bytes

    with Image.open(origin.path(record.path)) as picture:
        if record.digest and pixel_digest(picture) != record.digest:  # a run that began anew drew another one
            return None
    if origin.root == store.root and record.id == attempt.id:
        return record

    def own(reference: str) -> str:
        folder, _, name = reference.rpartition("/")
        return f"{folder}/{name.replace(record.id, attempt.id or '', 1)}"

    adopted = record.moved(own, id=attempt.id, round=attempt.round, parent=attempt.parent, origin=attempt.origin)
    for theirs, ours in zip(record.files[1:], adopted.files[1:], strict=True):
        copy_file(origin.path(theirs), store.path(ours))
    with Image.open(origin.path(record.path)) as picture:
        store.write(adopted.path, png_bytes(picture, adopted))
    return adopted


class _NotHeard(Exception):
    """Takes a critique past cache and checkpointer, which keep no errors, so that what had no answer is asked again."""

    def __init__(self, critique: Critique) -> None:
        super().__init__("no usable answer came")
        self.critique = critique


async def critique(image: ImageRecord, concepts: ConceptGraph, context: Context) -> Critique:
    """What the critic says of an image; only where every check had a usable answer is it kept."""
    critic = await ready(context.critic)

    async def look() -> Critique:
        seen = await answered(critic.critique(image, concepts, context.store), Critique, critic, "critique")
        if (said := [v.check for v in seen.verdicts]) != (asked := [check.id for check in concepts.checks]):
            raise ModelError(
                f"{type(critic).__name__}.critique answered the checks {', '.join(said)}; expected were"
                f" {', '.join(asked)}, in this order"
            )
        if seen.unheard:
            raise _NotHeard(seen)
        return seen

    try:
        said = await _once("critique", context, lambda: about(image, concepts, critic, context.store), look)
    except _NotHeard as lost:
        said = lost.critique
    return said if said.image == image.id else said.model_copy(update={"image": image.id})


async def compare(
    first: ImageRecord, second: ImageRecord, concepts: ConceptGraph, critic: Comparer, context: Context
) -> Comparison:
    """Which of two images the critic takes for better."""

    def parts() -> tuple[object, ...]:
        return about(first, concepts, critic, context.store), about(second, concepts, critic, context.store)

    async def look() -> Comparison:
        return await answered(critic.compare(first, second, concepts, context.store), Comparison, critic, "compare")

    return await _once("compare", context, parts, look)


async def advise(population: Population, policy: Advised, context: Context) -> Advice:
    """What the policy's chat model says of the images that wait."""
    chat = chat_of(policy, context)
    return await _once(
        "advise",
        context,
        lambda: (model_name(chat), repr(policy), population.model_dump_json()),
        lambda: answered(policy.advise(population, chat), Advice, policy, "advise"),
    )


def about(image: ImageRecord, concepts: ConceptGraph, critic: object, store: Store) -> tuple[object, ...]:
    """All that a critic's answer about an image depends on; it may draw random numbers from id, seed and prompt."""
    checklist = concepts.model_dump_json(exclude={"exchanges"})
    return model_name(critic), checklist, image.id, image.seed, image.prompt, _content(image, store)


def _content(image: ImageRecord, store: Store) -> str:
    """What a picture shows, whatever run it belongs to; where its pixels were not hashed, its run and id."""
    return image.digest or f"{store.root.name} {image.id}"
