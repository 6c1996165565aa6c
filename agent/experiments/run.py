"""Runs an experiment: finished runs are kept, the others run, and every image is judged once."""

import asyncio
import copy
import os
import shutil
from asyncio import Task
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ...state import ConceptGraph, Critique, ImageRecord, RunResult, derive_seed
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
from ..records.rows import RESULTS, Row, digest, read_rows
from ..runs.folder import LOCK, slug
from ..settings.models import Models, make_critic
from ..settings.settings import Settings
from .load import Experiment, Variant
from .rows import JUDGED, ExperimentRow, read_experiment_rows, with_result
from .spec import CriticSettings, JudgeSettings

if TYPE_CHECKING:
    from ...tools.metrics.local import Lpips

AT_ONCE = 4
"""Runs whose images are judged side by side."""


def make_judge(chosen: JudgeSettings, settings: Settings) -> Critic | None:
    """The judge; None where the critic measures too; ``ModelError`` if it cannot be loaded, or lacks a key."""
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


async def load_models(experiment: Experiment) -> tuple[Models, Critic | None]:
    """The models and the judge that an experiment names; ``DetailScribeError`` where one cannot be used."""
    models = Models(experiment.settings.settings)
    judge = make_judge(experiment.spec.judge, experiment.settings.settings)
    await models.check()
    return models, judge


@typed
async def arun_experiment(
    experiment: Experiment,
    folder: Path,
    models: Models | None = None,
    judge: Critic | None = None,
    *,
    prompts: int | None = None,
    concurrency: int = 16,
    keep_all: bool = False,
    lpips: Path | None = None,
    on_plan: Callable[[list[Job], list[ExperimentRow]], object] | None = None,
    on_row: Callable[[ExperimentRow], object] | None = None,
) -> list[ExperimentRow]:
    """Run what is missing in ``folder``, judge what is not judged, and return all rows of the experiment.

    Finished runs survive a kill at any moment: another call continues, and repeats runs that failed. A run counts as
    done only if everything that determines it is the same, models included; runs of an older version of the file stay
    on the disk, without rows. Variants share equal images, which are drawn once, and equal questions, which are asked
    once.

    Args:
        experiment: What to run.
        folder: Of the results; made where it is absent.
        models: Of the runs; by default models and judge are those that the experiment names.
        judge: Goes with ``models``; None where the critic measures too.
        prompts: Only the first so many of its prompts.
        concurrency: Runs in flight.
        keep_all: Whether run folders keep latents and reports, which take most of the disk space.
        lpips: Weights of LPIPS, to measure the distance of each refinement to its source.
        on_plan: Called once with all runs and the rows of those that are done.
        on_row: Called with each new row.

    Raises:
        SettingsError: the folder is in use, or holds something else.
        ModelError: a model cannot be used by any run, or the file of weights is not that of LPIPS.
    """
    from ...tools.metrics.local import Lpips

    check_concurrency(concurrency)
    network = None if lpips is None else Lpips(lpips)
    if models is None:
        models, judge = await load_models(experiment)
    by_variant = await _models_of_variants(experiment, models)
    planned = plan(experiment, by_variant, prompts)
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
            models = by_variant[str(job.tags["label"])]
            return await run_job(job, run_folder, experiment.settings, models, cache=cache, shared=folder / RUNS)

        judging = Judging(folder, experiment, planned, judge, cache, keep_all, on_row, network)
        try:
            if on_plan is not None:
                on_plan(planned, judging.rows())
            for ended in read_rows(folder):
                judging.take(ended)
            ledger.plan(jobs.values())
            await perform_jobs(jobs.values(), perform, ledger, concurrency=concurrency, on_row=judging.take)
        finally:
            await judging.end()
    return judging.rows()


run_experiment = blocking(arun_experiment)


def exhaustive(experiment: Experiment) -> Experiment:
    """The same prompts and seeds with the exhaustive policy alone, on whose runs other policies can be replayed."""
    tree, budget = experiment.spec.tree, experiment.spec.budget
    recording = Variant("exhaustive", "exhaustive", tree, budget, CriticSettings(), "exhaustive")
    return replace(experiment, variants=(recording,))


def plan(experiment: Experiment, models: Mapping[str, Models], prompts: int | None = None) -> list[Job]:
    """Every run, all variants of a prompt together, so that a stopped experiment can be compared as far as it went.

    ``models`` are loaded, by the label of their variant.
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
            tags={"label": variant.label, "scenario": scenario, "seed": seed},
        )
        for text, scenario in islice(experiment.prompts.items(), prompts)
        for seed in experiment.spec.seeds
        for variant in experiment.variants
        for policy in [variant.resolved]
    ]


def _settings(experiment: Experiment) -> str:
    """Hash of the settings that images and verdicts depend on, and of the user's own templates."""
    settings = experiment.settings.settings
    folder = settings.chat.templates
    templates = [] if folder is None else [(file.name, file.read_text()) for file in sorted(folder.glob("*.txt"))]
    return content_hash(settings.facts(), templates)


async def _models_of_variants(experiment: Experiment, models: Models) -> dict[str, Models]:
    """Loaded models by the label of the variant, each with the critic as the variant has it."""
    critic = await ready(models.critic)  # first, since it loads faster
    await ready(models.decomposer)
    await ready(models.diffusion)
    by_label = dict[str, Models]()
    for variant in experiment.variants:
        own = variant.critic.applied(critic)
        same = next((other for other in by_label.values() if other.critic == own), None)
        by_label[variant.label] = same or copy.copy(models)
        by_label[variant.label].critic = own
    return by_label


class _NotHeard(Exception):
    """The judge gave no usable answer to a check. Nothing is cached, so that the next start asks again."""


async def _heard(judge: Critic, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
    critique = await judge.critique(image, concepts, store)
    if critique.unheard:
        first = critique.unheard[0]
        raise _NotHeard(f"the judge gave no usable answer to the check {first.check} of {image.id}: {first.reason}")
    return critique


@dataclass
class Judging:
    """Judges the runs of an experiment as they end, and writes their rows; variants that plan the same run share it.

    A run that failed in an earlier start has no row here, because it runs again, and neither has one that the judge
    gave no usable answer about, because it is judged again. Latents and reports that are not kept are removed once all
    runs of a prompt and seed are judged, since these may share images until then.
    """

    folder: Path
    experiment: Experiment
    planned: Sequence[Job]
    judge: Critic | None
    cache: TaskCache
    keep_all: bool
    on_row: Callable[[ExperimentRow], object] | None
    network: "Lpips | None"

    def __post_init__(self) -> None:
        self._store, self._places, self._tasks = Store(self.folder), asyncio.Semaphore(AT_ONCE), list[Task[None]]()
        self._budgets = {variant.label: variant.budget for variant in self.experiment.variants}
        self._judge_name = None if self.judge is None else model_name(self.judge)
        self._jobs: dict[str, list[Job]] = defaultdict(list)
        self._groups: dict[tuple[str, int], set[str]] = defaultdict(set)
        for job in self.planned:
            self._jobs[job.id].append(job)
            self._groups[job.prompt, job.seed].add(job.id)
        mend_lines(self.folder / JUDGED, ExperimentRow)
        self._lines = JsonLines(self.folder / JUDGED)
        ended = self._jobs.keys() & {row.id for row in read_rows(self.folder)}  # others run again
        self._rows = {
            row.job: row
            for row in read_experiment_rows(self.folder / JUDGED)
            if row.job in ended and row.judge == self._judge_name and row.error is None
            if self.network is None or row.lpips == self.network.model
        }

    def rows(self) -> list[ExperimentRow]:
        """Those of the experiment, in its order and under the labels that its variants have now."""
        return [row for id in self._jobs if id in self._rows for row in self._shared(self._rows[id])]

    def take(self, ended: Row) -> None:
        """Begin to judge a run that ended, unless it is judged."""
        if ended.id in self._jobs and ended.id not in self._rows:
            self._tasks.append(asyncio.create_task(self._finish(ended)))

    async def end(self) -> None:
        """Wait until everything taken is judged; the first error is raised."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._lines.close()
        for task in self._tasks:
            task.result()

    def _shared(self, row: ExperimentRow) -> list[ExperimentRow]:
        """The row of a run, once for each variant that planned it."""
        return [row.model_copy(update=dict(job.tags)) for job in self._jobs[row.job]]

    async def _finish(self, ended: Row) -> None:
        job = self._jobs[ended.id][0]
        fields = {"job": ended.id, "prompt": ended.prompt, "judge": self._judge_name, "folder": ended.run}
        fields |= {"error": f"{ended.error}: {ended.message}" if ended.status == "failed" else None}
        row = ExperimentRow.model_validate(fields | dict(job.tags) | {"budget": self._budgets[str(job.tags["label"])]})
        if row.error is None:
            async with self._places:
                try:
                    row = await self._judged(row)
                except _NotHeard as error:
                    row = row.model_copy(update={"error": str(error)})
        self._rows[row.job] = row
        self._clean(self._groups[job.prompt, job.seed])  # before the row, which says that nothing is left to do
        self._lines.append(row.model_dump_json())
        if self.on_row is not None:
            for shared in self._shared(row):
                self.on_row(shared)

    async def _judged(self, row: ExperimentRow) -> ExperimentRow:
        store, judged = Store(self._store.path(row.folder or "")), dict[str, Critique]()
        result = RunResult.model_validate_json(store.read(RESULT))
        if (judge := self.judge) is not None:
            for image in [i for i in result.images if i.is_whole] or result.images:
                key = content_hash("judge", *about(image, result.concepts, judge, store))
                judged[image.id] = await self.cache.once(key, partial(_heard, judge, image, result.concepts, store))
        return await asyncio.to_thread(with_result, row, result, judged, store, self.network)

    def _clean(self, ids: set[str]) -> None:
        """Remove what is not kept of the runs of a prompt and seed, if this was the last of them."""
        if self.keep_all or not ids <= self._rows.keys():
            return
        for folder in filter(None, (self._rows[id].folder for id in ids)):
            shutil.rmtree(self._store.path(f"{folder}/latents"), ignore_errors=True)
            self._store.path(f"{folder}/report.html").unlink(missing_ok=True)
