"""Small experiments: rows in few words, and fakes that count their work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detailscribe.agent.experiments.load import Experiment, make_experiment
from detailscribe.agent.experiments.rows import ExperimentRow, ImageRow
from detailscribe.agent.settings.models import Models
from detailscribe.state import Spend

from ..agent.fakes import CHECKS, FakeDecomposer, FakeDiffusion, ScriptedCritic

CORRECTED = "a corrected prompt"


def image(
    id: str, fails: str = "", parent: str | None = None, *, critic: str | None = None, **changes: Any
) -> ImageRow:
    """An image on which the judge fails these checks, and the critic the same unless it is said otherwise."""

    def answers(wrong: str) -> dict[str, str]:
        return {check: "fail" if check in wrong.split() else "pass" for check in CHECKS}

    seen = answers(fails if critic is None else critic)
    passed = sum(answer == "pass" for answer in seen.values())
    given = {
        "id": id,
        "round": int(id[:2]),
        "origin": "generate" if parent is None else "refine",
        "parent": parent,
        "start_step": 0,
        "evaluations": 56,
        "seconds": 1.0,
        "action": "stop",
        "rule": "test",
        "critic": seen,
        "rank": (passed / len(CHECKS), passed / len(CHECKS)),
        "judge": answers(fails),
    }
    return ImageRow.model_validate(given | changes)


def row(
    label: str, prompt: str, *images: ImageRow, best: str | None = None, seed: int = 0, **changes: Any
) -> ExperimentRow:
    """A run that chose the last of its images unless it is said otherwise."""
    return ExperimentRow(
        job=f"{label} {prompt} {seed}",
        label=label,
        prompt=prompt,
        seed=seed,
        judge="judge@0",
        best=best or images[-1].id,
        checks={"cat": "presence", "umbrella": "presence", "red": "attribute", "holding": "relation"}
        | {"alone": "nothing_else"},
        spend=Spend(evaluations=56 * len(images), images=len(images), critic_calls=len(images), seconds=len(images)),
        images=images,
        **changes,
    )


def wrong_until_corrected(image) -> str:
    """A first drawing lacks its red on every second seed; a corrected prompt puts it right."""
    return "red" if image.prompt != CORRECTED and image.seed % 2 else ""


@dataclass
class Fakes:
    """Roles that any number of starts share, so that what was done twice shows."""

    diffusion: FakeDiffusion = field(default_factory=lambda: FakeDiffusion(writes_latents=True))
    critic: ScriptedCritic = field(default_factory=lambda: ScriptedCritic(wrong_until_corrected))
    judge: ScriptedCritic = field(default_factory=lambda: ScriptedCritic(wrong_until_corrected, model="judge@0"))

    def models(self, experiment: Experiment) -> tuple[Models, ScriptedCritic]:
        models = Models(
            experiment.settings.settings, decomposer=FakeDecomposer(), diffusion=self.diffusion, critic=self.critic
        )
        return models, self.judge

    @property
    def drawn(self) -> int:
        return len(self.diffusion.requests)


PROMPTS = ("a cat holding a red umbrella", "a cat under a red umbrella", "a cat on a red umbrella")


def experiment(**changes: Any) -> Mapping[str, Any]:
    """What a small experiment file says."""
    return {
        "question": "Is refining better than drawing?",
        "prompts": {"texts": list(PROMPTS)},
        "policies": [{"policy": "best_of_n", "args": {"n": 2}}, {"policy": "multi_round", "grid": {"rounds": [1, 2]}}],
        "seeds": 2,
    } | changes


def small(**changes: Any) -> Experiment:
    return make_experiment("small", dict(experiment(**changes)), Path())
