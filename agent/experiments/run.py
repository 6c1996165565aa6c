"""Runs an experiment: runs that ended before are kept, the others are made, and every image is judged."""

import asyncio
import copy
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ...state import derive_seed
from ...tools.blocking import blocking
from ...tools.errors import SettingsError, typed
from ...tools.files import content_hash
from ...tools.roles import Critic, ready
from ..batch.batch import RUNS, check_concurrency, perform_jobs, run_job
from ..batch.folder import Ledger
from ..batch.jobs import Job
from ..graph.checkpoints import CACHE, TaskCache
from ..policies import Exhaustive, policy_name
from ..records.reader import Run
from ..records.rows import RESULTS, digest
from ..records.rows import read_rows as read_batch_rows
from ..runs.folder import LOCK, slug
from ..settings.models import Models
from .judge import Judging, make_judge
from .load import Experiment, Variant
from .rows import Row
from .spec import CriticSettings

OnPlan = Callable[[list[Job], list[Row]], object]


@dataclass(frozen=True)
class ExperimentModels:
    """The models of an experiment, loaded once."""

    models: Models
    """Of its runs."""
    judge: Critic | None
    """None where the critic's word is taken."""


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
    budgets = {variant.label: variant.budget for variant in experiment.variants}
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

        judging = Judging(folder, planned, budgets, models.judge, cache, keep_all, on_row, network)
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

    Args:
        experiment: What to run.
        models: Those of each variant, loaded, by its label.
        prompts: Only so many of its prompts.
    """
    names = {v.label: _fingerprint(v, experiment, models[v.label]) for v in experiment.variants}
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


def _fingerprint(variant: Variant, experiment: Experiment, models: Models) -> str:
    """Of all that determines a run but prompt and seed."""
    names = [models.names[role] for role in ("decomposer", "diffusion", "critic")]
    parts = (policy_name(variant.resolved), variant.budget.model_dump_json(), *names, _settings(experiment))
    return digest("\0".join(parts))


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
