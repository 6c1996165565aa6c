"""What stands between a policy and the graph: its answers are checked, and the budget holds."""

from collections import Counter
from collections.abc import Sequence

from ..state import Budget, Decision, Population, Spend
from .policies.moves import stop
from .policies.policy import PolicyError


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
    late = [d.image for d in answer if d.source and (d.start_step or 0) > population.images[d.source].steps]
    _refuse("wants to start after the last step for", late)
    return list(answer)


def _refuse(complaint: str, images: list[str]) -> None:
    if images:
        raise PolicyError(f"the policy {complaint} {', '.join(images)}")


def within_budget(decisions: Sequence[Decision], population: Population) -> list[Decision]:
    """The same decisions, with a stop in place of each one that the budget does not reach for."""
    spend, allowed = population.spend, list[Decision]()
    for decision in decisions:
        if decision.action == "stop":
            allowed.append(decision)
            continue
        after = spend + expected_cost(decision, population)
        bound = _bound_hit(population, spend, after)
        if bound is None:
            spend = after
            allowed.append(decision)
        else:
            image = population.images[decision.image]
            allowed.append(stop(image, f"budget_{bound}", f"the budget of {bound} leaves no room for: {decision.rule}"))
    return allowed


def _bound_hit(population: Population, spend: Spend, after: Spend) -> str | None:
    budget = population.budget
    if population.round >= budget.rounds:
        return "rounds"
    if budget.evaluations is not None and after.evaluations > budget.evaluations:
        return "evaluations"
    return budget.exhausted_by(spend)


def expected_cost(decision: Decision, population: Population) -> Spend:
    """What can be told beforehand: one image, one look, and the denoiser at the rate of the run so far."""
    model = population.images[decision.source or decision.image]
    steps = model.steps - (decision.start_step or 0)
    return Spend(images=1, critic_calls=1, evaluations=round(evaluations_per_step(population) * max(steps, 0)))


def evaluations_per_step(population: Population) -> float:
    """Denoiser evaluations for each step run so far."""
    steps = sum(image.steps - image.start_step for image in population.images.values())
    return sum(image.evaluations for image in population.images.values()) / steps if steps else 1.0


def first_drawings(wanted: int, budget: Budget) -> int:
    """How many of the wanted first drawings the budget reaches for."""
    bounds = (wanted, budget.images, budget.critic_calls)
    return min(bound for bound in bounds if bound is not None)
