"""The policy protocol, and the decisions that a policy can make: stop, refine, draw again, or several for one image."""

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
"""Upper limit of every parameter that counts images or rounds."""
MOST_STEPS = 100
"""Upper limit of the steps that a parameter can list."""


class PolicyError(DetailScribeError):
    """A decision of a policy cannot be carried out."""


@runtime_checkable
class Policy(Protocol):
    """Decides about images; both methods are pure, so that recorded runs can be replayed."""

    def plan(self, concepts: ConceptGraph) -> Sequence[Attempt]:
        """What to draw before the first critique; ``Plan(images=n)`` are n drawings of the run's prompt."""
        ...

    def judge(self, population: Population) -> Sequence[Decision]:
        """One decision for each of ``population.pending()``, the most promising first.

        The run ends when all decisions are stops. Until then a stop is not final: the image is pending again after the
        next round. Where the budget is too small for all, the first decisions come first.
        """
        ...


class Parameters(Frozen):
    """A built-in policy: its fields are its parameters, and ``detailscribe policies`` prints their docstrings."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def list_of(kind: type[T], policy: Policy, method: Literal["plan", "judge"], given: object) -> Sequence[T]:
    """Calls a method of a policy; ``PolicyError`` if it raises, or returns anything else than a list of this kind."""
    name = f"{type(policy).__name__}.{method}"
    try:
        answer: Any = getattr(policy, method)(given)
    except ValidationError as error:
        raise PolicyError(f"{name} makes no {error.title}: {first_problem(error)}") from error
    except Exception as error:
        if isinstance(error, DetailScribeError) or user_code(policy) is None:
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
    """A policy for which a chat model is asked after each round. The answer is recorded, and ``judge`` reads it from
    ``population.advice_now()``, so that ``judge`` stays pure and recorded runs can be replayed without a model."""

    @property
    def chat(self) -> Asker | None:
        """The model to ask; None for that of the run."""
        ...

    async def advise(self, population: Population, chat: Asker) -> Advice:
        """The model's advice on pending images; an unusable answer is silence, with the reason."""
        ...


JudgeFunction = Callable[[Population], Sequence[Decision]]
"""A policy reduced to its ``judge``."""


@dataclass(frozen=True)
class FunctionPolicy:
    """A plain function as a policy: one first drawing, then what the function decides."""

    function: JudgeFunction

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=1)

    def judge(self, population: Population) -> Sequence[Decision]:
        return self.function(population)


def user_code(policy: Policy) -> type[Policy] | JudgeFunction | None:
    """The class or function of a policy of the user's; None for a built-in one."""
    code = policy.function if isinstance(policy, FunctionPolicy) else type(policy)
    return None if code.__module__.partition(".")[0] == __name__.partition(".")[0] else code


def stop(image: ImageRecord, rule: str, reason: str) -> Decision:
    """No more work on ``image``."""
    return Decision(image=image.id, rule=rule, reason=reason)


def drawing(
    population: Population, image: ImageRecord, *, prompt: str | None = None, seed: Seed | None = None
) -> Attempt:
    """A new drawing in place of ``image``, by default from its corrected prompt and a new seed."""
    return Attempt(
        prompt=prompt or corrected_prompt(population, image),
        seed=derive_seed(population.seed, "reseed", image.id) if seed is None else seed,
    )


class Otherwise(TypedDict, total=False):
    """Optional arguments of a refinement."""

    prompt: str | None
    """None for the corrected prompt or, for an edit, an ``instruction``."""
    seed: Seed | None
    """None for fresh noise where noise is injected, else for the source's own."""
    guidance: float | None
    """None for the model's own."""
    region: Region | None
    """What alone may change; None for the whole picture."""


def refinement(
    population: Population, source: ImageRecord, *, operator: Operator, start_step: Step, **given: Unpack[Otherwise]
) -> Attempt:
    """Re-denoise or edit ``source``, by default with its corrected prompt or an ``instruction``, and with fresh noise.

    Its own noise, injected again, leads back to the source and fixes half as much (``benchmarks/LOG.md``). ``resume``
    takes the nearest kept step, and becomes ``inject`` where the source kept none. ``start_step`` is brought into
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
    """The instruction for an edit of ``image``: what to change and what to keep, from the template ``edit``."""
    return instruction_for(population.concepts, population.critiques[image.id], corrected_prompt(population, image))


def instruction_for(concepts: ConceptGraph, critique: Critique, prompt: str) -> str:
    """The instruction for an edit of the picture of a critique, so that it shows ``prompt``."""
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
    """Have the critic look at ``image`` again, which costs a critic call. After the next round it is pending as another
    image, with the same picture and the new critique; ``population.opinions`` has all critiques, and their mean ranks
    the picture. Several in one round need different seeds."""
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
    """Draw again in place of ``image``; see ``drawing``."""
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
    """Re-denoise ``source``, by default ``image`` itself; see ``refinement``."""
    attempt = refinement(population, source or image, operator=operator, start_step=start_step, **given)
    return Decision(image=image.id, rule=rule, reason=reason, attempts=(attempt,))


def go_on(population: Population, image: ImageRecord, rule: str, reason: str, stop_step: int | None = None) -> Decision:
    """Continue a preview to ``stop_step`` or the end, as if it had never stopped."""
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
    """The critic's newest prompt for ``image``, or the user's where there is none."""
    prompts = [look.refined_prompt for look in population.opinions(image) if look.refined_prompt]
    return prompts[-1] if prompts else population.concepts.prompt


def failed(critique: Critique) -> tuple[str, ...]:
    """Ids of the checks that failed, without unknown ones."""
    return tuple(v.check for v in critique.verdicts if v.answer == "fail")


def random_number(population: Population, image: ImageRecord, name: str) -> float:
    """A random number in [0, 1) that depends only on the run's seed, the image and the name."""
    return derive_seed(population.seed, "lot", image.id, name) / SEED_LIMIT
