"""Exhaustive trees: what a policy scores on them is what its own runs score."""

import asyncio
from dataclasses import dataclass
from hashlib import sha256

import pytest

from detailscribe.agent import arun
from detailscribe.agent.batch.cast import Cast, cast_of
from detailscribe.agent.experiments.menu import Menu
from detailscribe.agent.experiments.perform import Crew
from detailscribe.agent.experiments.replay import replay, replay_tree
from detailscribe.agent.experiments.replayed import each, totals
from detailscribe.agent.experiments.spec import BudgetChange
from detailscribe.agent.experiments.statistics import Interval
from detailscribe.agent.experiments.tree import grow, read_tree
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
from detailscribe.state import Budget
from detailscribe.tools.errors import ModelError, SettingsError
from detailscribe.tools.roles import RedenoiseRequest

from ..agent.fakes import CHECKS, FakeDecomposer, FakeDiffusion, critique
from .small import Fakes, small


def fingerprint(*parts: object) -> str:
    return sha256(repr(parts).encode()).hexdigest()


class Chance(FakeDiffusion):
    """An image's content follows from what it was asked for and from what it was made of, as with a real model."""

    evaluations_per_drawing = 56

    def _make(self, request, store, progress, **changes):
        made = [request.prompt, request.stop_step]
        made += [request.seed] if changes["origin"] != "refine" or request.operator == "inject" else []
        if isinstance(request, RedenoiseRequest):
            made += [request.operator, request.start_step, request.source.revised_prompt]
        kept = {k: f"latents/{request.id}-{k}" for k in request.keep_steps}
        if changes["origin"] == "refine" and request.operator == "resume":
            kept |= {k: v for k, v in request.source.trajectory.items() if k < request.start_step}
        return (
            super()
            ._make(request, store, progress, revised_prompt=fingerprint(made), **changes)
            .model_copy(update={"trajectory": kept})
        )


@dataclass
class Eyes:
    """Sees by chance, but the same in the same picture; what it corrects depends on what it saw."""

    model: str = "eyes@0"

    async def critique(self, image, concepts, store):
        seen = fingerprint(self.model, image.revised_prompt)
        fails = " ".join(check for check, digit in zip(CHECKS, seen, strict=False) if digit in "012345")
        return critique(image.id, fails, refined=f"a prompt against {fails}")


def crew(loadout) -> Crew:
    return Crew(Cast(FakeDecomposer(), Chance(), Eyes(), loadout.settings), Eyes("judge@0"))


WIDE = Menu(drawings=3, rounds=2, start_steps=(1, 2, 4), width=2)
POLICIES = [
    *(Adaptive(), Adaptive(images=1), Adaptive(images=3, width=2), Adaptive(operator="resume"), Adaptive(patience=1)),
    *(Single(), Single(operator="inject"), BestOfN(n=3), MultiRound(), MultiRound(patience=None, keep="newest")),
    *(MultiRound(operator="resume", start_step=(4, 2, 1)), MultiRound(operator="resume", patience=None)),
    *(SeedSearch(n=3, m=2, rounds=3), Hybrid(sequential=4)),
]


@pytest.fixture(scope="module")
def forest(tmp_path_factory):
    """Trees of chance, wide enough for every policy above."""
    folder = tmp_path_factory.mktemp("forest")
    loadout = small(tree=WIDE.model_dump(mode="json"), seeds=2, budget={"rounds": 2, "images": 30})
    return asyncio.run(grow(loadout, folder, crew(loadout), prompts=1)), folder


async def own_run(tree, policy, folder, budget):
    return await arun(
        tree.prompt,
        seed=tree.run_seed,
        policy=policy,
        budget=budget,
        out=folder,
        decomposer=FakeDecomposer(),
        diffusion=Chance(),
        critic=Eyes(),
    )


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@pytest.mark.parametrize("bound", [None, 112, 150])
async def test_a_policy_scores_on_a_tree_what_its_own_run_scores(forest, tmp_path, policy, bound):
    for place, tree in enumerate(forest[0]):
        change = BudgetChange(evaluations=bound)
        found = replay_tree("tree", tree, policy, change)
        assert found.off == ""
        run = (await own_run(tree, policy, tmp_path / str(place), change.on(tree.budget))).result
        chosen = next(image for image in tree.images if image.id == found.best)
        assert chosen.revised_prompt == run.best.revised_prompt
        assert found.score.critic == run.critique(run.best.id).score
        assert (found.score.evaluations, found.score.images) == (run.spend.evaluations, run.spend.images)
        seen = await Eyes("judge@0").critique(run.best, run.concepts, None)
        assert found.score.judge == seen.score


def test_what_a_tree_does_not_hold_is_told_and_not_guessed_at(forest):
    trees, folder = forest
    assert replay_tree("t", trees[0], MultiRound(start_step=9), BudgetChange()).off == (
        "a refinement of 00-00 by inject from step 9"
    )
    assert replay_tree("t", trees[0], Halving(n=2), BudgetChange()).off.startswith(
        "a first drawing, a preview to step 10"
    )
    assert replay_tree("t", trees[0], ChatJudge(), BudgetChange()).off == "an answer of a chat model"
    found = replay(folder, RandomControl(images=1))
    left = [one for one in found if one.off]
    assert 0 < len(left) < len(found)
    assert all(one.score is None and one.best is None for one in left)
    table = totals(found)
    assert table.rows[0][:2] == (str(len(found) - len(left)), str(len(left)))
    assert f"Of {len(left)} trees it asked for what they do not hold" in table.note
    assert [row[-1] != "-" for row in each(found, 99).rows] == [True] * len(left) + [False] * (len(found) - len(left))


def test_no_replay_goes_deeper_than_its_tree(forest):
    found = replay_tree("t", forest[0][0], MultiRound(rounds=9, patience=None), BudgetChange(rounds=9))
    assert found.off == ""


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
async def test_a_tree_in_which_nothing_passes_has_the_images_that_its_menu_tells(tmp_path, width, reseeds):
    menu = {"drawings": 2, "rounds": 2, "start_steps": [2, 4], "width": width, "reseeds": reseeds}
    for operators in (["inject"], ["inject", "resume"]):
        loadout = small(tree=menu | {"operators": operators}, seeds=1)
        fakes = Fakes(diffusion=Chance(), critic=Hopeless())
        [tree] = await grow(loadout, tmp_path / operators[-1], fakes.crew(loadout), prompts=1)
        most = loadout.experiment.tree.most_images
        # What starts at step 4 cannot be resumed at 2.
        assert len(tree.images) == most if operators == ["inject"] else 0.7 * most < len(tree.images) < most


async def test_trees_that_stand_are_kept_and_one_that_was_cut_off_is_grown_anew(tmp_path):
    loadout, fakes = small(tree={"drawings": 1, "rounds": 1}), Fakes()
    first = await grow(loadout, tmp_path, fakes.crew(loadout), prompts=1)
    drawn = fakes.drawn
    assert await grow(loadout, tmp_path, fakes.crew(loadout), prompts=1) == first
    assert fakes.drawn == drawn
    tree = next(tmp_path.glob("*/tree.json"))
    tree.unlink()
    assert await grow(loadout, tmp_path, fakes.crew(loadout), prompts=1) == first
    assert fakes.drawn > drawn
    other = small(tree={"drawings": 2, "rounds": 1})
    assert len((await grow(other, tmp_path, fakes.crew(other), prompts=1))[0].images) > len(first[0].images)


async def test_an_error_ends_the_growing(tmp_path):
    class Broken(Chance):
        async def generate(self, requests, store, progress=None):
            raise ModelError("the model is gone")

    loadout = small()
    with pytest.raises(ModelError, match="is gone"):
        await grow(loadout, tmp_path, Fakes(diffusion=Broken()).crew(loadout))


def test_a_tree_of_another_version_is_told(tmp_path):
    (tmp_path / "tree.json").write_text('{"prompt": "a cat"}')
    with pytest.raises(SettingsError, match="another version"):
        read_tree(tmp_path)


async def test_the_embedded_world_scores_the_same_replayed_and_run(tmp_path):
    """Real models: the same decisions, verdicts and evaluations; alone in its pass, an image is the same exactly."""
    from detailscribe.agent.experiments.judges import EmbeddedJudge
    from detailscribe.agent.roles import EMBEDDED_DIFFUSION
    from detailscribe.tools.diffusion import LocalDiffusion

    menu = {"drawings": 1, "rounds": 2, "start_steps": [4], "operators": ["inject"], "reseeds": False}
    prompts = {"texts": ["a fox and a bear sharing a green flag at night"]}
    loadout = small(tree=menu, prompts=prompts, seeds=1, settings={"run": {"steps": 10}}, budget={"rounds": 2})
    diffusion = LocalDiffusion.load(EMBEDDED_DIFFUSION, steps=10, batch_alone=True)
    cast = await cast_of(loadout.settings, diffusion=diffusion)
    [tree] = await grow(loadout, tmp_path / "trees", Crew(cast, EmbeddedJudge()))
    policy = MultiRound(rounds=2, patience=None)
    found = replay_tree("tree", tree, policy, BudgetChange())
    run = await arun(
        tree.prompt,
        seed=tree.run_seed,
        policy=policy,
        budget=Budget(rounds=2),
        out=tmp_path / "run",
        decomposer=cast.decomposer,
        diffusion=diffusion,
        critic=cast.critic,
    )
    assert len(run.result.images) > 1
    assert (found.score.evaluations, found.score.images) == (run.result.spend.evaluations, run.result.spend.images)
    assert found.score.critic == run.result.critique(run.result.best.id).score
    mine = next(c for c in tree.critiques if c.image == found.best)
    assert mine.verdicts == run.result.critique(run.result.best.id).verdicts
