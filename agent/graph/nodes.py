"""The work of the graph: each node is handed its input and returns only what it adds to the state."""

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

_BEFORE = {name: Overwrite({}) for name in ("images", "critiques", "decisions", "advice", "comparisons", "rulings")} | {
    "best": "",
    "stop": "",
}
"""Takes the place of what an earlier run of the thread left in the state."""
MOST_COMPARED = 4
"""Images of those that lead together that are compared, the earliest."""


class ImageWork(TypedDict):
    """One image to make, sent to ``generate`` or ``refine``."""

    attempt: Attempt
    source: ImageRecord | None
    """The image that the attempt starts from."""
    decision: Decision | None
    """The decision that asked for it; None for a first drawing."""


class FinishWork(TypedDict):
    """The end of a run, sent to ``finish``."""

    population: Population
    stops: list[Decision]
    """One for each image that had no decision yet."""
    chosen: str | None
    """The best image by a person's choice; None: by its checks."""


class Update(TypedDict, total=False):
    """What a node adds to the state: some channels of ``RunState``, with what is new in each."""

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
    """Read the prompt, unless it was read and the outcome edited; a thread's earlier run stays in its history alone."""
    context = context_of(runtime)
    check_prompt(state.get("prompt", ""))
    if type(seed := state.get("seed", 0)) is not int or not 0 <= seed < SEED_LIMIT:
        raise SettingsError(f"the seed should be a whole number from 0 to 2**32 - 1, not {shorten(repr(seed), 80)}")
    concepts = cast(object, state.get("concepts"))
    if not isinstance(concepts, ConceptGraph) or concepts.prompt != state["prompt"] or state.get("images"):
        concepts = await tasks.decompose(state["prompt"], context)
    before = cast(Update, _BEFORE if state.get("images") else {})
    return {**before, "concepts": concepts, "seed": seed, "version": STATE_VERSION}


async def generate(work: ImageWork, runtime: Runtime[Context]) -> Update:
    """Draw one image from pure noise or from its source, or hand that on for a second opinion."""
    image = await tasks.draw(work["attempt"], work["source"], context_of(runtime), _progress(runtime))
    decision = work["decision"]
    return {"images": {image.id: image}, "decisions": {} if decision is None else {decision.image: decision}}


async def critique(state: RunState, runtime: Runtime[Context]) -> Update:
    """Look at every image that was not looked at, all at once; then ask the policy's chat model, if it has one."""
    context, known = context_of(runtime), state.get("critiques", {})
    if not state.get("images") or not state.get("concepts"):
        raise SettingsError("there are no concepts and images to look at yet: begin with a prompt")
    images = [image for id, image in sorted(state["images"].items()) if id not in known]

    async def look(image: ImageRecord) -> Critique:
        found = await tasks.critique(image, state["concepts"], context)
        runtime.stream_writer({"type": "critique", "image": image.id, "critique": found})
        return found

    critiques = await asyncio.gather(*map(look, images))
    new = {image.id: found for image, found in zip(images, critiques, strict=True)}
    round = max(image.round for image in state["images"].values())
    reasons = [found.silence for found in critiques if found.silence]
    if images and len(reasons) == len(images):
        reason, unheard = " ".join(reasons[0].split()), sum(len(found.unheard) for found in critiques)
        raise NoAnswerError(
            f"the critic was not heard about any image of round {round} ({unheard} checks unknown): {reason};"
            " what was drawn is kept, and resume or --retry-failed asks again",
            reason=reason,
            unheard=unheard,
            no_reply=any(exchange.no_reply for found in critiques for exchange in found.exchanges),
        )
    made: Update = {"critiques": new, "round": round}
    if not isinstance(context.policy, Advised):
        return made
    everything: RunState = {**state, "critiques": known | new, "round": round}
    population = population_of(everything, context.budget).heard()
    one_more = population.spend + Spend(images=1, critic_calls=1)
    if population.round < context.budget.rounds and not context.budget.exceeded_by(one_more):
        made["advice"] = {str(round): await tasks.advise(population, context.policy, context)}
    return made


async def finish(work: FinishWork, runtime: Runtime[Context]) -> Update:
    """Keep the best image over all rounds, equals compared, and the reason why work ended."""
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
    """Id of the best of the first leaders, each compared with the winner so far as the budget reaches, and all
    comparisons."""
    best, *others = population.leaders()
    critic = await ready(context.critic) if others else None
    for other in others[: MOST_COMPARED - 1]:
        if not compares(critic) or population.budget.exceeded_by(population.spend + Spend(critic_calls=1)):
            break
        made = await tasks.compare(best, other, population.concepts, critic, context)
        known = {**population.comparisons, pair_name(best, other): made}
        population = population.model_copy(update={"comparisons": known})
        best = other if made.better == other.id else best
    return best.id, population.comparisons


def _progress(runtime: Runtime[Context]) -> Progress:
    """Denoising steps as ``custom`` stream parts; the callback may be called from any thread."""
    loop, write, called_in = asyncio.get_running_loop(), runtime.stream_writer, contextvars.copy_context()

    def progress(image: str, done: int, steps: int) -> None:
        part: dict[str, Any] = {"type": "denoising", "image": image, "done": done, "steps": steps}
        loop.call_soon_threadsafe(write, part, context=called_in)

    return progress
