"""A policy among recorded images: the graph's own routing, with every request met from the record."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from ...state import (
    Advice,
    Budget,
    ConceptGraph,
    Critique,
    Decision,
    ImageRecord,
    Plan,
    Population,
    Spend,
)
from ...tools.roles import GenerateRequest, RedenoiseRequest
from ..graph.guard import first_drawings
from ..graph.routing import decide, first_requests, sends
from ..policies import Policy
from ..policies.attempts import Attempt, attempts_in
from ..policies.policy import Advised

Request = GenerateRequest | RedenoiseRequest
Asked = list[tuple[Request, Attempt]]
"""What is to be drawn, with the attempt that the record files it under."""


@dataclass(frozen=True)
class Record:
    """All that is known of a prompt and seed: of one run, or of an exhaustive tree."""

    seed: int
    """Of the run."""
    budget: Budget
    concepts: ConceptGraph
    images: dict[Attempt, ImageRecord]
    """Every image that was looked at, by the attempt that it came of."""
    critiques: dict[str, Critique]
    """By image id."""
    evaluations_per_drawing: int | None = None
    """As a model tells it beforehand."""
    advice: dict[str, Advice] = field(default_factory=dict[str, Advice])
    """By round."""


@dataclass(frozen=True)
class Walk:
    """How far a policy came in a record, under the ids that its own run would give."""

    population: Population | None
    """As it was last; None where not even the first drawings are recorded."""
    recorded: dict[str, str]
    """Id in the record, by id in the population."""
    drawings: tuple[Attempt, ...]
    """The attempts that it begins with."""
    decided: dict[int, list[Decision]]
    """What it decided after each round."""
    off: str = ""
    """What it asked for and the record does not hold; empty where it came to its end."""

    @property
    def best(self) -> ImageRecord | None:
        """Image that it would have chosen; None where it did not come to its end."""
        return None if self.off or self.population is None else self.population.best()


def walk(record: Record, policy: Policy) -> Walk:
    """Let the policy decide, round by round, until it stops or asks for what was never recorded."""
    plan = policy.plan(record.concepts)
    asked = _first(record, plan)
    drawings, population = tuple(attempt for _, attempt in asked), None
    recorded, decided, work = dict[str, str](), dict[int, list[Decision]](), list[Decision]()
    while True:
        missing = [request for request, attempt in asked if attempt not in record.images]
        if missing:
            return Walk(population, recorded, drawings, decided, _told(missing))
        found = {request.id: record.images[attempt] for request, attempt in asked}
        recorded |= {id: image.id for id, image in found.items()}
        made = [_as_asked(request, found[request.id]) for request, _ in asked]
        population = _grown(record, population, made, recorded, work)
        if isinstance(policy, Advised) and _would_ask(population):
            return Walk(population, recorded, drawings, decided, "an answer of a chat model")
        decisions = decided[population.round] = decide(population, policy)
        work = [decision for decision in decisions if decision.action != "stop"]
        if not work:
            return Walk(population, recorded, drawings, decided)
        asked = _asked(work, population, recorded, plan)


def _first(record: Record, plan: Plan) -> Asked:
    drawings = first_drawings(plan.images, record.budget, record.evaluations_per_drawing)
    requests = first_requests(plan, record.concepts, record.seed, drawings)
    return [(request, ("draw", request.stop_step, request.prompt, request.seed)) for request in requests]


def _asked(work: Sequence[Decision], population: Population, recorded: dict[str, str], plan: Plan) -> Asked:
    """What the graph would send out for these decisions."""
    own = [d if d.source is None else d.model_copy(update={"source": recorded[d.source]}) for d in work]
    attempts = [attempt for decision in own for attempt in attempts_in(decision).values()]
    requests = [cast(Request, send.arg["request"]) for send in sends(work, population, plan.keep_steps)]
    return list(zip(requests, attempts, strict=True))


def _as_asked(request: Request, image: ImageRecord) -> ImageRecord:
    """A recorded image as the run of the policy would have it: in its place, with the steps kept that it wants kept."""
    own = request.source.id if isinstance(request, RedenoiseRequest) else request.parent
    place = {"id": request.id, "round": request.round, "parent": own}
    if isinstance(request, GenerateRequest):
        place["origin"] = "generate" if own is None else "reseed"
    last = image.steps if image.stop_step is None else image.stop_step
    kept = {k for k in request.keep_steps if k <= last} if image.latent is not None else set[int]()
    kept |= {last} if image.stop_step is not None else set[int]()
    return image.model_copy(update=place | {"trajectory": {k: image.trajectory.get(k, "") for k in sorted(kept)}})


def _grown(
    record: Record,
    before: Population | None,
    made: list[ImageRecord],
    recorded: dict[str, str],
    work: list[Decision],
) -> Population:
    critiques = {i.id: record.critiques[recorded[i.id]].model_copy(update={"image": i.id}) for i in made}
    round = made[0].round
    return Population(
        concepts=record.concepts,
        images=({} if before is None else before.images) | {image.id: image for image in made},
        critiques=({} if before is None else before.critiques) | critiques,
        decisions=({} if before is None else before.decisions) | {d.image: d for d in work},
        advice={key: one for key, one in record.advice.items() if int(key) <= round},
        budget=record.budget,
        seed=record.seed,
        round=round,
    )


def _would_ask(population: Population) -> bool:
    """Whether a run would have the policy's chat model asked here, of which nothing is recorded."""
    image = population.spend + Spend(images=1, critic_calls=1)
    bounded = population.round >= population.budget.rounds or population.budget.exceeded_by(image)
    return population.advice_now() is None and not bounded


def _told(missing: Sequence[Request]) -> str:
    """Images that were never made, in a few words."""
    first, *others = missing
    return _named(first) + (f" and {len(others)} more" if others else "")


def _named(request: Request) -> str:
    if isinstance(request, RedenoiseRequest):
        return f"a refinement of {request.source.id} by {request.operator} from step {request.start_step}"
    what = "a first drawing" if request.parent is None else f"a reseed of {request.parent}"
    return f"{what}, a preview to step {request.stop_step}" if request.stop_step else f"{what}, seed {request.seed}"
