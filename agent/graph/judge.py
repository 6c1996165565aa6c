"""The routing: pure functions of the state that return the next work.

Whatever the policy, its decisions are checked, nothing is tried twice, and the budget holds.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from math import ceil

from langgraph.runtime import Runtime
from langgraph.types import Send

from ...state import Attempt, Budget, Decision, Population, RunState, Spend, derive_seed, spend_of
from ...tools.errors import SettingsError
from ...tools.roles import KnowsItsCost, ready
from ..policies.lineage import identities_made, identities_of, image_like
from ..policies.policy import Advised, Policy, PolicyError, list_of, stop
from .context import Context, chat_of, context_of, population_of
from .nodes import FinishWork, ImageWork


async def plan(state: RunState, runtime: Runtime[Context]) -> list[Send]:
    """The first drawings, as many as the budget allows."""
    context = context_of(runtime)
    if isinstance(context.policy, Advised):
        chat_of(context.policy, context)  # raises before anything is drawn if there is none
    diffusion = await ready(context.diffusion)
    cost = diffusion.evaluations_per_drawing if isinstance(diffusion, KnowsItsCost) else None
    drawings = first_attempts(list_of(Attempt, context.policy, "plan", state["concepts"]), state, context.budget, cost)
    return [Send("generate", ImageWork(attempt=attempt, source=None, decision=None)) for attempt in drawings]


def first_attempts(
    wanted: Sequence[Attempt], state: RunState, budget: Budget, evaluations: int | None
) -> list[Attempt]:
    """The first drawings of a plan, as many as the budget allows if one costs so many ``evaluations``, where that is
    known. The first one has the run's seed by default."""
    if not wanted:
        raise PolicyError("the policy plans no first drawing; it needs at least one")
    bounds = [len(wanted), budget.images, budget.critic_calls]
    if evaluations and budget.evaluations is not None:
        bounds.append(budget.evaluations // evaluations)
    allowed = min(bound for bound in bounds if bound is not None)
    if not allowed:
        raise SettingsError(
            f"the budget of {budget.evaluations} evaluations does not reach for one drawing, which takes {evaluations}"
        )
    concepts, seed = state["concepts"], state["seed"]
    attempts: list[Attempt] = []
    for index, attempt in enumerate(wanted[:allowed]):
        id = image_id(0, index)
        own = (seed if index == 0 else derive_seed(seed, id)) if attempt.seed is None else attempt.seed
        prompt = attempt.prompt or concepts.drawn_from or concepts.prompt
        attempts.append(attempt.model_copy(update={"id": id, "prompt": prompt, "seed": own}))
    return attempts


def judge(state: RunState, runtime: Runtime[Context]) -> list[Send]:
    """The work that the decisions ask for or, if all of them stop, ``finish``. A person's ruling on the round replaces
    the policy."""
    context = context_of(runtime)
    population = population_of(state, context.budget)
    ruling = state.get("rulings", {}).get(str(state["round"]))
    decisions = decide(population, context.policy) if ruling is None else allowed(ruling.decisions, population)
    for decision in decisions:
        runtime.stream_writer({"type": "decision", "image": decision.image, "decision": decision})
    if all(decision.action == "stop" for decision in decisions):
        chosen = None if ruling is None else ruling.chosen
        if chosen is not None and chosen not in population.images:
            raise PolicyError(f"the ruling ends the run with {chosen!r}, which is no image of it")
        return [Send("finish", FinishWork(population=population, stops=decisions, chosen=chosen))]
    return sends(decisions, population, context.policy.plan(population.concepts))


def decide(population: Population, policy: Policy) -> list[Decision]:
    """The policy's decisions, checked and within the budget; needs no model, so any record can be judged again.

    Images for which the critic gave no usable answer are stopped, and no policy sees them. ``PolicyError`` if the
    decisions cannot be carried out.
    """
    stops = [
        stop(image, "not_heard", f"no usable answer came: {population.critiques[image.id].silence}")
        for image in population.unheard()
    ]
    heard = population.heard()
    answer = list_of(Decision, policy, "judge", heard) if heard.pending() else ()
    return allowed([*answer, *stops] if stops else answer, population)


def allowed(answer: Sequence[Decision], population: Population) -> list[Decision]:
    """The decisions, checked, without repeats and within the budget."""
    return within_budget(without_repeats(checked(answer, population), population), population)


def checked(answer: Sequence[Decision], population: Population) -> list[Decision]:
    """The decisions, if there is one for each pending image and all can be carried out; else ``PolicyError``."""
    for decision in answer:  # ``model_copy(update=...)`` takes unknown fields
        if unknown_fields := sorted(vars(decision).keys() - Decision.model_fields.keys()):
            raise PolicyError(
                f"a decision has no {', '.join(unknown_fields)}: set it on its attempts, or by refine(...)"
            )
    pending = [image.id for image in population.pending()]
    counts, images = Counter(d.image for d in answer), population.images
    refinements = [(d.image, a) for d in answer for a in d.attempts if a.source is not None]
    known = [(image, a, images[a.source]) for image, a in refinements if a.source in images]
    for complaint, ids in {
        "decided more than once about": [id for id, n in counts.items() if n > 1],
        "decided about images that are not pending:": [id for id in counts if id not in pending],
        "gave no decision for": [id for id in pending if id not in counts],
        "wants to refine from images that do not exist:": [
            a.source or "" for _, a in refinements if a.source not in images
        ],
        "wants another look at images of which only a preview is there:": [
            source.id for _, a, source in known if a.operator == "look" and source.stop_step
        ],
        "wants to start after the last step for": [
            image for image, a, source in known if a.start_step > (a.steps or source.steps)
        ],
    }.items():
        if ids:
            raise PolicyError(f"the policy {complaint} {', '.join(ids)}")
    return list(answer)


def without_repeats(decisions: Sequence[Decision], population: Population) -> list[Decision]:
    """The decisions without attempts that were made before, or by an earlier decision of the round, since these would
    give the same images. A decision without any other becomes a stop."""
    tried, kept = identities_made(population), list[Decision]()
    for decision in decisions:
        new: list[Attempt] = []
        for attempt, identity in zip(decision.attempts, identities_of(decision, population), strict=True):
            if identity not in tried:
                new.append(attempt)
                tried.add(identity)
        if decision.attempts and not new:
            image = population.images[decision.image]
            kept.append(stop(image, "repeated_attempt", f"{decision.rule} asks for what was tried before"))
        else:
            kept.append(decision.model_copy(update={"attempts": tuple(new)}))
    return kept


def within_budget(decisions: Sequence[Decision], population: Population) -> list[Decision]:
    """The decisions without attempts beyond the budget; a decision without any other becomes a stop."""
    spend, kept, cost = population.spend, list[Decision](), costs(population)
    for decision in decisions:
        fitting, bound = list[Attempt](), None
        for attempt in decision.attempts:
            after = spend + cost(attempt, decision.image)
            bound = "rounds" if population.round >= population.budget.rounds else population.budget.exceeded_by(after)
            if bound is not None:
                break
            spend = after
            fitting.append(attempt)
        if bound is None or fitting:
            kept.append(decision.model_copy(update={"attempts": tuple(fitting)}))
        else:
            image = population.images[decision.image]
            kept.append(stop(image, f"budget_{bound}", f"the budget of {bound} leaves no room for: {decision.rule}"))
    return kept


def costs(population: Population) -> Callable[[Attempt, str], Spend]:
    """The estimated cost of an attempt for the image of an id: an image unless it is a look, and a critique. It assumes
    the evaluations per step so far, and the mean of all else. Edits, which a server may make, cost the mean of the
    edits so far; the first one costs as much as a drawing."""
    critiques, count = spend_of(None, {}, population.critiques), len(population.critiques)
    edits = {id: image for id, image in population.images.items() if image.operator == "edit"}
    others = {id: image for id, image in population.images.items() if id not in edits} if edits else population.images
    drawn = spend_of(None, others, {})
    edited = spend_of(None, edits, {}) if edits else drawn
    steps_run = sum((image.stop_step or image.steps) - image.start_step for image in others.values())
    rate = drawn.evaluations / steps_run if steps_run else 1.0

    def cost(attempt: Attempt, image: str) -> Spend:
        like, images = image_like(attempt, population, image), int(attempt.operator != "look")
        steps = (attempt.stop_step or attempt.steps or like.steps) - attempt.start_step
        is_edit = bool(edits) and attempt.operator == "edit"
        so_far = edited if is_edit else drawn
        evaluations = edited.evaluations / edited.images if is_edit else rate * max(steps, 0)
        return Spend(
            images=images,
            evaluations=round(evaluations) * images,
            critic_calls=ceil(critiques.critic_calls / count),
            tokens=round(critiques.tokens / count),
            seconds=critiques.seconds / count + images * so_far.seconds / so_far.images,
            money=critiques.money / count + images * so_far.money / so_far.images,
        )

    return cost


def sends(decisions: Sequence[Decision], population: Population, plan: Sequence[Attempt]) -> list[Send]:
    """One ``Send`` for each attempt, which by default keeps the steps that the plan's first drawing keeps. A stop among
    other decisions is not final, so nothing is sent for it."""
    round, sent = population.round + 1, list[Send]()
    wanted = [(decision, attempt) for decision in decisions for attempt in decision.attempts]
    for index, (decision, attempt) in enumerate(wanted):
        keep = (plan[0].keep_steps or ()) if attempt.keep_steps is None else attempt.keep_steps
        if attempt.operator in ("inject", "edit"):  # a resumed image shares the steps before its start with its source
            keep = tuple(k for k in keep if k >= attempt.start_step)
        id = image_id(round, index)
        fields = {
            "id": id,
            "round": round,
            "parent": attempt.source or decision.image,
            "prompt": attempt.prompt or population.concepts.prompt,
            "seed": derive_seed(population.seed, id) if attempt.seed is None else attempt.seed,
            "keep_steps": keep,
        }
        source = None if attempt.source is None else population.images[attempt.source]
        work = ImageWork(attempt=attempt.model_copy(update=fields), source=source, decision=decision)
        sent.append(Send("generate" if source is None else "refine", work))
    return sent


def image_id(round: int, index: int) -> str:
    """Id of image number ``index`` of its round."""
    return f"{round:02d}-{index:02d}"
