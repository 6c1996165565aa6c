"""Exhaustive runs: what a policy scores on them is what its own runs score."""

import asyncio
from dataclasses import dataclass
from hashlib import sha256

import pytest

from detailscribe.agent import arun
from detailscribe.agent.evaluation.statistics import Interval
from detailscribe.agent.experiments.replay import areplay, each, replay, replay_run, totals
from detailscribe.agent.experiments.run import arun_experiment, exhaustive
from detailscribe.agent.experiments.spec import changed_budget
from detailscribe.agent.policies import (
    Adaptive,
    BestOfN,
    ChatJudge,
    Halving,
    Hybrid,
    MultiRound,
    RandomControl,
    SeedSearch,
    Single,
)
from detailscribe.agent.records.reader import RecordedRun, read_run
from detailscribe.agent.settings.models import Models
from detailscribe.state import Budget
from detailscribe.tools.errors import ModelError

from ..agent.fakes import CHECKS, FakeDecomposer, FakeDiffusion, critique
from .small import Fakes, small


def fingerprint(*parts: object) -> str:
    return sha256(repr(parts).encode()).hexdigest()


class Chance(FakeDiffusion):
    """An image's content follows from what it was asked for and from what it was made of, as with a real model."""

    evaluations_per_drawing = 56

    async def draw(self, attempt, store, *, source=None, progress=None):
        made = [attempt.prompt, attempt.stop_step]
        made += [] if attempt.operator == "resume" else [attempt.seed]
        made += [] if source is None else [attempt.operator, attempt.start_step, source.revised_prompt]
        image = await super().draw(attempt, store, source=source, progress=progress)
        kept = image.trajectory
        if attempt.operator == "resume":
            kept = kept | {k: v for k, v in source.trajectory.items() if k < attempt.start_step}
        shown = fingerprint(made)
        return image.model_copy(update={"revised_prompt": shown, "digest": shown, "trajectory": kept})


@dataclass
class Eyes:
    """Sees by chance, but the same in the same picture; what it corrects depends on what it saw."""

    model: str = "eyes@0"

    async def critique(self, image, concepts, store):
        seen = fingerprint(self.model, image.revised_prompt)
        fails = " ".join(check for check, digit in zip(CHECKS, seen, strict=False) if digit in "012345")
        return critique(image.id, fails, refined=f"a prompt against {fails}")


def models(experiment):
    chance = Models(experiment.settings.settings, decomposer=FakeDecomposer(), diffusion=Chance(), critic=Eyes())
    return chance, Eyes("judge@0")


WIDE = {"drawings": 3, "rounds": 2, "start_steps": [1, 2, 4], "width": 2}
POLICIES = [
    *(Adaptive(), Adaptive(images=1), Adaptive(images=3, width=2), Adaptive(operator="resume"), Adaptive(patience=1)),
    *(Single(), Single(operator="inject"), BestOfN(n=3), MultiRound(), MultiRound(patience=None, keep="newest")),
    *(MultiRound(operator="resume", start_step=(4, 2, 1)), MultiRound(operator="resume", patience=None)),
    *(SeedSearch(n=3, m=2, rounds=3), Hybrid(sequential=4)),
]
BOUNDS = (None, 112, 150)
BUDGET = Budget(rounds=2, images=30)


async def recorded(experiment, folder, models, **how) -> list[RecordedRun]:
    rows = await arun_experiment(exhaustive(experiment), folder, *models, **how)
    return [read_run(folder / row.folder) for row in rows]


@pytest.fixture(scope="module")
def forest(tmp_path_factory):
    """Runs of chance, wide enough for every policy above, with the rows of the judge."""
    folder = tmp_path_factory.mktemp("forest")
    experiment = small(tree=WIDE, seeds=2, budget={"rounds": 2, "images": 30})
    rows = asyncio.run(arun_experiment(exhaustive(experiment), folder, *models(experiment), prompts=1))
    return [(read_run(folder / row.folder), row) for row in rows], folder


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@pytest.mark.parametrize("bound", BOUNDS)
async def test_a_policy_scores_what_its_own_run_scores(forest, tmp_path, policy, bound):
    change = Budget(evaluations=bound)
    for run, row in forest[0]:
        found = await replay_run(run, policy, change, row)
        assert found.missing == ""
        own = (
            await arun(
                run.prompt,
                seed=run.started.seed,
                policy=policy,
                budget=changed_budget(BUDGET, change),
                out=tmp_path / run.folder.name,
                decomposer=FakeDecomposer(),
                diffusion=Chance(),
                critic=Eyes(),
            )
        ).result
        assert own.best.revised_prompt == run.images[found.best].revised_prompt
        assert own.critique(own.best.id).score == found.score.critic
        assert (own.spend.evaluations, own.spend.images) == (found.score.evaluations, found.score.images)
        assert (await Eyes("judge@0").critique(own.best, own.concepts, None)).score == found.score.judge


@pytest.mark.parametrize(
    ("policy", "missing"),
    [
        (MultiRound(start_step=9), "a refinement of 00-00 by inject from step 9"),
        (Halving(n=2), "a first drawing, a preview to step 10 and 1 more"),
        (MultiRound(rounds=9, patience=None), ""),
        (BestOfN(n=2), ""),
    ],
    ids=repr,
)
async def test_what_is_not_recorded_is_named(forest, policy, missing):
    for run, row in forest[0]:
        found = await replay_run(run, policy, Budget(), row)
        assert found.missing == missing
        assert (found.score is None) == bool(missing)


async def test_a_chat_model_that_was_not_asked_is_missing(forest):
    run, row = forest[0][0]
    assert (await replay_run(run, ChatJudge(), Budget(), row)).missing == "an answer of a chat model"


def test_runs_without_a_score_are_counted_and_come_first(forest):
    found = replay(forest[1], RandomControl(images=1))
    left = [one for one in found if one.missing]
    assert 0 < len(left) < len(found)
    assert all(one.score is None and one.best is None for one in left)
    table = totals(found)
    assert table.rows[0][:2] == (str(len(found) - len(left)), str(len(left)))
    assert f"Of {len(left)} trees it asked for what they do not hold" in table.note
    assert [row[-1] != "-" for row in each(found, 99).rows] == [True] * len(left) + [False] * (len(found) - len(left))


def test_the_figures_are_the_means_over_prompts(forest):
    found = replay(forest[1], BestOfN(n=2))
    row = dict(zip([c.name for c in totals(found).columns], totals(found).rows[0], strict=True))
    checks = row["checks, critic"]
    assert isinstance(checks, Interval)
    assert checks.value == pytest.approx(sum(one.score.critic for one in found) / len(found))
    assert (row["evaluations"], row["images"]) == (112.0, 2.0)


class Hopeless(Eyes):
    """Fails everything, and corrects every image in its own way."""

    async def critique(self, image, concepts, store):
        return critique(image.id, "red", refined=f"a prompt against {image.id}")


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("reseeds", [True, False])
async def test_where_nothing_passes_there_are_as_many_images_as_its_budget_says(tmp_path, width, reseeds):
    tree = {"drawings": 2, "rounds": 2, "start_steps": [2, 4], "width": width, "reseeds": reseeds}
    for operators in (["inject"], ["inject", "resume"]):
        experiment = small(tree=tree | {"operators": operators}, seeds=1)
        fakes = Fakes(diffusion=Chance(), critic=Hopeless())
        [run] = await recorded(experiment, tmp_path / operators[-1], models=fakes.models(experiment), prompts=1)
        most = experiment.spec.tree.budget.images
        # What starts at step 4 cannot be resumed at 2.
        assert len(run.images) == most if operators == ["inject"] else 0.7 * most < len(run.images) < most


async def test_what_is_recorded_is_kept_and_another_menu_is_recorded_anew(tmp_path):
    experiment, fakes = small(tree={"drawings": 1, "rounds": 1}), Fakes()
    first = await recorded(experiment, tmp_path, models=fakes.models(experiment), prompts=1)
    drawn = fakes.drawn
    again = await recorded(experiment, tmp_path, models=fakes.models(experiment), prompts=1)
    assert [run.events for run in again] == [run.events for run in first]
    assert fakes.drawn == drawn
    other = small(tree={"drawings": 2, "rounds": 1})
    wider = await recorded(other, tmp_path, models=fakes.models(other), prompts=1)
    assert len(wider[0].images) > len(first[0].images)


async def test_an_error_of_the_model_ends_the_recording(tmp_path):
    class Broken(Chance):
        async def draw(self, attempt, store, *, source=None, progress=None):
            raise ModelError("the model is gone")

    experiment = small()
    with pytest.raises(ModelError, match="is gone"):
        await recorded(experiment, tmp_path, models=Fakes(diffusion=Broken()).models(experiment))


async def test_the_embedded_world_scores_the_same_replayed_and_run(tmp_path):
    """Real models: the same decisions, verdicts and evaluations; alone in its pass, an image is the same exactly."""
    from detailscribe.agent.experiments.run import make_judge
    from detailscribe.agent.settings.presets import EMBEDDED_DIFFUSION
    from detailscribe.tools.diffusion import LocalDiffusion

    tree = {"drawings": 1, "rounds": 2, "start_steps": [4], "operators": ["inject"], "reseeds": False}
    prompts = {
        "texts": ["a rabbit on top of a tree and holding a yellow balloon, next to a frog inside a box wearing a hat"]
    }
    experiment = small(tree=tree, prompts=prompts, seeds=1, settings={"run": {"steps": 10}}, budget={"rounds": 2})
    settings = experiment.settings.settings
    diffusion = LocalDiffusion.load(EMBEDDED_DIFFUSION, steps=10, max_batch=1)
    judge = make_judge(experiment.spec.judge, settings)
    [run] = await recorded(experiment, tmp_path / "trees", models=(Models(settings, diffusion=diffusion), judge))
    policy = MultiRound(rounds=2, patience=None)
    [found] = await areplay(tmp_path / "trees", policy)
    own = (
        await arun(
            run.prompt,
            seed=run.started.seed,
            policy=policy,
            budget=Budget(rounds=2),
            out=tmp_path / "run",
            diffusion=diffusion,
        )
    ).result
    assert len(own.images) > 1
    assert (found.score.evaluations, found.score.images) == (own.spend.evaluations, own.spend.images)
    assert found.score.critic == own.critique(own.best.id).score
    assert run.critiques[found.best].verdicts == own.critique(own.best.id).verdicts
