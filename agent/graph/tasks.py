"""The calls of roles inside nodes, each a LangGraph task whose result is saved as soon as it returns.

The checkpointer saves a result with its superstep, and the context's cache under a hash of everything that it depends
on. So a killed run repeats only what was in flight, and runs with one cache share their results.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar, cast

from langgraph.config import get_config
from langgraph.func import task

from ...state import Advice, Attempt, Comparison, ConceptGraph, Critique, ImageRecord, Population
from ...tools.errors import ModelError
from ...tools.files import Store, content_hash, copy_file
from ...tools.roles import Comparer, Progress, answered, model_name, ready
from ..policies.policy import Advised
from .context import Context, chat_of

R = TypeVar("R")
Name = Literal["decompose", "draw", "critique", "compare", "advise"]
"""The call of a role; the name of its task in LangGraph's stream."""


async def _once(
    name: Name, context: Context, parts: Callable[[], tuple[object, ...]], work: Callable[[], Awaitable[R]]
) -> R:
    """The result of ``work``, which is saved, and cached under a hash of ``parts``. Runs without a thread id cannot be
    resumed, and skip the overhead of a task."""
    cache = context.cache

    async def cached() -> R:
        return await (work() if cache is None else cache.once(content_hash(name, *parts()), work))

    if "thread_id" not in get_config().get("configurable", {}):
        return await cached()
    return await cast(Any, task)(name=name)(cached)()


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
    """The image of an attempt; a cached one whose files are missing is drawn again."""
    if attempt.operator == "look" and source is not None:
        return source.again(attempt)
    diffusion, store, shared = await ready(context.diffusion), context.store, context.shared
    folder = "" if shared is None else store.root.relative_to(shared).as_posix()
    within, is_new = _place(context), False

    def parts() -> tuple[object, ...]:
        asked = attempt.model_dump(mode="json", exclude={"id", "round", "parent", "source"})
        return model_name(diffusion), asked, source and _content(source, store)

    async def carry_out() -> tuple[ImageRecord, str]:
        """The image, and the folder of its run relative to ``shared``, or empty."""
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
    if origin != folder and not record.seeded:  # without seeds, each run draws its own
        record, origin = await _once("draw", context, lambda: (*parts(), folder, attempt.id), carry_out)
    if is_new:
        return record
    root = store if shared is None else Store(Store(shared).path(origin))
    return await asyncio.to_thread(_adopted, record, root, attempt, store) or (await carry_out())[0]


def _place(context: Context) -> str:
    """The folder in the store for the files of this node's drawing; empty if the run owns the store. Image ids are not
    unique across threads, repeated loops and forks; LangGraph's checkpoint namespace is, also after a kill."""
    return "" if context.owns_store else content_hash(get_config().get("configurable", {}).get("checkpoint_ns"))[:12]


def _adopted(record: ImageRecord, origin: Store, attempt: Attempt, store: Store) -> ImageRecord | None:
    """A cached image of the run in ``origin`` as the image of an attempt; None if its files are missing or changed."""
    if not all(origin.path(file).is_file() for file in record.files):
        return None
    from PIL import Image

    from ...tools.diffusion.job import pixel_digest, png_bytes

    with Image.open(origin.path(record.path)) as picture:
        if record.digest and pixel_digest(picture) != record.digest:  # a restarted run has overwritten it
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
    """Carries a critique past cache and checkpointer, which save no errors, so that its checks are asked again."""

    def __init__(self, critique: Critique) -> None:
        super().__init__("no usable answer came")
        self.critique = critique


async def critique(image: ImageRecord, concepts: ConceptGraph, context: Context) -> Critique:
    """The critique of an image, which is saved only if every check has a usable answer."""
    critic = await ready(context.critic)

    async def look() -> Critique:
        made = await answered(critic.critique(image, concepts, context.store), Critique, critic, "critique")
        if (checks := [v.check for v in made.verdicts]) != (asked := [check.id for check in concepts.checks]):
            raise ModelError(
                f"{type(critic).__name__}.critique answered the checks {', '.join(checks)}; expected were"
                f" {', '.join(asked)}, in this order"
            )
        if made.unheard:
            raise _NotHeard(made)
        return made

    try:
        made = await _once("critique", context, lambda: about(image, concepts, critic, context.store), look)
    except _NotHeard as error:
        made = error.critique
    return made if made.image == image.id else made.model_copy(update={"image": image.id})


async def compare(
    first: ImageRecord, second: ImageRecord, concepts: ConceptGraph, critic: Comparer, context: Context
) -> Comparison:
    """Which of two images is better."""
    store = context.store
    return await _once(
        "compare",
        context,
        lambda: (about(first, concepts, critic, store), about(second, concepts, critic, store)),
        lambda: answered(critic.compare(first, second, concepts, store), Comparison, critic, "compare"),
    )


async def advise(population: Population, policy: Advised, context: Context) -> Advice:
    """The choices of the policy's chat model for the pending images."""
    chat = chat_of(policy, context)
    return await _once(
        "advise",
        context,
        lambda: (model_name(chat), repr(policy), population.model_dump_json()),
        lambda: answered(policy.advise(population, chat), Advice, policy, "advise"),
    )


def about(image: ImageRecord, concepts: ConceptGraph, critic: object, store: Store) -> tuple[object, ...]:
    """Everything that a critique depends on; a simulated critic draws random numbers from id, seed and prompt."""
    checklist = concepts.model_dump_json(exclude={"exchanges"})
    return model_name(critic), checklist, image.id, image.seed, image.prompt, _content(image, store)


def _content(image: ImageRecord, store: Store) -> str:
    """A hash of a picture's content or, if it has none, its run and id."""
    return image.digest or f"{store.root.name} {image.id}"
