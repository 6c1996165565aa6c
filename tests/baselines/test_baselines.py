"""Baselines are presets: each works with any preset's models, and its cost is counted as everyone's is."""

import itertools
import json

import pytest

from detailscribe.agent import run
from detailscribe.agent.evaluation.collect import collect
from detailscribe.agent.policies import Adaptive, BestOfN, Paper, resolve_policy
from detailscribe.agent.settings.loading import load_settings
from detailscribe.agent.settings.presets import BASELINES, PRESETS, baseline_named, preset_named
from detailscribe.agent.settings.settings import Settings
from detailscribe.state import derive_seed
from detailscribe.tools.errors import PromptError, SettingsError
from detailscribe.tools.language.rewriting import WholeDecomposer
from detailscribe.tools.metrics.metric import MetricCritic, OneByOne, squashed
from detailscribe.tools.vision.wrapping import NoCritic
from detailscribe.tools.world.decomposer import EmbeddedRewriter

from ..agent.fakes import PROMPT, FakeDiffusion, record


def settings_of(preset, **sections):
    """Of a preset as it comes; neither environment nor file takes part."""
    return load_settings(Settings(), {"run": {"preset": preset}, **sections})


def policy_of(preset):
    chosen = settings_of(preset).run
    return resolve_policy(chosen.policy, **chosen.policy_args)


def drawn(preset, tmp_path, **given):
    """A run whose pictures a fake paints."""
    return run(PROMPT, preset=preset, out=tmp_path / "run", diffusion=FakeDiffusion(), seed=5, **given)


@pytest.mark.parametrize(
    ("preset", "baseline"),
    list(itertools.product([name for name in PRESETS if name != "diffusers"], [*BASELINES, "best-by-clipscore"])),
)
def test_every_baseline_goes_with_every_preset_and_leaves_its_drawing_alone(preset, baseline):
    alone, together = settings_of(preset), settings_of(f"{preset}+{baseline}")
    resolve_policy(together.run.policy, **together.run.policy_args)
    assert together.diffusion == alone.diffusion
    assert (together.run.steps, together.run.guidance) == (alone.run.steps, alone.run.guidance)
    assert preset_named(f"{preset}+{baseline}").summary


def test_the_policies_of_baselines():
    assert policy_of("paper+base") == BestOfN(n=1)
    assert policy_of("paper+rewrite") == BestOfN(n=1)
    assert policy_of("sd35-large+best-of-7-by-image_reward") == BestOfN(n=7)
    assert policy_of("paper+refine") == policy_of("sd35-large+refine") == Paper(start_steps=(0,))
    assert policy_of("paper+undecomposed") == Paper()
    assert policy_of("sd35-large+undecomposed") == Adaptive()


async def test_the_published_baselines_draw_from_the_published_seeds():
    concepts = await WholeDecomposer().decompose(PROMPT)
    for method, own in (
        ("base", [None]),
        ("rewrite", [None]),
        ("refine", [None]),
        ("best-by-clipscore", [2628670643, 2628670647]),
        ("best-of-3-by-clipscore", [2628670643, 2628670647, None]),
    ):
        assert settings_of(f"paper+{method}").run.seed == 2628670643, "which a drawing without a seed of its own has"
        assert [attempt.seed for attempt in policy_of(f"paper+{method}").plan(concepts)] == own


def test_refine_is_one_full_drawing_from_the_corrected_prompt_whatever_the_picture(tmp_path):
    done = drawn("embedded+refine", tmp_path)
    first, refined = [image.record for image in done.images]
    assert (refined.start_step, refined.seed, refined.evaluations) == (0, first.seed, first.evaluations)
    assert refined.prompt != first.prompt
    assert done.best.record == refined


def test_what_asks_no_chat_model_needs_none():
    assert not settings_of("sd35-large+base").chats
    assert not settings_of("sd35-large+best-by-clipscore").chats
    assert settings_of("sd35-large+best-by-vqascore").chats
    assert settings_of("sd35-large+rewrite").chats


def test_an_endpoint_that_draws_keeps_the_server_and_key_of_the_chat_model():
    chat = {"url": "http://localhost:1/v1", "key": "k"}
    server = settings_of("images-endpoint+base", chat=chat).images_settings()
    assert (server.base_url, server.api_key.get_secret_value()) == ("http://localhost:1/v1", "k")
    assert settings_of("images-endpoint+base").chats


def test_the_bare_model_draws_once_and_costs_nothing_else(tmp_path):
    done = drawn("embedded+base", tmp_path)
    assert [image.record.prompt for image in done.images] == [PROMPT]
    assert (done.spend.images, done.spend.critic_calls, done.spend.tokens) == (1, 0, 0)
    assert done.spend.evaluations == done.best.record.evaluations
    assert done.best.record.seed == 5
    assert {v.answer for v in done.best.critique.verdicts} == {"unknown"}


def test_a_rewritten_prompt_is_drawn_and_the_checks_stay_those_of_the_users(tmp_path):
    done = drawn("embedded+rewrite", tmp_path)
    [image] = done.images
    assert image.record.prompt.startswith(f"{PROMPT}. Placed ")
    assert done.concepts.prompt == PROMPT
    assert json.loads((done.folder / "result.json").read_text())["concepts"]["drawn_from"] == image.record.prompt


async def test_the_embedded_rewriter_says_the_same_each_time_and_knows_its_world():
    rewriter = EmbeddedRewriter()
    assert await rewriter.rewrite(PROMPT) == await rewriter.rewrite(PROMPT)
    with pytest.raises(PromptError):
        await rewriter.rewrite("a xylophone")


class Brightness:
    """A metric of a user's own: how red the fake paints, or what it is told to say."""

    def __init__(self, values=None):
        self.values = values

    async def score(self, image, prompt, store):
        assert prompt == PROMPT
        return float(image.seed % 256) if self.values is None else self.values[image.id]


def by_brightness(values=None):
    return MetricCritic("brightness", lambda: OneByOne(Brightness(values)))


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_n_is_the_one_that_the_metric_puts_first(tmp_path, seed):
    done = run(
        PROMPT,
        preset="embedded",
        policy=BestOfN(n=4),
        out=tmp_path / "run",
        seed=seed,
        decomposer=WholeDecomposer(),
        diffusion=FakeDiffusion(),
        critic=by_brightness(),
    )
    seeds = [seed, *(derive_seed(seed, f"00-0{n}") for n in range(1, 4))]
    assert done.best.record.seed == max(seeds, key=lambda one: one % 256)
    assert done.spend.images == done.spend.critic_calls == 4


async def test_an_image_that_cannot_be_measured_comes_last(tmp_path):
    critic = by_brightness({"00-00": None, "00-01": -1e6})
    concepts = await WholeDecomposer().decompose(PROMPT)
    unmeasured, worst = [await critic.critique(record(id), concepts, None) for id in ("00-00", "00-01")]
    assert (unmeasured.score, unmeasured.confidence) < (worst.score, worst.confidence)
    assert unmeasured.silence == "the metric gives none"
    assert worst.silence is None
    assert not worst.all_pass


def test_any_value_becomes_a_share_in_the_same_order():
    values = [-1e9, -40.0, -2.5, -1e-3, 0.0, 1e-3, 0.79, 0.8, 2.5, 5.0, 1e9]
    shares = [squashed(value) for value in values]
    assert shares == sorted(set(shares))
    assert 0 < shares[0] < shares[-1] < 1
    assert squashed(0) == 0.5


def test_the_embedded_judge_can_choose(tmp_path):
    done = drawn("embedded+best-by-judge", tmp_path)
    assert done.spend.images == 2
    assert all(image.critique.verdicts[0].evidence for image in done.images)


def test_a_checklist_measures_a_baseline_by_the_checks_of_its_prompt(tmp_path):
    drawn("embedded+base", tmp_path)
    [shot] = collect([str(tmp_path / "run")]).shots
    assert shot.sample.concepts is None


async def test_without_a_critic_nothing_is_looked_at():
    concepts = await WholeDecomposer().decompose(PROMPT)
    look = await NoCritic().critique(record("00-00"), concepts, None)
    assert (look.looks, look.score, look.exchanges) == (0, 0.0, ())


@pytest.mark.parametrize("name", ["embedded+bas", "embedded+best-by-beauty", "embeded+base"])
def test_an_unknown_name_is_told(name):
    with pytest.raises(SettingsError, match=r"did you mean|known are"):
        preset_named(name)


def test_diffusers_wants_its_model_named_as_a_baseline_too():
    with pytest.raises(SettingsError, match="draws with a model that you name"):
        settings_of("diffusers+base")


def test_a_baseline_says_what_it_is():
    assert all(baseline.summary for baseline in BASELINES.values())
    assert "clipscore" in baseline_named("best-by-clipscore").summary
