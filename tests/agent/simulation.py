"""Whole runs without graph and models: the real judge steps a population of records that a script criticizes."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from detailscribe.agent.graph.judge import decide, first_attempts, sends
from detailscribe.agent.policies import Advised, Policy
from detailscribe.state import Advice, Attempt, Budget, Critique, Decision, Exchange, ImageRecord, Population
from detailscribe.tools.language.question import Reply

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
    start = {"concepts": concepts("the prompt"), "seed": seed}
    first = [make(attempt) for attempt in first_attempts(plan, start, budget, 2 * STEPS)]
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
        for image in (make(s.arg["attempt"], s.arg["source"]) for s in sends(work, people, plan)):
            assert image.id not in images, "every image has an id of its own"
            images, critiques = images | {image.id: image}, critiques | {image.id: look(image)}
    raise AssertionError(f"{policy} never ends")


def make(attempt: Attempt, source: ImageRecord | None = None) -> ImageRecord:
    """The record of the image that an attempt asks for, as the diffusion role would write it."""
    start, stop = attempt.start_step, attempt.stop_step or STEPS
    given = {"stop_step": attempt.stop_step, "round": attempt.round, "prompt": attempt.prompt, "seed": attempt.seed}
    kept = {k: f"latents/{attempt.id}-{k}" for k in attempt.keep_steps if start <= k <= stop}
    kept |= {} if attempt.stop_step is None else {stop: f"latents/{attempt.id}-{stop}"}
    if source is not None and attempt.operator == "resume":
        assert start in source.trajectory, "only kept steps can be resumed"
        shared = {k: path for k, path in source.trajectory.items() if k in attempt.keep_steps and k < start}
        kept = shared | kept
    if source is not None:
        given |= {"operator": attempt.operator, "start_step": start, "start_sigma": 1 - start / STEPS}
    return record(attempt.id, attempt.parent, attempt.origin, trajectory=kept, evaluations=2 * (stop - start), **given)


def paid(critique: Critique, tokens: int, seconds: float, money: float) -> Critique:
    """The same critique, at a price."""
    exchange = Exchange(model="m", prompt="p", reply="r", prompt_tokens=tokens, seconds=seconds, money=money)
    return critique.model_copy(update={"exchanges": (exchange,)})
