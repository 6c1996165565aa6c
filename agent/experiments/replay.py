"""What another policy would have done with recorded runs: its own run, with roles that only answer from the record."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import cast

from ...state import Advice, Attempt, Budget, ConceptGraph, Critique, Decision, ImageRecord, Population, RunState
from ...tools.blocking import blocking
from ...tools.errors import DetailScribeError, SettingsError
from ...tools.files import Store
from ...tools.roles import Asker, Progress
from ..evaluation.statistics import mean_interval, proportion_interval
from ..evaluation.tables import Cell, Table
from ..graph.context import Context, population_of
from ..graph.graph import build_graph, recursion_limit
from ..graph.judge import decide
from ..policies import Advised, Exhaustive, Policy
from ..policies.lineage import Identity, identities_of, identity
from ..records.reader import RecordedRun, read_run, runs_in
from .measures import Frame
from .rows import JUDGED, Row, read_rows
from .spec import changed_budget
from .summary import table_of


class NotRecorded(DetailScribeError):
    """A policy asks for what the record does not hold; the message names it."""


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
    """One recorded run, judged by another policy as far as the record reaches."""

    name: str
    """Of the run."""
    prompt: str
    recorded: Score | None
    """Of the run; None where it is exhaustive, and nothing was chosen in it."""
    differs: int | None
    """The first round after which the policy would have decided otherwise than the run, -1 for the first drawings;
    None where it would have done the same, and for an exhaustive run."""
    reason: str
    """What it would have done there; empty where nothing differs."""
    best: str | None
    """Image of the record that it would have chosen; None where it asks for what was never made."""
    score: Score | None
    """Of this one."""
    missing: str
    """What it asks for that the record does not hold; empty where the record reaches to its end."""


async def areplay(folder: Path, policy: Policy, budget: Budget | None = None) -> list[Replayed]:
    """Judge every exhaustive run in a folder again, or else every run; ``SettingsError`` if no round was looked at.

    The policy has a run of its own, through the same graph, whose images and critiques come from the record: wherever
    an image was made that it asks for, by whatever decision, it goes on. So a run that tried more lets more policies be
    scored, and an exhaustive one all that ask for nothing beyond its bounds. Bounds that are set in ``budget`` replace
    the recorded ones.
    """
    found = [run for run in map(read_run, runs_in(folder)) if run.rounds]
    if not found:
        raise SettingsError(f"{folder} holds no run of which a round was looked at")
    trees = list(filter(is_exhaustive, found))
    results = {run.folder.parent.parent for run in trees}
    rows = {path / row.folder: row for path in results for row in read_rows(path / JUDGED) if row.folder is not None}
    return [await replay_run(run, policy, budget or Budget(), rows.get(run.folder)) for run in trees or found]


replay = blocking(areplay)


def is_exhaustive(run: RecordedRun) -> bool:
    """Whether a run was recorded for other policies to be replayed on."""
    return run.started.policy.startswith(f"{Exhaustive.__name__}(")


async def replay_run(run: RecordedRun, policy: Policy, change: Budget, row: Row | None = None) -> Replayed:
    """Judge one run again, as far as its record reaches, with the bounds in ``change`` in place of the recorded ones.

    On an exhaustive run, no more rounds are replayed than were recorded, and its ``row`` says what the judge said and
    the budget of its experiment, if it has one.
    """
    _ = run.manifest  # by which the graph knows the folder as the run's own
    began, is_tree, record = run.started.budget, is_exhaustive(run), _Record(run)
    budget = changed_budget(began if row is None else row.budget, change)
    if is_tree:
        budget = budget.model_copy(update={"rounds": min(budget.rounds, began.rounds)})
    context = Context(
        decomposer=record,
        diffusion=record,
        critic=record,
        policy=_RecordedAdvice(policy, run) if isinstance(policy, Advised) else policy,
        store=Store(run.folder),
        budget=budget,
        chat=cast(Asker, record),  # asked by nobody, since ``_RecordedAdvice`` answers
    )
    state, seen, missing = cast(RunState, {}), list[Population](), ""
    try:
        async for found in build_graph().astream(
            {"prompt": run.prompt, "seed": run.started.seed},
            {"recursion_limit": recursion_limit(budget), "configurable": {"thread_id": run.started.run}},
            context=context,
            stream_mode="values",
        ):
            state = cast(RunState, found)
            if state.get("images") and state.get("critiques", {}).keys() == state["images"].keys():
                seen.append(population_of(state, budget))
    except NotRecorded as error:
        missing = str(error)
    best, score = None, None
    if state.get("best"):
        seen.pop()  # at the end, the last one is seen twice
        best, spend = record.recorded[state["best"]], seen[-1].spend
        judged = next((i.judge for i in row.images if i.id == best), None) if row is not None else None
        judge = None if not judged else sum(answer == "pass" for answer in judged.values()) / len(judged)
        score = Score(state["critiques"][state["best"]].score, judge, spend.evaluations, spend.images)
    if is_tree:
        return Replayed(run.run, run.prompt, None, None, "", best, score, missing)
    differs, reason = _difference(run, state.get("images", {}), seen, context.policy)
    critic = 0.0 if run.best is None else run.critiques[run.best.id].score
    recorded = Score(critic, None, run.spend.evaluations, run.spend.images)
    return Replayed(run.run, run.prompt, recorded, differs, reason, best, score, missing)


class _Record:
    """Decomposer, diffusion and critic of a recorded run: they answer what the run holds, and nothing else."""

    def __init__(self, run: RecordedRun) -> None:
        seen = run.population(run.rounds[-1])
        self._concepts, self._critiques = seen.concepts, seen.critiques
        self._images = {identity(image, image): image for image in seen.images.values()}
        self._first = min(seen.images.values(), key=lambda image: image.id)
        self._missing: list[str] = []
        self.recorded: dict[str, str] = {}
        """Id in the record, by id in the run that asks."""
        if cost := self._first.evaluations + self._first.spared:
            self.evaluations_per_drawing = cost

    async def decompose(self, prompt: str) -> ConceptGraph:
        """The recorded concepts."""
        return self._concepts

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """The recorded image, in its place in the run that asks, with the steps kept that it wants kept.

        What is not recorded is noted, and the first image stands in until all of the round were asked for: then
        ``critique`` ends the run.
        """
        image = self._recorded(attempt, source or self._first)
        if image is None:
            self._missing.append(_named(attempt))
            asked_for = attempt.model_dump(include={"prompt", "seed", "operator", "start_step", "stop_step"})
            image = self._first.model_copy(update=asked_for | {"latent": None})
        self.recorded[attempt.id or ""] = image.id
        last = image.steps if image.stop_step is None else image.stop_step
        kept = {k for k in attempt.keep_steps or () if k <= last} if image.latent is not None else set[int]()
        kept |= {last} if image.stop_step is not None else set[int]()
        place = {"id": attempt.id, "round": attempt.round, "parent": attempt.parent, "origin": attempt.origin}
        trajectory = {k: image.trajectory.get(k, "") for k in sorted(kept)}
        return image.model_copy(update=place | {"trajectory": trajectory, "digest": ""})

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """What the critic said of the recorded image; ``NotRecorded`` if one of its round was never made."""
        if image.origin == "look":  # for which nothing is drawn
            found = self._recorded(attempt := image.attempt(), image)
            self._missing += [] if found else [_named(attempt)]
            self.recorded[image.id] = found.id if found else ""
        if self._missing:
            first, *others = self._missing
            raise NotRecorded(first + (f" and {len(others)} more" if others else ""))
        return self._critiques[self.recorded[image.id]].model_copy(update={"image": image.id})

    def _recorded(self, attempt: Attempt, like: ImageRecord) -> ImageRecord | None:
        source = attempt.source and self.recorded[attempt.source]
        return self._images.get(identity(attempt.model_copy(update={"source": source}), like))


class _RecordedAdvice:
    """A policy that asks a chat model, with the answers that the record holds."""

    chat: Asker | None = None

    def __init__(self, policy: Policy, run: RecordedRun) -> None:
        self.plan, self.judge = policy.plan, policy.judge
        self._advice = {advice.round: advice for advice in run.advice}

    async def advise(self, population: Population, chat: Asker) -> Advice:
        if population.round not in self._advice:
            raise NotRecorded("an answer of a chat model")
        return self._advice[population.round]


def _named(attempt: Attempt) -> str:
    """An attempt in a few words."""
    if attempt.operator == "look":
        return f"another look at {attempt.source}"
    if attempt.source is not None:
        return f"a refinement of {attempt.source} by {attempt.operator} from step {attempt.start_step}"
    what = "a first drawing" if attempt.parent is None else f"a reseed of {attempt.parent}"
    return f"{what}, a preview to step {attempt.stop_step}" if attempt.stop_step else f"{what}, seed {attempt.seed}"


def _difference(
    run: RecordedRun, images: Mapping[str, ImageRecord], seen: Sequence[Population], policy: Policy
) -> tuple[int | None, str]:
    """The first round after which the policy differs from the run, and what it does there."""
    drawn, wanted = (
        {identity(image, image) for image in made.values() if image.round == 0} for made in (run.images, images)
    )
    if wanted != drawn:
        return -1, f"it begins with {len(wanted)} drawing(s)"
    for population in seen:
        round, decisions = population.round, decide(population, policy)
        if round not in run.rounds:
            break
        before = run.population(round)
        after = run.population(round + 1).decisions if round + 1 in run.rounds else run.decisions
        asked = [decision for id, decision in after.items() if id not in before.decisions]
        if _work(decisions, population) != _work(asked, before):
            return round, "; ".join(f"{d.image}: {d.action} ({d.rule})" for d in decisions)
    return None, ""


def _work(decisions: Sequence[Decision], population: Population) -> dict[str, list[Identity]]:
    """What is asked for, by image; images on which work stops are not in it."""
    return {d.image: identities_of(d, population) for d in decisions if d.attempts}


def each(found: Sequence[Replayed], most: int) -> Table:
    """Every run by itself, those first on which the policy asks for what is not recorded."""
    lines: list[dict[str, Cell]] = []
    for one in sorted(found, key=lambda one: not one.missing)[:most]:
        line: dict[str, Cell] = {"tree": one.name, "its best": one.best}
        if one.recorded is not None:
            place = "-" if one.differs is None else "at first" if one.differs < 0 else f"round {one.differs}"
            line = {"run": one.name, "differs": place, "it would": one.reason or "the same", "its best": one.best}
            line["recorded"] = one.recorded.critic
        line["critic"] = one.score and one.score.critic
        line |= {} if one.recorded is not None else {"judge": one.score and one.score.judge}
        line |= {"evaluations": one.score and str(one.score.evaluations)}
        lines.append(line | {"asks for what is not recorded": one.missing or "-"})
    rest = f"{len(found) - most} more are not listed." if len(found) > most else ""
    return table_of("Judged again", lines, dict.fromkeys(("recorded", "critic", "judge"), "share"), rest)


def totals(found: Sequence[Replayed]) -> Table:
    """The policy over all exhaustive runs that it can be scored on; prompts are the unit."""
    from pandas import DataFrame

    scored = [{"prompt": one.prompt, **asdict(one.score)} for one in found if one.score is not None]
    scores: Frame = DataFrame(scored, columns=["prompt", "critic", "judge", "evaluations", "images"])
    count, left = len(found), len(found) - len(scores)
    line: dict[str, Cell] = {"scored": str(len(scores)), "left": str(left)}
    known = list[int]()
    for eyes in ("judge", "critic"):
        seen = scores[["prompt", eyes]].dropna().astype({eyes: float})
        known += [int(seen[eyes].eq(1).sum())] if len(seen) else []
        right = seen[eyes].eq(1).astype(float).groupby(seen["prompt"], sort=False)
        line[f"all correct, {eyes}"] = proportion_interval(right.mean().tolist())
        line[f"checks, {eyes}"] = mean_interval(seen.groupby("prompt", sort=False)[eyes].mean().tolist())
    styles = dict.fromkeys(line, "share") | dict.fromkeys(("scored", "left"), "text")
    for name in ("evaluations", "images"):
        line[name] = float(scores.groupby("prompt")[name].mean().mean()) if len(scores) else None
        styles[name] = "number"
    if not left:
        reach = "It never left a tree: these are the figures of its own runs."
    elif left == count:
        reach = "It asked everywhere for what the trees do not hold; record them with wider bounds."
    else:
        reach = (
            f"Of {left} trees it asked for what they do not hold, as a rule the hard ones: over all, between "
            f"{100 * known[0] / count:.1f}% and {100 * (known[0] + left) / count:.1f}% come out all correct. "
            "Record them with wider bounds to know."
        )
    return table_of(f"On {count} trees", [line], styles, reach)


def in_words(found: Sequence[Replayed]) -> str:
    """What came of runs, in one sentence."""
    known = [(one.recorded, one.score) for one in found if one.recorded is not None and one.score is not None]
    same = sum(one.differs is None for one in found)
    text = f"{same} of {len(found)} runs would have gone the same way; {len(known)} can be scored from the record"
    if not known:
        return f"{text}."
    recorded, score = (mean(pair[side].critic for pair in known) for side in (0, 1))
    spent = sum(ours.evaluations - theirs.evaluations for theirs, ours in known)
    return f"{text}: {100 * score:.1f}% of checks where {100 * recorded:.1f}% were, with {spent:+d} evaluations."
