"""The routing: pure functions of the state that name what is to be done next.

A policy's answer is checked, nothing is tried twice, and the budget holds, whatever the policy.
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
    """The first drawings, as many as the budget reaches for."""
    context = context_of(runtime)
    if isinstance(context.policy, Advised):
        chat_of(context.policy, context)  # before anything is drawn, since it may be missing
    diffusion = await ready(context.diffusion)
    cost = diffusion.evaluations_per_drawing if isinstance(diffusion, KnowsItsCost) else None
    drawings = first_attempts(list_of(Attempt, context.policy, "plan", state["concepts"]), state, context.budget, cost)
    return [Send("generate", ImageWork(attempt=attempt, source=None, decision=None)) for attempt in drawings]


def first_attempts(
    wanted: Sequence[Attempt], state: RunState, budget: Budget, evaluations: int | None
) -> list[Attempt]:
    """The first drawings of a plan, as many as the budget reaches for, where one costs so many evaluations, if that is
    known; the first one without a seed of its own has the run's."""
    if not wanted:
        raise PolicyError("the policy plans no first drawing; it needs at least one")
    bounds = [len(wanted), budget.images, budget.critic_calls]
    if evaluations and budget.evaluations is not None:
        bounds.append(budget.evaluations // evaluations)
    reached = min(bound for bound in bounds if bound is not None)
    if not reached:
        raise SettingsError(
            f"the budget of {budget.evaluations} evaluations does not reach for one drawing, which takes {evaluations}"
        )
    concepts, seed = state["concepts"], state["seed"]
    made: list[Attempt] = []
    for index, attempt in enumerate(wanted[:reached]):
        id = image_id(0, index)
        own = (seed if index == 0 else derive_seed(seed, id)) if attempt.seed is None else attempt.seed
        words = attempt.prompt or concepts.drawn_from or concepts.prompt
        made.append(attempt.model_copy(update={"id": id, "prompt": words, "seed": own}))
    return made


def judge(state: RunState, runtime: Runtime[Context]) -> list[Send]:
    """Every decision with the work that it asks for, or nothing but stops, to ``finish``. A person's ruling on the
    round stands in for the policy."""
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
    """What the policy decides, checked and within the budget; needs no model, so any record can be judged again.

    Nothing is decided on silence: an image about which the critic was not heard is stopped, and no policy sees it.
    ``PolicyError`` if the policy's answer cannot be carried out.
    """
    stops = [
        stop(image, "not_heard", f"no usable answer came: {population.critiques[image.id].silence}")
        for image in population.unheard()
    ]
    heard = population.heard()
    answer = list_of(Decision, policy, "judge", heard) if heard.pending() else ()
    return allowed([*answer, *stops] if stops else answer, population)


def allowed(answer: Sequence[Decision], population: Population) -> list[Decision]:
    """A policy's decisions, checked, without what was tried before, as far as the budget reaches."""
    return within_budget(without_repeats(checked(answer, population), population), population)


def checked(answer: Sequence[Decision], population: Population) -> list[Decision]:
    """The policy's decisions as they are, one for each pending image, if they can be carried out."""
    for decision in answer:  # a copy with changes may hold what a decision has no place for
        if unknown_fields := sorted(vars(decision).keys() - Decision.model_fields.keys()):
            raise PolicyError(
                f"a decision has no {', '.join(unknown_fields)}: set it on its attempts, or by refine(...)"
            )
    pending = [image.id for image in population.pending()]
    counts = Counter(d.image for d in answer)
    attempts = [(d.image, a) for d in answer for a in d.attempts if a.source is not None]
    unknown = [a.source or "" for _, a in attempts if a.source not in population.images]
    for complaint, images in {
        "decided more than once about": [id for id, n in counts.items() if n > 1],
        "decided about images that are not pending:": [id for id in counts if id not in pending],
        "gave no decision for": [id for id in pending if id not in counts],
        "wants to refine from images that do not exist:": unknown,
        "wants another look at images of which only a preview is there:": [
            a.source or ""
            for _, a in attempts
            if a.operator == "look" and a.source in population.images and population.images[a.source].stop_step
        ],
        "wants to start after the last step for": [
            id
            for id, a in attempts
            if a.source in population.images and a.start_step > (a.steps or population.images[a.source or ""].steps)
        ],
    }.items():
        if images:
            raise PolicyError(f"the policy {complaint} {', '.join(images)}")
    return list(answer)


def without_repeats(decisions: Sequence[Decision], population: Population) -> list[Decision]:
    """The same decisions without the attempts that were made before, or are made by an earlier decision of the round:
    the same model would make the same image of them. A decision that nothing is left of becomes a stop."""
    known, kept = identities_made(population), list[Decision]()
    for decision in decisions:
        fresh: list[Attempt] = []
        for attempt, same in zip(decision.attempts, identities_of(decision, population), strict=True):
            if same not in known:
                fresh.append(attempt)
                known.add(same)
        if decision.attempts and not fresh:
            image = population.images[decision.image]
            kept.append(stop(image, "repeated_attempt", f"{decision.rule} asks for what was tried before"))
        else:
            kept.append(decision.model_copy(update={"attempts": tuple(fresh)}))
    return kept


def within_budget(decisions: Sequence[Decision], population: Population) -> list[Decision]:
    """The same decisions as far as the budget reaches: attempts are dropped, or a stop takes their place."""
    spend, kept = population.spend, list[Decision]()
    cost = costs(population)
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
    """What an attempt on behalf of the image of an id will cost, as far as the images so far tell: one image and one
    look at it, or that alone; the denoiser at its rate so far, all else at the mean so far. Edits, which may be those
    of a server, cost as the edits so far; the first one, as a drawing."""
    looks, count = spend_of(None, {}, population.critiques), len(population.critiques)
    edits = {id: image for id, image in population.images.items() if image.operator == "edit"}
    others = {id: image for id, image in population.images.items() if id not in edits} if edits else population.images
    drawn = spend_of(None, others, {})
    edited = spend_of(None, edits, {}) if edits else drawn
    made = sum((image.stop_step or image.steps) - image.start_step for image in others.values())
    rate = drawn.evaluations / made if made else 1.0

    def cost(attempt: Attempt, image: str) -> Spend:
        like, images = image_like(attempt, population, image), int(attempt.operator != "look")
        steps = (attempt.stop_step or attempt.steps or like.steps) - attempt.start_step
        is_edit = bool(edits) and attempt.operator == "edit"
        so_far = edited if is_edit else drawn
        evaluations = edited.evaluations / edited.images if is_edit else rate * max(steps, 0)
        return Spend(
            images=images,
            evaluations=round(evaluations) * images,
            critic_calls=ceil(looks.critic_calls / count),
            tokens=round(looks.tokens / count),
            seconds=looks.seconds / count + images * so_far.seconds / so_far.images,
            money=looks.money / count + images * so_far.money / so_far.images,
        )

    return cost


def sends(decisions: Sequence[Decision], population: Population, plan: Sequence[Attempt]) -> list[Send]:
    """The work that decisions ask for, an image each. An attempt that does not say which steps are kept keeps those of
    the plan's first drawing. A stop among other decisions is not final, so nothing is sent for it."""
    round = population.round + 1
    wanted = [(decision, attempt) for decision in decisions for attempt in decision.attempts]
    found: list[Send] = []
    for index, (decision, attempt) in enumerate(wanted):
        keep = (plan[0].keep_steps or ()) if attempt.keep_steps is None else attempt.keep_steps
        if attempt.operator in ("inject", "edit"):  # a resumed image shares the steps before its start with its source
            keep = tuple(k for k in keep if k >= attempt.start_step)
        image = population.images[decision.image]
        like = population.images.get(attempt.source or "", image)
        given = {
            "id": image_id(round, index),
            "round": round,
            "parent": attempt.source or decision.image,
            "prompt": attempt.prompt or population.concepts.prompt,
            "seed": derive_seed(population.seed, image_id(round, index)) if attempt.seed is None else attempt.seed,
            "keep_steps": keep,
        }
        source = like if attempt.source is not None else None
        work = ImageWork(attempt=attempt.model_copy(update=given), source=source, decision=decision)
        found.append(Send("generate" if source is None else "refine", work))
    return found


def image_id(round: int, index: int) -> str:
    """Id of the image drawn as number ``index`` of its round."""
    return f"{round:02d}-{index:02d}"
