"""What another policy would have done with recorded runs or trees, at no model cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...state import Critique, Decision
from ...tools.errors import SettingsError
from ..policies import Policy
from ..policies.attempts import Attempt, attempt_of, attempts_in
from ..traces.reader import EVENTS, RecordedRun, read_run
from .spec import BudgetChange
from .tree import TREE, Tree, read_tree
from .walk import Record, Walk, walk

Way = dict[str, tuple[Attempt, ...]]
"""The attempts that were asked for after a round, by image; images that were left alone are not in it."""


@dataclass(frozen=True)
class Score:
    """What an outcome is worth and cost."""

    critic: float
    """Share of checks that the critic passes on the chosen image, in [0, 1]."""
    judge: float | None
    """The same of the judge; None where none looked."""
    evaluations: int
    images: int


@dataclass(frozen=True)
class Replayed:
    """One recorded run or tree, judged by another policy as far as the record reaches."""

    name: str
    """Of the run, or of the tree's folder."""
    prompt: str
    recorded: Score | None
    """Of the run; None for a tree, which no policy decided."""
    differs: int | None
    """The first round after which it would have decided otherwise than the run, -1 for the first drawings; None
    where it would have done the same, and for a tree."""
    reason: str
    """What it would have done there; empty where nothing differs."""
    best: str | None
    """Image of the record that it would have chosen; None where it asks for what was never made."""
    score: Score | None
    """Of this one."""
    off: str
    """What it asks for that the record does not hold; empty where the record reaches to its end."""


def replay(folder: Path, policy: Policy, budget: BudgetChange | None = None) -> list[Replayed]:
    """Judge every tree in a folder again, or else every run.

    From the first drawings on, the policy is given what the record holds: wherever an image was made that it asks
    for, by whatever decision, it goes on. So a run that tried more lets more policies be scored, and a tree all whose
    attempts are on its menu.

    Args:
        folder: Of trees, of runs, or a run.
        policy: Decides.
        budget: Bounds other than the recorded ones.

    Raises:
        SettingsError: there is neither a tree nor a run that was looked at, or a tree is of another version.
    """
    change = budget or BudgetChange()
    trees = sorted(path.parent for path in folder.glob(f"**/{TREE}"))
    if trees:
        return [replay_tree(path.name, read_tree(path), policy, change) for path in trees]
    traces = [folder / EVENTS] if (folder / EVENTS).is_file() else sorted(folder.glob(f"**/{EVENTS}"))
    runs = [run for trace in traces if (run := read_run(trace.parent)).rounds]
    if not runs:
        raise SettingsError(f"{folder} holds no tree, and no run of which a round was looked at")
    return [replay_run(run, policy, change) for run in runs]


def replay_tree(name: str, tree: Tree, policy: Policy, budget: BudgetChange) -> Replayed:
    """What a policy would have made of a prompt, by an exhaustive tree."""
    walked = walk(_record_of_tree(tree, budget), policy)
    judged = {critique.image: critique for critique in tree.judged}
    return Replayed(name, tree.prompt, None, None, "", *_outcome(walked, judged))


def replay_run(run: RecordedRun, policy: Policy, budget: BudgetChange) -> Replayed:
    """Judge one run again, as far as its record reaches."""
    walked = walk(_record_of_run(run, budget), policy)
    best, spend = run.best, run.spend
    recorded = Score(0.0 if best is None else run.critiques[best.id].score, None, spend.evaluations, spend.images)
    return Replayed(run.run, run.prompt, recorded, *_difference(run, walked), *_outcome(walked, {}))


def _record_of_tree(tree: Tree, budget: BudgetChange) -> Record:
    return Record(
        seed=tree.run_seed,
        budget=tree.bounded(budget),
        concepts=tree.concepts,
        images={attempt_of(image): image for image in tree.images},
        critiques={critique.image: critique for critique in tree.critiques},
        evaluations_per_drawing=tree.evaluations_per_drawing,
    )


def _record_of_run(run: RecordedRun, budget: BudgetChange) -> Record:
    seen = run.population(run.rounds[-1])
    first = min(seen.images.values(), key=lambda image: image.id)
    return Record(
        seed=run.started.seed,
        budget=budget.on(run.started.budget),
        concepts=seen.concepts,
        images={attempt_of(image): image for image in seen.images.values()},
        critiques=seen.critiques,
        evaluations_per_drawing=first.evaluations + first.spared or None,
        advice=seen.advice,
    )


def _outcome(walked: Walk, judged: dict[str, Critique]) -> tuple[str | None, Score | None, str]:
    best, population = walked.best, walked.population
    if best is None or population is None:
        return None, None, walked.off
    chosen, spend = walked.recorded[best.id], population.spend
    judge = judged[chosen].score if chosen in judged else None
    return chosen, Score(population.critiques[best.id].score, judge, spend.evaluations, spend.images), ""


def _difference(run: RecordedRun, walked: Walk) -> tuple[int | None, str]:
    """The first round after which it differs from the run, and what it does there."""
    drawn = {attempt_of(image) for image in run.images.values() if image.round == 0}
    if set(walked.drawings) != drawn:
        return -1, f"it begins with {len(walked.drawings)} drawing(s)"
    ways = dict(_ways(run))
    for round, decisions in walked.decided.items():
        if _way(decisions) != ways.get(round, {}):
            return round, "; ".join(f"{d.image}: {d.action} ({d.rule})" for d in decisions)
    return None, ""


def _ways(run: RecordedRun) -> Iterator[tuple[int, Way]]:
    """What the run asked for after each round."""
    for round in run.rounds:
        before = run.population(round).decisions
        after = run.population(round + 1).decisions if round + 1 in run.rounds else run.decisions
        yield round, _way([decision for id, decision in after.items() if id not in before])


def _way(decisions: list[Decision]) -> Way:
    return {d.image: tuple(attempts_in(d).values()) for d in decisions if d.action != "stop"}
