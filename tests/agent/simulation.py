"""Whole runs without graph and models: the real judge steps a population of records that a script criticizes."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from detailscribe.agent.graph.guard import first_drawings
from detailscribe.agent.graph.routing import decide, first_seed, image_id, sends
from detailscribe.agent.policies import Advised, Policy
from detailscribe.state import Advice, Budget, Critique, Decision, Exchange, ImageRecord, Population
from detailscribe.tools.language.question import Reply
from detailscribe.tools.roles import GenerateRequest, RedenoiseRequest

from .fakes import STEPS, concepts, record

Look = Callable[[ImageRecord], Critique]

TOO_MANY = 60
"""Rounds after which a run counts as one that never ends."""


class FickleChat:
    """Decides by chance about the images that wait, and forgets some."""

    async def ask(self, question, answer):
        rng = random.Random(question.text)
        waiting = question.text.partition("<waiting>\n")[2].partition("\n</waiting>")[0].split("\n")
        decisions = [
            {"image": id, "action": rng.choice(("refine", "refine", "redraw", "stop")), "strength": "strong"}
            for id in waiting
            if rng.random() < 0.9
        ]
        return Reply(answer.model_validate({"decisions": decisions}), ())


@dataclass(frozen=True)
class Simulated:
    """A run that came to its end."""

    population: Population
    """With a decision for every image."""
    stops: list[Decision]


def simulate(policy: Policy, look: Look, budget: Budget | None = None, seed: int = 7) -> Simulated:
    """Run ``policy`` to its end; ``AssertionError`` if it has none."""
    budget, plan = budget or Budget(), policy.plan(concepts())
    first = [
        make(
            GenerateRequest(
                image_id(0, n), 0, "the prompt", first_seed(plan, seed, n), None, plan.keep_steps, plan.stop_step
            )
        )
        for n in range(first_drawings(plan.images, budget, 2 * STEPS))
    ]
    advice: dict[str, Advice] = {}
    images, critiques, decisions = {i.id: i for i in first}, {i.id: look(i) for i in first}, {}
    for round in range(TOO_MANY):
        people = Population(
            concepts=concepts(),
            images=images,
            critiques=critiques,
            decisions=decisions,
            budget=budget,
            seed=seed,
            round=round,
        )
        if isinstance(policy, Advised):
            advice[str(round)] = asyncio.run(policy.advise(people, FickleChat()))
            people = people.model_copy(update={"advice": dict(advice)})
        made = decide(people, policy)
        assert made == decide(people, policy), "a policy is pure"
        work = [d for d in made if d.action != "stop"]
        if not work:
            everything = decisions | {d.image: d for d in made}
            return Simulated(people.model_copy(update={"decisions": everything}), made)
        decisions = decisions | {d.image: d for d in work}
        for image in (make(s.arg["request"]) for s in sends(work, people, plan.keep_steps)):
            assert image.id not in images, "every image has an id of its own"
            images, critiques = images | {image.id: image}, critiques | {image.id: look(image)}
    raise AssertionError(f"{policy} never ends")


def make(request: GenerateRequest | RedenoiseRequest) -> ImageRecord:
    """The record of the image that a request asks for, as the diffusion role would write it."""
    stop = request.stop_step or STEPS
    given = {"stop_step": request.stop_step, "round": request.round, "prompt": request.prompt, "seed": request.seed}
    start = request.start_step if isinstance(request, RedenoiseRequest) else 0
    kept = {k: f"latents/{request.id}-{k}" for k in request.keep_steps if start <= k <= stop}
    kept |= {} if request.stop_step is None else {stop: f"latents/{request.id}-{stop}"}
    if isinstance(request, GenerateRequest):
        origin = "generate" if request.parent is None else "reseed"
        return record(request.id, request.parent, origin, trajectory=kept, evaluations=2 * stop, **given)
    if request.operator == "resume":
        assert start in request.source.trajectory, "only kept steps can be resumed"
        shared = {k: path for k, path in request.source.trajectory.items() if k in request.keep_steps and k < start}
        kept = shared | kept
    return record(
        request.id,
        request.source.id,
        "refine",
        operator=request.operator,
        start_step=start,
        start_sigma=1 - start / STEPS,
        evaluations=2 * (stop - start),
        trajectory=kept,
        **given,
    )


def paid(critique: Critique, tokens: int, seconds: float, money: float) -> Critique:
    """The same critique, at a price."""
    exchange = Exchange(model="m", prompt="p", reply="r", prompt_tokens=tokens, seconds=seconds, money=money)
    return critique.model_copy(update={"exchanges": (exchange,)})
