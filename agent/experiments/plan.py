"""The runs that an experiment consists of, by ids that change whenever their outcome could."""

from collections.abc import Iterator
from dataclasses import dataclass

from ...state import derive_seed
from ..batch.cast import Cast
from ..batch.jobs import Job, digest, policy_name, slug
from ..policies import resolve_policy
from ..traces.manifest import model_name
from .loading import Loadout
from .prompts import ExperimentPrompt
from .variants import Variant

HARMLESS = {"device", "offload", "compiled", "max_batch"}
"""Settings of ``diffusion`` that change no image, but for rounding."""


@dataclass(frozen=True)
class Planned:
    """One run: a variant on a prompt from a seed."""

    job: Job
    variant: Variant
    prompt: ExperimentPrompt
    seed: int
    """As the experiment counts them."""


def plan(loadout: Loadout, casts: dict[str, Cast], prompts: int | None = None) -> list[Planned]:
    """Every run, all variants of a prompt together, so that what is there of a stopped experiment can be compared.

    Args:
        loadout: The experiment.
        casts: The roles of each variant, by label.
        prompts: Only so many of its prompts.
    """
    names = {variant.label: _fingerprint(variant, casts[variant.label]) for variant in loadout.variants}
    return [
        Planned(_job(variant, prompt, seed, names[variant.label]), variant, prompt, seed)
        for prompt in loadout.prompts[:prompts]
        for seed in loadout.experiment.seeds
        for variant in loadout.variants
    ]


def run_seed(seed: int, prompt: str) -> int:
    """Of the run: the same for every variant, and another for every prompt."""
    return derive_seed(seed, "experiment", prompt)


def _job(variant: Variant, prompt: ExperimentPrompt, seed: int, fingerprint: str) -> Job:
    return Job(
        id=f"{slug(variant.policy)}-{slug(prompt.text)}-{digest(prompt.text)[:4]}-s{seed}-{fingerprint}",
        prompt=prompt.text,
        seed=run_seed(seed, prompt.text),
        policy=resolve_policy(variant.policy, **variant.args),
        budget=variant.budget,
        tags={"label": variant.label, "scenario": prompt.scenario, "seed": seed},
    )


def _fingerprint(variant: Variant, cast: Cast) -> str:
    """Of everything but prompt and seed."""
    policy = policy_name(resolve_policy(variant.policy, **variant.args))
    return digest("\0".join((policy, variant.budget.model_dump_json(), *drawn_by(cast))))


def drawn_by(cast: Cast) -> tuple[str, ...]:
    """The models and how they draw, in words that change whenever an image or a verdict could."""
    drawing = cast.loaded.settings
    return (
        *(model_name(role) for role in (cast.decomposer, cast.diffusion, cast.critic)),
        f"{drawing.run.steps} {drawing.run.guidance}",
        drawing.diffusion.model_dump_json(exclude=HARMLESS),
        drawing.vision.model_dump_json(),
    )


def by_critic(planned: list[Planned], casts: dict[str, Cast]) -> Iterator[tuple[Cast, list[Job]]]:
    """The jobs that share their roles, together; variants that come to the same job have it done once."""
    groups: dict[int, dict[str, Planned]] = {}
    for one in planned:
        groups.setdefault(id(casts[one.variant.label]), {}).setdefault(one.job.id, one)
    for group in groups.values():
        yield casts[next(iter(group.values())).variant.label], [one.job for one in group.values()]
