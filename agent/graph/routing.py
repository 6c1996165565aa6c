"""The routing: pure functions of the state that name what is to be done next."""

from collections.abc import Sequence

from langgraph.runtime import Runtime
from langgraph.types import Send

from ...state import ConceptGraph, Decision, Plan, Population, RunState, derive_seed
from ...tools.roles import GenerateRequest, KnowsItsCost, RedenoiseRequest
from ..policies.policy import Advised, FunctionPolicy, Policy, PolicyError
from .asking import asker_of
from .context import Context, population_of
from .guard import checked, first_drawings, within_budget, without_repeats
from .messages import FinishWork, GenerateWork, RefineWork
from .nodes import context_of


def plan(state: RunState, runtime: Runtime[Context]) -> list[Send]:
    """The first drawings; unless the plan fixes seeds, the first of them from the run's own."""
    context = context_of(runtime)
    if isinstance(context.policy, Advised):
        asker_of(context.policy, context)  # before anything is drawn, since it may be missing
    wanted = context.policy.plan(state["concepts"])
    cost = context.diffusion.evaluations_per_drawing if isinstance(context.diffusion, KnowsItsCost) else None
    drawings = first_drawings(wanted.images, context.budget, cost)
    return [_generate(request) for request in first_requests(wanted, state["concepts"], state["seed"], drawings)]


def first_requests(wanted: Plan, concepts: ConceptGraph, seed: int, drawings: int) -> list[GenerateRequest]:
    """So many first drawings of a plan, in a run of that seed."""
    return [
        GenerateRequest(
            id=image_id(0, index),
            round=0,
            prompt=concepts.drawn_from or concepts.prompt,
            seed=first_seed(wanted, seed, index),
            keep_steps=wanted.keep_steps,
            stop_step=wanted.stop_step,
        )
        for index in range(drawings)
    ]


def first_seed(wanted: Plan, seed: int, index: int) -> int:
    """Seed of first drawing ``index``: the plan's own, else the run's ``seed`` or one that follows from it."""
    if wanted.seeds is not None:
        return wanted.seeds[index]
    return seed if index == 0 else derive_seed(seed, image_id(0, index))


def judge(state: RunState, runtime: Runtime[Context]) -> list[Send]:
    """Every decision as one ``Send``; when none is left but stops, they all go to ``finish``."""
    context = context_of(runtime)
    population = population_of(state, context)
    decisions = decide(population, deciding(state, context.policy))
    work = [decision for decision in decisions if decision.action != "stop"]
    if not work:
        return [Send("finish", FinishWork(population=population, stops=decisions))]
    return sends(work, population, context.policy.plan(population.concepts).keep_steps)


def deciding(state: RunState, policy: Policy) -> Policy:
    """Who decides about this round: a person who was asked, or else the policy."""
    ruling = state.get("rulings", {}).get(str(state["round"]))
    return policy if ruling is None else FunctionPolicy(lambda population: ruling.decisions)


def decide(population: Population, policy: Policy) -> list[Decision]:
    """What the policy decides, once checked and within the budget; needs no model, so any record can be judged again.

    Raises:
        PolicyError: the policy's answer cannot be carried out.
    """
    answer = checked(policy.judge(population), population)
    return within_budget(without_repeats(answer, population), population)


def image_id(round: int, index: int) -> str:
    """Id of the image drawn as number ``index`` of its round."""
    return f"{round:02d}-{index:02d}"


def sends(work: Sequence[Decision], population: Population, keep_steps: tuple[int, ...]) -> list[Send]:
    """The work that these decisions ask for, each branch an image of its own; all carry their decision."""
    branches = [(decision, start) for decision in work for start in decision.starts or (0,)]
    return [_send(*branch, index, population, keep_steps) for index, branch in enumerate(branches)]


def _send(decision: Decision, start: int, index: int, population: Population, keep_steps: tuple[int, ...]) -> Send:
    round = population.round + 1
    id = image_id(round, index)
    match decision:
        case Decision(action="reseed", prompt=str(prompt), seed=int(seed)):
            return _generate(
                GenerateRequest(id, round, prompt, seed, decision.image, keep_steps, decision.stop_step), decision
            )
        case Decision(
            action="refine",
            source=str(source),
            operator="inject" | "resume" as operator,
            prompt=str(prompt),
            seed=int(seed),
        ):
            # A resumed image shares the steps before its start with its source.
            wanted = keep_steps if operator == "resume" else tuple(k for k in keep_steps if k >= start)
            request = RedenoiseRequest(
                id, round, prompt, population.images[source], operator, start, seed, wanted, decision.stop_step
            )
            return Send("refine", RefineWork(request=request, decision=decision))
        case _:
            raise PolicyError(f"a {decision.action} of {decision.image} asks for no work")


def _generate(request: GenerateRequest, decision: Decision | None = None) -> Send:
    return Send("generate", GenerateWork(request=request, decision=decision))
