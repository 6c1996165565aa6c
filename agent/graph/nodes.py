"""The nodes of the graph; each returns only what it adds to the state."""

import asyncio
import contextvars
from textwrap import shorten
from typing import Any, TypedDict, cast

from langgraph.runtime import Runtime
from langgraph.types import Overwrite

from ...state import (
    SEED_LIMIT,
    STATE_VERSION,
    Advice,
    Attempt,
    Comparison,
    ConceptGraph,
    Critique,
    Decision,
    ImageRecord,
    Population,
    Ruling,
    RunState,
    Spend,
    pair_name,
)
from ...tools.errors import NoAnswerError, SettingsError
from ...tools.roles import Progress, compares, ready
from ...tools.text import check_prompt
from ..policies.policy import Advised
from . import tasks
from .context import Context, context_of, population_of

_RECORDS = ("images", "critiques", "decisions", "advice", "comparisons", "rulings")
_CLEARED = {"best": "", "stop": ""} | {name: Overwrite({}) for name in _RECORDS}
"""Removes an earlier run of the thread from the state."""
_MOST_COMPARED = 4
"""How many of the highest-ranked images are compared, the earliest."""


class ImageWork(TypedDict):
    """One image to make, sent to ``generate`` or ``refine``."""

    attempt: Attempt
    source: ImageRecord | None
    """The image that the attempt starts from."""
    decision: Decision | None
    """The decision that it belongs to; None for a first drawing."""


class FinishWork(TypedDict):
    """The end of a run, sent to ``finish``."""

    population: Population
    stops: list[Decision]
    """One for each image without a decision."""
    chosen: str | None
    """The best image by a person's choice; None: by its checks."""


class Update(TypedDict, total=False):
    """What a node adds to the channels of ``RunState``."""

    seed: int
    version: int
    concepts: ConceptGraph
    round: int
    images: dict[str, ImageRecord]
    critiques: dict[str, Critique]
    decisions: dict[str, Decision]
    advice: dict[str, Advice]
    comparisons: dict[str, Comparison]
    rulings: dict[str, Ruling]
    best: str
    stop: str


async def decompose(state: RunState, runtime: Runtime[Context]) -> Update:
    """Decompose the prompt, unless the state has its concepts already; a new run of a thread clears the state."""
    context = context_of(runtime)
    check_prompt(state.get("prompt", ""))
    if type(seed := state.get("seed", 0)) is not int or not 0 <= seed < SEED_LIMIT:
        raise SettingsError(f"the seed should be a whole number from 0 to 2**32 - 1, not {shorten(repr(seed), 80)}")
    concepts = cast(object, state.get("concepts"))
    if not isinstance(concepts, ConceptGraph) or concepts.prompt != state["prompt"] or state.get("images"):
        concepts = await tasks.decompose(state["prompt"], context)
    cleared = cast(Update, _CLEARED if state.get("images") else {})
    return {**cleared, "concepts": concepts, "seed": seed, "version": STATE_VERSION}


async def generate(work: ImageWork, runtime: Runtime[Context]) -> Update:
    """Draw one image from pure noise or from its source, or repeat the source for a second opinion."""
    image = await tasks.draw(work["attempt"], work["source"], context_of(runtime), _progress(runtime))
    decision = work["decision"]
    return {"images": {image.id: image}, "decisions": {} if decision is None else {decision.image: decision}}


async def critique(state: RunState, runtime: Runtime[Context]) -> Update:
    """Critique every new image, all at once; then ask the policy's chat model, if it has one."""
    context, earlier = context_of(runtime), state.get("critiques", {})
    if not state.get("images") or not state.get("concepts"):
        raise SettingsError("there are no concepts and images to look at yet: begin with a prompt")
    images = [image for id, image in sorted(state["images"].items()) if id not in earlier]

    async def look(image: ImageRecord) -> Critique:
        made = await tasks.critique(image, state["concepts"], context)
        runtime.stream_writer({"type": "critique", "image": image.id, "critique": made})
        return made

    critiques = await asyncio.gather(*map(look, images))
    new = {image.id: made for image, made in zip(images, critiques, strict=True)}
    round = max(image.round for image in state["images"].values())
    reasons = [made.silence for made in critiques if made.silence]
    if images and len(reasons) == len(images):
        reason, unheard = " ".join(reasons[0].split()), sum(len(made.unheard) for made in critiques)
        raise NoAnswerError(
            f"the critic was not heard about any image of round {round} ({unheard} checks unknown): {reason};"
            " what was drawn is kept, and resume or --retry-failed asks again",
            reason=reason,
            unheard=unheard,
            no_reply=any(exchange.no_reply for made in critiques for exchange in made.exchanges),
        )
    update: Update = {"critiques": new, "round": round}
    if isinstance(context.policy, Advised) and round < context.budget.rounds:
        after: RunState = {**state, "critiques": earlier | new, "round": round}
        population = population_of(after, context.budget).heard()
        if not context.budget.exceeded_by(population.spend + Spend(images=1, critic_calls=1)):
            update["advice"] = {str(round): await tasks.advise(population, context.policy, context)}
    return update


async def finish(work: FinishWork, runtime: Runtime[Context]) -> Update:
    """Choose the best image over all rounds, and name the rule that ended the run."""
    stops, population, best = work["stops"], work["population"], work["chosen"]
    comparisons = dict(population.comparisons)
    if best is None:
        best, comparisons = await _compared(population, context_of(runtime))
    rules = {stop.image: stop.rule for stop in stops or population.decisions.values()}
    spent = next((rule for rule in rules.values() if rule.startswith("budget_")), None)
    return {
        "decisions": {stop.image: stop for stop in stops},
        "comparisons": comparisons,
        "best": best,
        "stop": spent or rules.get(best) or rules[max(rules)],
    }


async def _compared(population: Population, context: Context) -> tuple[str, dict[str, Comparison]]:
    """Id of the best of the earliest leaders, and all comparisons: each with the best so far, within the budget."""
    best, *others = population.leaders()
    critic = await ready(context.critic) if others else None
    for other in others[: _MOST_COMPARED - 1]:
        if not compares(critic) or population.budget.exceeded_by(population.spend + Spend(critic_calls=1)):
            break
        made = await tasks.compare(best, other, population.concepts, critic, context)
        comparisons = {**population.comparisons, pair_name(best, other): made}
        population = population.model_copy(update={"comparisons": comparisons})
        best = other if made.better == other.id else best
    return best.id, population.comparisons


def _progress(runtime: Runtime[Context]) -> Progress:
    """A callback, for any thread, that streams denoising steps as ``custom`` parts."""
    loop, write, called_in = asyncio.get_running_loop(), runtime.stream_writer, contextvars.copy_context()

    def progress(image: str, done: int, steps: int) -> None:
        part: dict[str, Any] = {"type": "denoising", "image": image, "done": done, "steps": steps}
        loop.call_soon_threadsafe(write, part, context=called_in)

    return progress
