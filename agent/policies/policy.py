"""What a policy is, and the decisions it can make: stop, refine, draw anew, or several of these for one image."""

import inspect
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict, TypeVar, Unpack, cast, runtime_checkable

from pydantic import ConfigDict, ValidationError

from ...prompts import render
from ...state import (
    SEED_LIMIT,
    Advice,
    Attempt,
    ConceptGraph,
    Critique,
    Decision,
    Frozen,
    ImageRecord,
    Operator,
    Plan,
    Population,
    Region,
    Seed,
    Step,
    derive_seed,
)
from ...tools.errors import DetailScribeError, described, first_problem
from ...tools.roles import Asker

T = TypeVar("T")
MOST = 1000
"""Of images, rounds and whatever else a parameter of a policy counts; a budget is smaller still."""
MOST_STEPS = 100
"""Start steps, or other places in a schedule, that a parameter can list."""


class PolicyError(DetailScribeError):
    """A policy answered with what cannot be carried out."""


@runtime_checkable
class Policy(Protocol):
    """Decides about images; both methods are pure, so any recorded run can be judged again."""

    def plan(self, concepts: ConceptGraph) -> Sequence[Attempt]:
        """What to draw before the first critique; ``Plan(images=n)`` are n drawings of the run's prompt."""
        ...

    def judge(self, population: Population) -> Sequence[Decision]:
        """One decision for each of ``population.pending()``, the most promising first.

        When no decision is left but stops, the run ends. Until then a stop is not final: the image is asked about again
        after the next round. Where the budget does not reach for all, the first ones have it.
        """
        ...


class Parameters(Frozen):
    """A policy that ships: its fields are its parameters, whose docstrings ``detailscribe policies`` prints."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def list_of(kind: type[T], policy: Policy, method: Literal["plan", "judge"], given: object) -> Sequence[T]:
    """What a method of a policy answers; ``PolicyError`` where that is no list of this kind."""
    name = f"{type(policy).__name__}.{method}"
    try:
        answer: Any = getattr(policy, method)(given)
    except ValidationError as error:
        raise PolicyError(f"{name} makes no {error.title}: {first_problem(error)}") from error
    except Exception as error:
        code = policy.function if isinstance(policy, FunctionPolicy) else type(policy)
        if isinstance(error, DetailScribeError) or code.__module__.partition(".")[0] == __name__.partition(".")[0]:
            raise
        raise PolicyError(f"{name} raised {described(error)}") from error
    if not isinstance(answer, list | tuple) or not all(isinstance(entry, kind) for entry in cast("list[Any]", answer)):
        hint = ""
        if inspect.iscoroutine(answer):
            answer.close()
            hint = "; it should be no async function"
        raise PolicyError(f"{name} returned {reprlib.repr(answer)}, not the list of {kind.__name__} alone{hint}")
    return cast("Sequence[T]", answer)


@runtime_checkable
class Advised(Protocol):
    """A policy that has a chat model asked after each round. The answer is recorded in the state and found in
    ``population.advice_now()``, so that ``judge`` stays pure, and a recorded run can be judged again without asking."""

    @property
    def chat(self) -> Asker | None:
        """The model to ask; None for the one that the run is configured with."""
        ...

    async def advise(self, population: Population, chat: Asker) -> Advice:
        """What the model says of the images that wait; an unusable answer is silence, with the reason."""
        ...


JudgeFunction = Callable[[Population], Sequence[Decision]]
"""A policy reduced to its ``judge``."""


@dataclass(frozen=True)
class FunctionPolicy:
    """A plain function as a policy: one first drawing, then whatever the function decides."""

    function: JudgeFunction

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=1)

    def judge(self, population: Population) -> Sequence[Decision]:
        return self.function(population)


def stop(image: ImageRecord, rule: str, reason: str) -> Decision:
    """No more work on ``image``."""
    return Decision(image=image.id, rule=rule, reason=reason)


def drawing(
    population: Population, image: ImageRecord, *, prompt: str | None = None, seed: Seed | None = None
) -> Attempt:
    """A new drawing in place of ``image``: from its corrected prompt and a seed of its own, unless they are given."""
    return Attempt(
        prompt=prompt or corrected_prompt(population, image),
        seed=derive_seed(population.seed, "reseed", image.id) if seed is None else seed,
    )


class Otherwise(TypedDict, total=False):
    """What a refinement has otherwise than by default."""

    prompt: str | None
    """None for the corrected prompt, or of an edit an ``instruction``."""
    seed: Seed | None
    """None for fresh noise where noise is injected, else for the source's own."""
    guidance: float | None
    """None for the model's own."""
    region: Region | None
    """What alone may change; None for all of the picture."""


def refinement(
    population: Population, source: ImageRecord, *, operator: Operator, start_step: Step, **given: Unpack[Otherwise]
) -> Attempt:
    """Re-denoise or edit ``source``, by default with its corrected prompt or an ``instruction``, and with fresh noise.

    The noise that it was drawn from, injected again, leads back to it and mends half as much (``benchmarks/LOG.md``).
    ``resume`` takes the nearest kept step, and injects noise where the source kept none. ``start_step`` is brought into
    [0, N-1].
    """
    prompt, seed = given.get("prompt"), given.get("seed")
    if operator == "edit":
        start_step, prompt = 0, prompt or instruction(population, source)
    start_step = min(start_step, source.steps - 1)
    kept = [k for k in source.trajectory if k < source.steps]
    if operator == "resume" and kept:
        start_step = min(kept, key=lambda k: (abs(k - start_step), k))
    elif operator == "resume":
        operator = "inject"
    if seed is None:
        seed = derive_seed(source.seed, "refine") if operator == "inject" else source.seed
    return Attempt(
        source=source.id,
        operator=operator,
        start_step=start_step,
        prompt=prompt or corrected_prompt(population, source),
        seed=seed,
        guidance=given.get("guidance"),
        region=given.get("region"),
    )


def instruction(population: Population, image: ImageRecord) -> str:
    """What an edit of ``image`` is to change and to keep, from the template ``edit``."""
    return instruction_for(population.concepts, population.critiques[image.id], corrected_prompt(population, image))


def instruction_for(concepts: ConceptGraph, critique: Critique, prompt: str) -> str:
    """What an edit of the picture of a critique is to change and to keep, so that it shows ``prompt``."""
    verdicts = critique.verdicts
    wrong = [v for v in verdicts if v.answer == "fail" and v.settled_by is None]
    lines = [f"- {concepts.check(v.check).question} {' '.join((v.evidence or 'No').split())}" for v in wrong]
    placed = [f"{line} ({v.place} of the picture)" if v.boxes else line for line, v in zip(lines, wrong, strict=True)]
    kept = [f"- {concepts.check(v.check).question}" for v in verdicts if v.answer == "pass"]
    return render(
        "edit",
        prompt=prompt,
        failures="\n".join(placed) or "nothing that is known",
        kept="\n".join(kept) or "everything that is not named above",
    )


def second_opinion(population: Population, image: ImageRecord, *, seed: Seed | None = None) -> Attempt:
    """Have the critic look at ``image`` once more, at the price of that look. After the next round it waits for a
    decision as an image of its own with the same picture, whose critique is the new one; ``population.opinions`` has
    all of them, and their mean ranks the picture. Several in one round need seeds that differ."""
    return Attempt(source=population.drawn(image).id, operator="look", seed=seed)


def reseed(
    population: Population,
    image: ImageRecord,
    rule: str,
    reason: str,
    prompt: str | None = None,
    *,
    seed: Seed | None = None,
) -> Decision:
    """Draw anew in place of ``image``; see ``drawing``."""
    attempt = drawing(population, image, prompt=prompt, seed=seed)
    return Decision(image=image.id, rule=rule, reason=reason, attempts=(attempt,))


def refine(
    population: Population,
    image: ImageRecord,
    rule: str,
    reason: str,
    *,
    source: ImageRecord | None = None,
    operator: Operator,
    start_step: Step,
    **given: Unpack[Otherwise],
) -> Decision:
    """Re-denoise ``source`` (``image`` itself unless an ancestor is better); see ``refinement``."""
    attempt = refinement(population, source or image, operator=operator, start_step=start_step, **given)
    return Decision(image=image.id, rule=rule, reason=reason, attempts=(attempt,))


def go_on(population: Population, image: ImageRecord, rule: str, reason: str, stop_step: int | None = None) -> Decision:
    """Continue a preview from where it stopped, to ``stop_step`` or the end, as if it had never stopped."""
    attempt = Attempt(
        source=image.id,
        operator="resume",
        start_step=image.stop_step or 0,
        stop_step=stop_step,
        prompt=image.prompt,
        seed=image.seed,
    )
    return Decision(image=image.id, rule=rule, reason=reason, attempts=(attempt,))


def corrected_prompt(population: Population, image: ImageRecord) -> str:
    """The critic's newest prompt for ``image``; the user's own words where it has none."""
    prompts = [look.refined_prompt for look in population.opinions(image) if look.refined_prompt]
    return prompts[-1] if prompts else population.concepts.prompt


def failed(critique: Critique) -> tuple[str, ...]:
    """Ids of the checks that failed; unknown ones did not."""
    return tuple(v.check for v in critique.verdicts if v.answer == "fail")


def lot(population: Population, image: ImageRecord, name: str) -> float:
    """A number in [0, 1) that depends on the run's seed, the image and the name alone."""
    return derive_seed(population.seed, "lot", image.id, name) / SEED_LIMIT
