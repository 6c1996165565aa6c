"""What stands between a policy and the graph: its answers are checked, nothing is tried twice, and the budget holds."""

from collections import Counter
from collections.abc import Collection, Sequence
from math import ceil

from ...state import Budget, Decision, ImageRecord, Population, Spend, spend_of
from ...tools.errors import SettingsError
from ..policies.attempts import Attempt, attempts_in, attempts_made
from ..policies.moves import stop
from ..policies.policy import PolicyError


def checked(answer: Sequence[Decision], population: Population) -> list[Decision]:
    """The policy's decisions as they are, one for each pending image.

    Raises:
        PolicyError: a decision is missing, double, or about an image that does not wait for one.
    """
    strangers = [d for d in answer if not isinstance(d, Decision)]  # pyright: ignore[reportUnnecessaryIsInstance]
    if strangers:
        raise PolicyError(f"the policy returned {strangers[0]!r} where a Decision was expected")
    pending = [image.id for image in population.pending()]
    counts = Counter(d.image for d in answer)
    _refuse("decided more than once about", [id for id, n in counts.items() if n > 1])
    _refuse("decided about images that are not pending:", [id for id in counts if id not in pending])
    _refuse("gave no decision for", [id for id in pending if id not in counts])
    sources = [d.source for d in answer if d.source is not None]
    _refuse("wants to refine from images that do not exist:", [id for id in sources if id not in population.images])
    late = [d.image for d in answer if d.source and max(d.starts) > population.images[d.source].steps]
    _refuse("wants to start after the last step for", late)
    return list(answer)


def _refuse(complaint: str, images: list[str]) -> None:
    if images:
        raise PolicyError(f"the policy {complaint} {', '.join(images)}")


def without_repeats(decisions: Sequence[Decision], population: Population) -> list[Decision]:
    """The same decisions without the attempts that were made before, or are made by an earlier decision of the round.

    The same model would make the same image of them. A decision that nothing is left of becomes a stop.
    """
    seen, kept = attempts_made(population), list[Decision]()
    for decision in decisions:
        wanted = attempts_in(decision)
        fresh = [step for step, attempt in wanted.items() if _is_new(attempt, seen)]
        if wanted and not fresh:
            image = population.images[decision.image]
            kept.append(stop(image, "repeated_attempt", f"{decision.rule} asks for what was tried before"))
        else:
            kept.append(_limited(decision, fresh))
    return kept


def _is_new(attempt: Attempt, seen: set[Attempt]) -> bool:
    known = attempt in seen
    seen.add(attempt)
    return not known


def _limited(decision: Decision, starts: list[int]) -> Decision:
    """The same decision with these of its branches."""
    if decision.action != "refine" or tuple(starts) == decision.starts:
        return decision
    return decision.model_copy(update={"start_step": starts[0], "branches": tuple(starts[1:])})


def within_budget(decisions: Sequence[Decision], population: Population) -> list[Decision]:
    """The same decisions as far as the budget reaches for them: branches are dropped, or a stop takes their place."""
    spend, allowed = population.spend, list[Decision]()
    for decision in decisions:
        fitting, bound = list[int](), None
        for start in attempts_in(decision):
            after = spend + expected_cost(decision, population, start)
            bound = "rounds" if population.round >= population.budget.rounds else population.budget.exceeded_by(after)
            if bound is not None:
                break
            spend = after
            fitting.append(start)
        if bound is None or fitting:
            allowed.append(_limited(decision, fitting))
        else:
            image = population.images[decision.image]
            allowed.append(stop(image, f"budget_{bound}", f"the budget of {bound} leaves no room for: {decision.rule}"))
    return allowed


def expected_cost(decision: Decision, population: Population, start_step: int = 0) -> Spend:
    """One image and one look at it: the denoiser at its rate so far, all else at the mean of the images so far."""
    model = population.images[decision.source or decision.image]
    steps, images = (decision.stop_step or model.steps) - start_step, len(population.images)
    spend = spend_of(None, population.images, population.critiques)
    return Spend(
        images=1,
        evaluations=round(evaluations_per_step(population.images.values()) * max(steps, 0)),
        critic_calls=ceil(spend.critic_calls / images),
        tokens=round(spend.tokens / images),
        seconds=spend.seconds / images,
        money=spend.money / images,
    )


def evaluations_per_step(images: Collection[ImageRecord]) -> float:
    """Denoiser evaluations for each step that was run for these images."""
    steps = sum((image.stop_step or image.steps) - image.start_step for image in images)
    return sum(image.evaluations for image in images) / steps if steps else 1.0


def first_drawings(wanted: int, budget: Budget, evaluations: int | None) -> int:
    """How many of the wanted first drawings the budget reaches for; ``evaluations`` is the cost of one, where known.

    Raises:
        SettingsError: it does not reach for one.
    """
    bounds = [wanted, budget.images, budget.critic_calls]
    if evaluations and budget.evaluations is not None:
        bounds.append(budget.evaluations // evaluations)
    reached = min(bound for bound in bounds if bound is not None)
    if not reached:
        raise SettingsError(
            f"the budget of {budget.evaluations} evaluations does not reach for one drawing, which takes {evaluations}"
        )
    return reached
