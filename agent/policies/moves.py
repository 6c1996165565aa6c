"""The moves a policy can make, with their parameters filled in from the population."""

from ...state import Critique, Decision, ImageRecord, Operator, Population, derive_seed


def stop(image: ImageRecord, rule: str, reason: str) -> Decision:
    """No more work on ``image``."""
    return Decision(image=image.id, action="stop", rule=rule, reason=reason)


def reseed(population: Population, image: ImageRecord, rule: str, reason: str, prompt: str | None = None) -> Decision:
    """Draw anew in place of ``image``, from a seed of its own; by default with its corrected prompt."""
    return Decision(
        image=image.id,
        action="reseed",
        rule=rule,
        reason=reason,
        prompt=prompt or corrected_prompt(population, image),
        seed=derive_seed(population.seed, "reseed", image.id),
    )


def refine(
    population: Population,
    image: ImageRecord,
    rule: str,
    reason: str,
    *,
    source: ImageRecord | None = None,
    operator: Operator,
    start_step: int,
    seed: int | None = None,
) -> Decision:
    """Re-denoise ``source`` (``image`` itself unless an ancestor is better) with its corrected prompt.

    ``resume`` needs a kept step: the nearest one is taken, and where the source kept none, noise is
    injected at ``start_step`` instead. ``start_step`` is brought into [0, N-1].
    """
    source = source or image
    start_step = min(start_step, source.steps - 1)
    kept = [k for k in source.trajectory if k < source.steps]
    if operator == "resume" and kept:
        start_step = min(kept, key=lambda k: (abs(k - start_step), k))
    return Decision(
        image=image.id,
        action="refine",
        rule=rule,
        reason=reason,
        source=source.id,
        operator=operator if kept or operator == "inject" else "inject",
        start_step=start_step,
        prompt=corrected_prompt(population, source),
        seed=source.seed if seed is None else seed,
    )


def go_on(population: Population, image: ImageRecord, rule: str, reason: str, stop_step: int | None = None) -> Decision:
    """Take a preview up where it stopped, to ``stop_step`` or the end, as if it had never stopped."""
    return Decision(
        image=image.id,
        action="refine",
        rule=rule,
        reason=reason,
        source=image.id,
        operator="resume",
        start_step=image.stop_step,
        stop_step=stop_step,
        prompt=image.prompt,
        seed=image.seed,
    )


def corrected_prompt(population: Population, image: ImageRecord) -> str:
    """The critic's prompt for ``image``; the user's own words where it has none."""
    return population.critiques[image.id].refined_prompt or population.concepts.prompt


def failed(critique: Critique) -> tuple[str, ...]:
    """Ids of the checks that failed; unknown ones did not."""
    return tuple(v.check for v in critique.verdicts if v.answer == "fail")
