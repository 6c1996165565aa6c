"""The routing: pure functions of the state that name what is to be done next."""

from langgraph.runtime import Runtime
from langgraph.types import Send

from ..state import Decision, Population, RunState, derive_seed
from ..tools.roles import GenerateRequest, RedenoiseRequest
from .context import Context
from .guard import checked, first_drawings, within_budget
from .messages import FinishWork, GenerateWork, RefineWork
from .nodes import context_of
from .policies.policy import Policy, PolicyError


def plan(state: RunState, runtime: Runtime[Context]) -> list[Send]:
    """The first drawings, the first of them from the run's own seed."""
    context = context_of(runtime)
    wanted = context.policy.plan(state["concepts"])
    return [
        _generate(
            GenerateRequest(
                id=image_id(0, index),
                round=0,
                prompt=state["prompt"],
                seed=state["seed"] if index == 0 else derive_seed(state["seed"], image_id(0, index)),
                keep_steps=wanted.keep_steps,
            )
        )
        for index in range(first_drawings(wanted.images, context.budget))
    ]


def judge(state: RunState, runtime: Runtime[Context]) -> list[Send]:
    """Every decision as one ``Send``; when none is left but stops, they all go to ``finish``."""
    context = context_of(runtime)
    population = population_of(state, context)
    decisions = decide(population, context.policy)
    work = [decision for decision in decisions if decision.action != "stop"]
    if not work:
        return [Send("finish", FinishWork(population=population, stops=decisions))]
    keep_steps = context.policy.plan(population.concepts).keep_steps
    return [send(decision, index, population, keep_steps) for index, decision in enumerate(work)]


def decide(population: Population, policy: Policy) -> list[Decision]:
    """What the policy decides, once checked and within the budget; needs no model, so any record can be judged again.

    Raises:
        PolicyError: the policy's answer cannot be carried out.
    """
    return within_budget(checked(policy.judge(population), population), population)


def population_of(state: RunState, context: Context) -> Population:
    """The part of the state that policies see."""
    return Population(
        concepts=state["concepts"],
        images=state["images"],
        critiques=state["critiques"],
        decisions=state.get("decisions", {}),
        budget=context.budget,
        seed=state["seed"],
        round=state["round"],
    )


def image_id(round: int, index: int) -> str:
    """Id of the image drawn as number ``index`` of its round."""
    return f"{round:02d}-{index:02d}"


def send(decision: Decision, index: int, population: Population, keep_steps: tuple[int, ...]) -> Send:
    """The work that a refine or reseed decision asks for."""
    round = population.round + 1
    id = image_id(round, index)
    match decision:
        case Decision(action="reseed", prompt=str(prompt), seed=int(seed)):
            return _generate(GenerateRequest(id, round, prompt, seed, decision.image, keep_steps), decision)
        case Decision(
            action="refine",
            source=str(source),
            operator="inject" | "resume" as operator,
            start_step=int(start_step),
            prompt=str(prompt),
            seed=int(seed),
        ):
            later = tuple(k for k in keep_steps if k >= start_step)
            origin = population.images[source]
            request = RedenoiseRequest(id, round, prompt, origin, operator, start_step, seed, later)
            return Send("refine", RefineWork(request=request, decision=decision))
        case _:
            raise PolicyError(f"a {decision.action} of {decision.image} asks for no work")


def _generate(request: GenerateRequest, decision: Decision | None = None) -> Send:
    return Send("generate", GenerateWork(request=request, decision=decision))
