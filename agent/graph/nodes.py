"""The work of the graph: each node is handed its input and returns only what it adds to the state."""

import asyncio
import contextvars
from typing import Any, cast

from langgraph.runtime import Runtime

from ...state import STATE_VERSION, Decision, Population, RunInput, RunState
from ...tools.errors import SettingsError
from ...tools.roles import Progress
from .asked_once import draw, look, redenoise
from .asking import advice_for, with_comparisons
from .context import Context
from .messages import Criticized, Decomposed, Drawn, Finished, FinishWork, GenerateWork, RefineWork


async def decompose(state: RunInput, runtime: Runtime[Context]) -> Decomposed:
    """Read the prompt."""
    concepts = await context_of(runtime).decomposer.decompose(state["prompt"])
    return {"concepts": concepts, "seed": state.get("seed", 0), "version": STATE_VERSION}


async def generate(state: GenerateWork, runtime: Runtime[Context]) -> Drawn:
    """Draw one image from pure noise."""
    context, decision = context_of(runtime), state["decision"]
    image = await draw(state["request"], context, progress_of(runtime))
    return {"images": {image.id: image}, "decisions": {} if decision is None else {decision.image: decision}}


async def refine(state: RefineWork, runtime: Runtime[Context]) -> Drawn:
    """Re-denoise one image."""
    context, decision = context_of(runtime), state["decision"]
    image = await redenoise(state["request"], context, progress_of(runtime))
    return {"images": {image.id: image}, "decisions": {decision.image: decision}}


async def critique(state: RunState, runtime: Runtime[Context]) -> Criticized:
    """Look at every image that has not been looked at, all at once; then have the policy's adviser asked, if any."""
    context, seen = context_of(runtime), state.get("critiques", {})
    images = [image for id, image in sorted(state["images"].items()) if id not in seen]
    critiques = await asyncio.gather(*(look(image, state["concepts"], context) for image in images))
    made: Criticized = {
        "critiques": {image.id: found for image, found in zip(images, critiques, strict=True)},
        "round": max(image.round for image in state["images"].values()),
    }
    everything: RunState = {**state, "critiques": seen | made["critiques"], "round": made["round"]}
    advice = await advice_for(everything, context)
    return made if advice is None else {**made, "advice": {str(made["round"]): advice}}


async def finish(state: FinishWork, runtime: Runtime[Context]) -> Finished:
    """Keep the best image over all rounds, equals compared, and the reason why work ended."""
    stops = state["stops"]
    population = await with_comparisons(state["population"], context_of(runtime))
    return {
        "decisions": {stop.image: stop for stop in stops},
        "comparisons": population.comparisons,
        "best": population.best().id,
        "stop": ending(population, stops),
    }


def ending(population: Population, stops: list[Decision]) -> str:
    """Rule that stopped the best image; where it was worked on further, the one that stopped the last image."""
    rules = {stop.image: stop.rule for stop in stops}
    return rules.get(population.best().id) or rules[max(rules)]


def context_of(runtime: Runtime[Context]) -> Context:
    """What the caller chose; ``SettingsError`` if the graph was invoked without it."""
    context = cast("Context | None", runtime.context)
    if context is None:
        raise SettingsError("the graph needs its roles: graph.ainvoke(..., context=Context(...))")
    return context


def progress_of(runtime: Runtime[Context]) -> Progress:
    """Denoising steps as ``custom`` stream parts; the callback may be called from any thread."""
    loop, write, called_in = asyncio.get_running_loop(), runtime.stream_writer, contextvars.copy_context()

    def progress(image: str, done: int, steps: int) -> None:
        part: dict[str, Any] = {"type": "denoising", "image": image, "done": done, "steps": steps}
        loop.call_soon_threadsafe(write, part, context=called_in)

    return progress
