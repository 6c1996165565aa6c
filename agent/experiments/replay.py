"""Replays recorded runs by another policy: a run of its own, whose roles only answer from the record."""

from collections.abc import Iterable, Mapping, Sequence
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
from .measures import Frame, by_prompt
from .measures import score as share_passed
from .rows import ExperimentRow, rows_by_run
from .spec import changed_budget
from .summary import table_of


class NotRecorded(DetailScribeError):
    """A policy asks for what was not recorded; the message names it."""


@dataclass(frozen=True)
class ReplayScore:
    """Quality and cost of a run."""

    critic: float
    """Share of checks that the critic passes on the chosen image, in [0, 1]."""
    judge: float | None
    """The same for the judge; None without one."""
    evaluations: int
    images: int


@dataclass(frozen=True)
class Replayed:
    """One recorded run, replayed by another policy as far as the record reaches."""

    name: str
    """Of the run."""
    prompt: str
    recorded: ReplayScore | None
    """Of the run; None where it is exhaustive, since it chose nothing."""
    differs: int | None
    """The first round after which the policy decides differently, -1 for the first drawings; None where it decides
    alike, and for an exhaustive run."""
    reason: str
    """What it does there; empty where nothing differs."""
    best: str | None
    """The recorded image that it chooses; None where it asks for what was not recorded."""
    score: ReplayScore | None
    """Of the replay; None like ``best``."""
    missing: str
    """What it asks for that was not recorded; empty where the replay reaches its end."""


async def areplay(folder: Path, policy: Policy, budget: Budget | None = None) -> list[Replayed]:
    """Replay every exhaustive run in a folder, or every run if none is; ``SettingsError`` if none has critiques.

    The policy has a run of its own through the same graph, whose images and critiques come from the record. It
    continues as long as every image that it asks for was recorded, whatever decision led to it. So an exhaustive run
    can score all policies that stay within its bounds. Bounds that are set in ``budget`` replace the recorded ones.
    """
    runs = [run for run in map(read_run, runs_in(folder)) if run.rounds]
    if not runs:
        raise SettingsError(f"{folder} holds no run with a critique")
    trees = list(filter(is_exhaustive, runs))
    rows = rows_by_run(trees)
    return [await replay_run(run, policy, budget or Budget(), rows.get(run.folder)) for run in trees or runs]


replay = blocking(areplay)


def is_exhaustive(run: RecordedRun) -> bool:
    """Whether a run was recorded for other policies to be replayed on."""
    return run.started.policy.startswith(f"{Exhaustive.__name__}(")


async def replay_run(run: RecordedRun, policy: Policy, change: Budget, row: ExperimentRow | None = None) -> Replayed:
    """Replay one run as far as its record reaches, with the bounds that are set in ``change`` instead of the recorded.

    On an exhaustive run, no more rounds are replayed than were recorded; its ``row``, if it has one, holds the judge's
    answers and the budget of its experiment.
    """
    _ = run.manifest  # raises if the folder is no run of this version
    record, recorded = _Record(run), run.started.budget
    budget = changed_budget(recorded if row is None else row.budget, change)
    if is_exhaustive(run):
        budget = budget.model_copy(update={"rounds": min(budget.rounds, recorded.rounds)})
    context = Context(
        decomposer=record,
        diffusion=record,
        critic=record,
        policy=_RecordedAdvice(policy, run) if isinstance(policy, Advised) else policy,
        store=Store(run.folder),
        budget=budget,
        chat=cast(Asker, record),  # never asked, because ``_RecordedAdvice`` answers
    )
    state, populations, missing = cast(RunState, {}), list[Population](), ""
    try:
        async for values in build_graph().astream(
            {"prompt": run.prompt, "seed": run.started.seed},
            {"recursion_limit": recursion_limit(budget), "configurable": {"thread_id": run.started.run}},
            context=context,
            stream_mode="values",
        ):
            state = cast(RunState, values)
            if state.get("images") and state.get("critiques", {}).keys() == state["images"].keys():
                populations.append(population_of(state, budget))
    except NotRecorded as error:
        missing = str(error)
    best, score = None, None
    if state.get("best"):
        populations.pop()  # the last one comes twice
        best, spend = record.ids[state["best"]], populations[-1].spend
        image = next((i for i in row.images if i.id == best), None) if row is not None else None
        judge = share_passed(image) if image and image.judge else None
        score = ReplayScore(state["critiques"][state["best"]].score, judge, spend.evaluations, spend.images)
    if is_exhaustive(run):
        return Replayed(run.run, run.prompt, None, None, "", best, score, missing)
    differs, reason = _difference(run, state.get("images", {}), populations, context.policy)
    critic = 0.0 if run.best is None else run.critiques[run.best.id].score
    own = ReplayScore(critic, None, run.spend.evaluations, run.spend.images)
    return Replayed(run.run, run.prompt, own, differs, reason, best, score, missing)


class _Record:
    """Decomposer, diffusion model and critic of a recorded run, which answer from its record alone."""

    def __init__(self, run: RecordedRun) -> None:
        population = run.population(run.rounds[-1])
        self._concepts, self._critiques = population.concepts, population.critiques
        self._images = {identity(image, image): image for image in population.images.values()}
        self._first = min(population.images.values(), key=lambda image: image.id)
        self._missing: list[str] = []
        self.ids: dict[str, str] = {}
        """Id in the record, by id in the replay."""
        if cost := self._first.evaluations + self._first.spared:
            self.evaluations_per_drawing = cost

    async def decompose(self, prompt: str) -> ConceptGraph:
        return self._concepts

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """The recorded image, with the lineage and the kept steps of the attempt.

        For an image that was not recorded, the first image is a placeholder until the round is drawn; then ``critique``
        ends the replay with everything that is missing.
        """
        image = self._recorded(attempt, source or self._first)
        if image is None:
            self._missing.append(_named(attempt))
            asked_for = attempt.model_dump(include={"prompt", "seed", "operator", "start_step", "stop_step"})
            image = self._first.model_copy(update=asked_for | {"latent": None})
        self.ids[attempt.id or ""] = image.id
        last = image.steps if image.stop_step is None else image.stop_step
        kept = {k for k in attempt.keep_steps or () if k <= last} if image.latent is not None else set[int]()
        kept |= {last} if image.stop_step is not None else set[int]()
        place = {"id": attempt.id, "round": attempt.round, "parent": attempt.parent, "origin": attempt.origin}
        trajectory = {k: image.trajectory.get(k, "") for k in sorted(kept)}
        return image.model_copy(update=place | {"trajectory": trajectory, "digest": ""})

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The recorded critique; ``NotRecorded`` if an image of its round was not recorded."""
        if image.origin == "look":  # for which nothing is drawn
            look = self._recorded(attempt := image.attempt(), image)
            self._missing += [] if look else [_named(attempt)]
            self.ids[image.id] = look.id if look else ""
        if self._missing:
            first, *others = self._missing
            raise NotRecorded(first + (f" and {len(others)} more" if others else ""))
        return self._critiques[self.ids[image.id]].model_copy(update={"image": image.id})

    def _recorded(self, attempt: Attempt, like: ImageRecord) -> ImageRecord | None:
        source = attempt.source and self.ids[attempt.source]
        return self._images.get(identity(attempt.model_copy(update={"source": source}), like))


class _RecordedAdvice:
    """A policy that asks a chat model, with the recorded answers."""

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
    run: RecordedRun, images: Mapping[str, ImageRecord], populations: Sequence[Population], policy: Policy
) -> tuple[int | None, str]:
    """The first round after which the policy decides differently, and what it decides."""

    def work(decisions: Iterable[Decision], population: Population) -> dict[str, list[Identity]]:
        return {d.image: identities_of(d, population) for d in decisions if d.attempts}

    drawn, wanted = (
        {identity(image, image) for image in made.values() if image.round == 0} for made in (run.images, images)
    )
    if wanted != drawn:
        return -1, f"it begins with {len(wanted)} drawing(s)"
    for population in populations:
        round, decisions = population.round, decide(population, policy)
        if round not in run.rounds:
            break
        before = run.population(round)
        after = run.population(round + 1).decisions if round + 1 in run.rounds else run.decisions
        asked = [decision for id, decision in after.items() if id not in before.decisions]
        if work(decisions, population) != work(asked, before):
            return round, "; ".join(f"{d.image}: {d.action} ({d.rule})" for d in decisions)
    return None, ""


def each(replays: Sequence[Replayed], most: int) -> Table:
    """A line for each run, those first on which the policy asks for what was not recorded."""
    lines = list[Mapping[str, Cell]]()
    for replay in sorted(replays, key=lambda replay: not replay.missing)[:most]:
        score, recorded = replay.score, replay.recorded
        critic, evaluations = (score.critic, str(score.evaluations)) if score else (None, None)
        if recorded is None:
            judge = score and score.judge
            line = {"tree": replay.name, "its best": replay.best, "critic": critic, "judge": judge}
        else:
            place = "-" if replay.differs is None else "at first" if replay.differs < 0 else f"round {replay.differs}"
            line = {"run": replay.name, "differs": place, "it would": replay.reason or "the same"}
            line |= {"its best": replay.best, "recorded": recorded.critic, "critic": critic}
        lines.append(line | {"evaluations": evaluations, "asks for what is not recorded": replay.missing or "-"})
    rest = f"{len(replays) - most} more are not listed." if len(replays) > most else ""
    return table_of("Judged again", lines, dict.fromkeys(("recorded", "critic", "judge"), "share"), rest)


def totals(replays: Sequence[Replayed]) -> Table:
    """The policy over all exhaustive runs that it can be scored on; prompts are the unit."""
    from pandas import DataFrame

    scored = [{"prompt": replay.prompt, **asdict(replay.score)} for replay in replays if replay.score is not None]
    scores: Frame = DataFrame(scored, columns=["prompt", "critic", "judge", "evaluations", "images"])
    count, left = len(replays), len(replays) - len(scores)
    line: dict[str, Cell] = {"scored": str(len(scores)), "left": str(left)}
    correct = list[int]()
    for observer in ("judge", "critic"):
        runs = scores[["prompt", observer]].dropna().astype({observer: float})
        runs["correct"] = runs[observer].eq(1).astype(float)
        correct += [int(runs["correct"].sum())] if len(runs) else []
        line[f"all correct, {observer}"] = proportion_interval(by_prompt(runs, "correct"))
        line[f"checks, {observer}"] = mean_interval(by_prompt(runs, observer))
    styles = dict.fromkeys(line, "share") | dict.fromkeys(("scored", "left"), "text")
    for name in ("evaluations", "images"):
        line[name] = float(scores.groupby("prompt")[name].mean().mean()) if len(scores) else None
        styles[name] = "number"
    if not left:
        reach = "It never left a tree: these are the figures of its own runs."
    elif left == count:
        reach = "It asked everywhere for what the trees do not hold; record them with wider bounds."
    else:
        low, high = (f"{100 * n / count:.1f}%" for n in (correct[0], correct[0] + left))
        reach = (
            f"Of {left} trees it asked for what they do not hold, as a rule the hard ones: over all, between {low} and "
            f"{high} come out all correct. Record them with wider bounds to know."
        )
    return table_of(f"On {count} trees", [line], styles, reach)


def in_words(replays: Sequence[Replayed]) -> str:
    """A summary of replayed runs in one sentence."""
    scored = [(r.recorded, r.score) for r in replays if r.recorded is not None and r.score is not None]
    same = sum(replay.differs is None for replay in replays)
    text = f"{same} of {len(replays)} runs would have gone the same way; {len(scored)} can be scored from the record"
    if not scored:
        return f"{text}."
    recorded, score = (mean(pair[side].critic for pair in scored) for side in (0, 1))
    spent = sum(ours.evaluations - theirs.evaluations for theirs, ours in scored)
    return f"{text}: {100 * score:.1f}% of checks where {100 * recorded:.1f}% were, with {spent:+d} evaluations."
