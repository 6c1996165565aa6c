"""Runs an experiment: runs that ended before are kept, the others are made, and every image is judged once."""

import asyncio
import copy
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...state import Critique, RunResult, derive_seed
from ...tools.blocking import blocking
from ...tools.errors import SettingsError, typed
from ...tools.files import JsonLines, Store, content_hash, mend_lines
from ...tools.roles import Critic, model_name, ready
from ..batch.batch import RUNS, check_concurrency, perform_jobs, run_job
from ..batch.folder import Ledger
from ..batch.jobs import Job
from ..graph.checkpoints import CACHE, TaskCache
from ..graph.tasks import about
from ..policies import Exhaustive, policy_name
from ..records.reader import RESULT, Run
from ..records.rows import RESULTS, digest
from ..records.rows import Row as BatchRow
from ..records.rows import read_rows as read_batch_rows
from ..runs.folder import LOCK, slug
from ..settings.models import Models, make_critic
from ..settings.settings import Settings
from .load import Experiment, Variant
from .rows import JUDGED, Row, read_rows, with_result
from .spec import CriticSettings, JudgeSettings

if TYPE_CHECKING:
    from ...tools.metrics.local import Lpips

AT_ONCE = 4
"""Runs whose images are judged side by side."""
OnPlan = Callable[[list[Job], list[Row]], object]


@dataclass(frozen=True)
class ExperimentModels:
    """The models of an experiment, loaded once."""

    models: Models
    """Of its runs."""
    judge: Critic | None
    """None where the critic's word is taken."""


def make_judge(chosen: JudgeSettings, settings: Settings) -> Critic | None:
    """The judge; None where the critic's word is taken; ``ModelError`` if it cannot be loaded, or lacks a key."""
    if chosen.kind == "critic":
        return None
    if chosen.kind == "embedded":
        from ...tools.world.critic import EmbeddedJudge

        return EmbeddedJudge()
    # A critic over the named model, with the limits of ``chat``; the settings' key goes only to their own server.
    server: dict[str, object] = {"model": chosen.model}
    if chosen.url is not None:
        server |= {"url": chosen.url, "key": settings.vision.key if chosen.url == settings.vision.url else None}
    vision = settings.vision.model_copy(update=server)
    chat = settings.chat.model_copy(update={"model": settings.chat.model or chosen.model})
    settings = settings.model_copy(update={"chat": chat, "vision": vision})
    return make_critic(settings, Models(settings).vision)


async def load_models(experiment: Experiment) -> ExperimentModels:
    """The models that an experiment names; ``DetailScribeError`` where one cannot be used."""
    models = Models(experiment.settings.settings)
    judge = make_judge(experiment.spec.judge, experiment.settings.settings)
    await models.check()
    return ExperimentModels(models, judge)


@typed
async def arun_experiment(
    experiment: Experiment,
    folder: Path,
    models: ExperimentModels | None = None,
    *,
    prompts: int | None = None,
    concurrency: int = 16,
    keep_all: bool = False,
    lpips: Path | None = None,
    on_plan: OnPlan | None = None,
    on_row: Callable[[Row], object] | None = None,
) -> list[Row]:
    """Make the runs that are missing in ``folder``, judge what is not judged, and return all rows of the experiment.

    A kill at any moment loses no run that had ended: to call it again goes on, and runs that failed are made again. A
    run counts as done only while all that decides about it is the same, models included; what an older file asked for
    stays on the disk and out of the rows. Equal images are drawn once, whichever variants ask for them, and equal
    questions are asked once.

    Args:
        experiment: What to run.
        folder: Of the results; made where it is absent.
        models: By default those that the experiment names.
        prompts: Only so many of its prompts.
        concurrency: Runs in flight.
        keep_all: Whether the run folders keep latents and reports, which take most of the room.
        lpips: Weights of LPIPS; refinements then have their distance to what they were refined from.
        on_plan: Called once with all runs and the rows of those that are done.
        on_row: Called with each new row.

    Raises:
        SettingsError: the folder is in use, or holds something else.
        ModelError: a model cannot be used by any run, or the weights of LPIPS are others.
    """
    from ...tools.metrics.local import Lpips

    check_concurrency(concurrency)
    network = None if lpips is None else Lpips(lpips)
    models = models or await load_models(experiment)
    by_variant = await _models_of_variants(experiment, models.models)
    planned = plan(experiment, by_variant, prompts)
    by_job = {job.id: by_variant[str(job.tags["label"])] for job in planned}
    jobs = {job.id: job for job in planned}
    try:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot write to the folder {folder}: {error.strerror}") from error
    if {*os.listdir(folder)} - {LOCK} and RESULTS not in os.listdir(folder):
        raise SettingsError(f"{folder} is not empty and holds no experiment: name another --out")
    with (
        Ledger(folder, forget_failed=True) as ledger,
        closing(TaskCache(folder / CACHE, _settings(experiment))) as cache,
    ):

        async def perform(job: Job, run_folder: Path) -> Run:
            models = by_job[job.id]
            return await run_job(job, run_folder, experiment.settings, models, cache=cache, shared=folder / RUNS)

        judging = Judging(folder, experiment, planned, models.judge, cache, keep_all, on_row, network)
        try:
            if on_plan is not None:
                on_plan(planned, judging.rows())
            for ended in read_batch_rows(folder):
                judging.take(ended)
            ledger.plan(jobs.values())
            await perform_jobs(jobs.values(), perform, ledger, concurrency=concurrency, on_row=judging.take)
        finally:
            await judging.end()
    return judging.rows()


run_experiment = blocking(arun_experiment)


def exhaustive(experiment: Experiment) -> Experiment:
    """The same prompts and seeds with one variant: the exhaustive policy, on whose runs others can be replayed."""
    tree, budget = experiment.spec.tree, experiment.spec.budget
    recording = Variant("exhaustive", "exhaustive", tree, budget, CriticSettings(), "exhaustive")
    return replace(experiment, variants=(recording,))


def plan(experiment: Experiment, models: Mapping[str, Models], prompts: int | None = None) -> list[Job]:
    """Every run, all variants of a prompt together, so that what a stopped experiment has done can be compared.

    ``models`` are those of each variant, loaded, by its label.
    """
    settings, names = _settings(experiment), dict[str, str]()
    for variant in experiment.variants:
        roles = [models[variant.label].names[role] for role in ("decomposer", "diffusion", "critic")]
        parts = (policy_name(variant.resolved), variant.budget.model_dump_json(), *roles, settings)
        names[variant.label] = digest("\0".join(parts))  # of all that determines a run but prompt and seed
    return [
        Job(
            id=f"{slug(variant.policy)}-{slug(text)}-{digest(text)[:4]}-s{seed}-{names[variant.label]}",
            prompt=text,
            seed=derive_seed(seed, "experiment", text),  # the same for all variants, another for every prompt
            policy=policy,
            budget=policy.budget if isinstance(policy, Exhaustive) else variant.budget,
            tags={"label": variant.label, "scenario": prompt.scenario, "seed": seed},
        )
        for prompt in experiment.prompts[:prompts]
        for seed in experiment.spec.seeds
        for variant in experiment.variants
        for text, policy in [(prompt.text, variant.resolved)]
    ]


def _settings(experiment: Experiment) -> str:
    """Hash of those that images and verdicts follow from, and of the user's own templates."""
    settings = experiment.settings.settings
    folder = settings.chat.templates
    templates = [] if folder is None else [(file.name, file.read_text()) for file in sorted(folder.glob("*.txt"))]
    return content_hash(settings.facts(), templates)


async def _models_of_variants(experiment: Experiment, models: Models) -> dict[str, Models]:
    """Loaded models by variant: the critic is that of the settings, as the variant has it."""
    await ready(models.critic)  # first, since it loads faster
    await ready(models.decomposer)
    await ready(models.diffusion)
    made: dict[str, Models] = {}
    for variant in experiment.variants:
        critic = variant.critic.applied(await ready(models.critic))
        known = next((own for own in made.values() if own.critic == critic), None)
        own = known or copy.copy(models)
        own.critic = critic
        made[variant.label] = own
    return made


class Judging:
    """Judges the runs of an experiment as they end, and writes their rows; variants that plan one run share it.

    A run that failed in an earlier start has no row here, since it is run again. Latents and reports of runs that are
    not kept whole are removed when all runs of a prompt and seed are judged, since until then these may take images
    from each other.
    """

    def __init__(
        self,
        folder: Path,
        experiment: Experiment,
        planned: Iterable[Job],
        judge: Critic | None,
        cache: TaskCache,
        keep_all: bool,
        on_row: Callable[[Row], object] | None,
        network: "Lpips | None",
    ) -> None:
        self._store, self._judge, self._cache = Store(folder), judge, cache
        self._budgets = {variant.label: variant.budget for variant in experiment.variants}
        self._judge_name = None if judge is None else model_name(judge)
        self._keep_all, self._on_row, self._network = keep_all, on_row, network
        self._places, self._tasks = asyncio.Semaphore(AT_ONCE), list[asyncio.Task[None]]()
        self._planned: dict[str, list[Job]] = defaultdict(list)
        self._groups: dict[tuple[str, int], set[str]] = defaultdict(set)
        for job in planned:
            self._planned[job.id].append(job)
            self._groups[job.prompt, job.seed].add(job.id)
        mend_lines(folder / JUDGED, Row)
        self._lines = JsonLines(folder / JUDGED)
        ended = {row.id for row in read_batch_rows(folder)}  # others are run again
        kept = (row for row in read_rows(folder / JUDGED) if row.judge == self._judge_name and row.error is None)
        measured = (row for row in kept if network is None or row.lpips == network.model)
        self._rows = {row.job: row for row in measured if row.job in self._planned and row.job in ended}

    def rows(self) -> list[Row]:
        """Those of the experiment, in its order and under the labels that its variants have now."""
        return [row for id in self._planned if id in self._rows for row in self._shared(self._rows[id])]

    def take(self, ended: BatchRow) -> None:
        """Begin to judge a run that ended, unless that was done before."""
        if ended.id in self._planned and ended.id not in self._rows:
            self._tasks.append(asyncio.create_task(self._finish(ended)))

    async def end(self) -> None:
        """Wait until everything taken is judged; the first error is raised."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._lines.close()
        for task in self._tasks:
            task.result()

    def _shared(self, row: Row) -> list[Row]:
        """The row of a run under the label of each variant that comes to it."""
        return [row.model_copy(update=dict(job.tags)) for job in self._planned[row.job]]

    async def _finish(self, ended: BatchRow) -> None:
        job, *_ = self._planned[ended.id]
        known = {"job": ended.id, "prompt": ended.prompt, "judge": self._judge_name, "folder": ended.run}
        known |= {"error": f"{ended.error}: {ended.message}" if ended.status == "failed" else None}
        row = Row.model_validate(known | dict(job.tags) | {"budget": self._budgets[str(job.tags["label"])]})
        if row.error is None:
            async with self._places:
                row = await self._judged(row)
        self._rows[row.job] = row
        self._clean(self._groups[job.prompt, job.seed])  # before the row, which says that nothing is left to do
        self._lines.append(row.model_dump_json())
        if self._on_row is not None:
            for shared in self._shared(row):
                self._on_row(shared)

    async def _judged(self, row: Row) -> Row:
        store, judge, judged = Store(self._store.path(row.folder or "")), self._judge, dict[str, Critique]()
        result = RunResult.model_validate_json(store.read(RESULT))
        if judge is not None:
            for image in [i for i in result.images if i.is_whole] or result.images:
                key = content_hash("judge", *about(image, result.concepts, judge, store))
                judged[image.id] = await self._cache.once(key, partial(judge.critique, image, result.concepts, store))
        return await asyncio.to_thread(with_result, row, result, judged, store, self._network)

    def _clean(self, ids: set[str]) -> None:
        """Remove what is not kept of the runs of a prompt and seed, if this was the last of them."""
        if self._keep_all or not ids <= self._rows.keys():
            return
        for folder in (self._rows[id].folder for id in ids):
            if folder is not None:
                shutil.rmtree(self._store.path(f"{folder}/latents"), ignore_errors=True)
                self._store.path(f"{folder}/report.html").unlink(missing_ok=True)
