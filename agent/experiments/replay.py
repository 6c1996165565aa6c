"""What another policy would have done with recorded runs, at no model cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...state import Decision, ImageRecord, Population
from ...tools.errors import SettingsError
from ..graph.guard import first_drawings
from ..graph.routing import decide, first_seed
from ..policies import Policy
from ..policies.attempts import Attempt, attempt_of, attempts_in
from ..traces.reader import EVENTS, RecordedRun, read_run

Way = dict[str, tuple[Attempt, ...]]
"""The attempts that were asked for after a round, by image; images that were left alone are not in it."""


@dataclass(frozen=True)
class Replayed:
    """One recorded run, judged by another policy as far as the record reaches."""

    run: str
    """Its id."""
    prompt: str
    recorded: float
    """Share of checks that the run's best image passes."""
    recorded_evaluations: int
    differs: int | None
    """The first round after which it would have decided otherwise; None where it would have done the same."""
    reason: str
    """What it would have done there; empty where nothing differs."""
    best: str | None
    """Image that it would have chosen; None where it asks for what was never made."""
    score: float | None
    """Share of checks that this one passes."""
    evaluations: int | None
    """What it would have spent."""


@dataclass(frozen=True)
class _Difference:
    round: int
    reason: str


def replay(folder: Path, policy: Policy) -> list[Replayed]:
    """Judge every run in a folder again.

    From the first drawings on, the policy is given what the record holds: wherever an image was made that it asks
    for, by whatever decision, it goes on. So a run that tried more lets more policies be scored.

    Raises:
        SettingsError: there is no run that was looked at.
    """
    traces = [folder / EVENTS] if (folder / EVENTS).is_file() else sorted(folder.glob(f"**/{EVENTS}"))
    runs = [run for trace in traces if (run := read_run(trace.parent)).rounds]
    if not runs:
        raise SettingsError(f"{folder} holds no run of which a round was looked at")
    return [replay_run(run, policy) for run in runs]


def replay_run(run: RecordedRun, policy: Policy) -> Replayed:
    """Judge one run again, as far as its record reaches."""
    population, difference = _walked(run, policy)
    best = run.best
    chosen = None if population is None else population.best()
    return Replayed(
        run=run.run,
        prompt=run.prompt,
        recorded=0.0 if best is None else run.critiques[best.id].score,
        recorded_evaluations=run.spend.evaluations,
        differs=None if difference is None else difference.round,
        reason="" if difference is None else difference.reason,
        best=None if chosen is None else chosen.id,
        score=None if chosen is None else run.critiques[chosen.id].score,
        evaluations=None if population is None else population.spend.evaluations,
    )


def _walked(run: RecordedRun, policy: Policy) -> tuple[Population | None, _Difference | None]:
    """The population that the policy ends with, None where the record does not reach; and where it first differs."""
    made = {attempt_of(image): image for image in run.images.values() if image.id in run.critiques}
    ways, difference = _recorded_ways(run), None
    first = _first(run, policy, made)
    if first is None:
        return None, _Difference(-1, "it begins with other drawings")
    if {i.id for i in first} != {i.id for i in run.images.values() if i.round == 0}:
        difference = _Difference(-1, f"it begins with {len(first)} drawing(s)")
    population = _population(run, {image.id: image for image in first}, {}, 0)
    while True:
        decisions = decide(population, policy)
        way = {d.image: tuple(attempts_in(d).values()) for d in decisions if d.action != "stop"}
        if difference is None and way != ways.get(population.round, {}):
            difference = _Difference(population.round, _told(decisions))
        if not way:
            return population, difference
        wanted = [attempt for attempts in way.values() for attempt in attempts]
        if any(attempt not in made for attempt in wanted):
            return None, difference
        round = population.round + 1
        drawn = {made[a].id: made[a].model_copy(update={"round": round}) for a in wanted}
        carried = population.decisions | {d.image: d for d in decisions if d.image in way}
        population = _population(run, population.images | drawn, carried, round)


def _first(run: RecordedRun, policy: Policy, made: dict[Attempt, ImageRecord]) -> list[ImageRecord] | None:
    """The first drawings that it plans; None where one was never made."""
    plan, seed = policy.plan(run.population(run.rounds[-1]).concepts), run.started.seed
    wanted = first_drawings(plan.images, run.started.budget, None)
    attempts = [("draw", plan.stop_step, run.prompt, first_seed(plan, seed, n)) for n in range(wanted)]
    found = [made.get(attempt) for attempt in attempts]
    drawings = [image for image in found if image is not None]
    return drawings if len(drawings) == len(found) else None


def _population(
    run: RecordedRun, images: dict[str, ImageRecord], decisions: dict[str, Decision], round: int
) -> Population:
    seen = run.population(run.rounds[-1])
    known = {"images": images, "critiques": {id: run.critiques[id] for id in images}, "decisions": decisions}
    advice = {key: one for key, one in seen.advice.items() if int(key) <= round}
    return seen.model_copy(update={**known, "round": round, "advice": advice})


def _recorded_ways(run: RecordedRun) -> dict[int, Way]:
    """What was asked for after each round."""
    return dict(_ways(run))


def _ways(run: RecordedRun) -> Iterator[tuple[int, Way]]:
    for round in run.rounds:
        before = run.population(round).decisions
        after = run.population(round + 1).decisions if round + 1 in run.rounds else run.decisions
        new = {id: d for id, d in after.items() if id not in before and d.action != "stop"}
        yield round, {id: tuple(attempts_in(d).values()) for id, d in new.items()}


def _told(decisions: list[Decision]) -> str:
    return "; ".join(f"{d.image}: {d.action} ({d.rule})" for d in decisions)
