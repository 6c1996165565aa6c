"""What was tried already: two attempts are equivalent if the same model would make the same image of them."""

from ...state import Decision, ImageRecord, Operator, Population, derive_seed
from .moves import refine

Attempt = tuple[str | int | None, ...]
"""What decides about the outcome: operator, source, steps, prompt and seed, or stop, prompt and seed of a drawing."""


def attempt_of(image: ImageRecord) -> Attempt:
    """The attempt that ``image`` came of."""
    if image.operator is None:
        return _drawing(image.prompt, image.seed, image.stop_step)
    start, stop = image.start_step, image.stop_step
    return _refinement(image.operator, image.parent, start, stop, image.prompt, image.seed)


def attempts_in(decision: Decision) -> dict[int, Attempt]:
    """The attempts that a decision asks for, by start step; none for a stop."""
    if decision.action == "stop":
        return {}
    if decision.action == "reseed":
        return {0: _drawing(decision.prompt, decision.seed, decision.stop_step)}
    return {
        k: _refinement(decision.operator, decision.source, k, decision.stop_step, decision.prompt, decision.seed)
        for k in decision.starts
    }


def attempts_made(population: Population) -> set[Attempt]:
    """Everything that was tried."""
    return {attempt_of(image) for image in population.images.values()}


def is_repeat(population: Population, decision: Decision) -> bool:
    """Whether every attempt that it asks for was made before."""
    wanted = attempts_in(decision).values()
    return bool(wanted) and attempts_made(population).issuperset(wanted)


def refine_anew(
    population: Population,
    image: ImageRecord,
    rule: str,
    reason: str,
    *,
    source: ImageRecord,
    operator: Operator,
    start_step: int,
) -> Decision:
    """``refine`` in a way that was not tried before.

    Where it was: ``resume`` goes to the nearest kept step that was not, and when there is none, or
    for ``inject``, noise of a seed of its own is added.
    """

    def at(step: int, operator: Operator = operator, seed: int | None = None) -> Decision:
        return refine(population, image, rule, reason, source=source, operator=operator, start_step=step, seed=seed)

    kept = [k for k in source.trajectory if k < source.steps] if operator == "resume" else []
    for step in (start_step, *sorted(kept, key=lambda k: (abs(k - start_step), k))):
        decision = at(step)
        if not is_repeat(population, decision):
            return decision
    return at(start_step, "inject", derive_seed(population.seed, "refine", image.id))


def _drawing(prompt: str | None, seed: int | None, stop: int | None) -> Attempt:
    return ("draw", stop, prompt, seed)


def _refinement(
    operator: str | None, source: str | None, start: int, stop: int | None, prompt: str | None, seed: int | None
) -> Attempt:
    """A resumed trajectory takes its noise from the source, so its seed tells nothing."""
    return (operator, source, start, stop, prompt, seed if operator == "inject" else None)
