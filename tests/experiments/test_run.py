"""An experiment is carried out once, whatever ends it in between."""

import json
import shutil

import pytest

from detailscribe.agent.experiments.learn import learn
from detailscribe.agent.experiments.rows import JUDGED
from detailscribe.agent.experiments.run import arun_experiment
from detailscribe.agent.experiments.summary import trajectories
from detailscribe.tools.errors import SettingsError

from ..agent.fakes import FakeDiffusion, ScriptedCritic
from ..evaluation.test_preservation import lpips as lpips
from .small import PROMPTS, Fakes, small


async def carried_out(experiment, folder, fakes, **how):
    return await arun_experiment(experiment, folder, *fakes.models(experiment), **how)


def comparable(rows):
    """Rows without what is never the same twice."""
    return [row.model_dump(exclude={"spend": {"seconds"}, "folder": True}) for row in rows]


@pytest.fixture
def fakes():
    return Fakes()


async def test_every_variant_runs_on_every_prompt_and_seed(tmp_path, fakes):
    rows = await carried_out(small(), tmp_path / "out", fakes)
    assert len(rows) == 3 * 3 * 2
    assert {row.label for row in rows} == {"best_of_n", "multi_round rounds=1", "multi_round rounds=2"}
    assert len({(row.label, row.prompt, row.seed) for row in rows}) == len(rows)
    assert all(row.error is None and row.judge == "judge@0" for row in rows)


async def test_variants_share_prompt_and_noise(tmp_path, fakes):
    await carried_out(small(seeds=1), tmp_path / "out", fakes)
    first = {(r.prompt, r.seed) for r in fakes.diffusion.requests if r.id == "00-00"}
    assert len(first) == 3, "one drawing a prompt, whichever variant asks for it"
    assert len({seed for _, seed in first}) == 3, "prompts do not share their noise"


async def test_a_row_is_the_same_alone_and_in_parallel(tmp_path, fakes):
    together = await carried_out(small(), tmp_path / "together", fakes, concurrency=16)
    alone = await carried_out(small(), tmp_path / "alone", Fakes(), concurrency=1)
    assert comparable(together) == comparable(alone)


async def test_starting_again_does_nothing_twice(tmp_path, fakes):
    first = await carried_out(small(), tmp_path / "out", fakes)
    drawn = fakes.drawn
    assert comparable(await carried_out(small(), tmp_path / "out", fakes)) == comparable(first)
    assert fakes.drawn == drawn


async def test_what_a_kill_left_out_is_all_that_is_done_again(tmp_path, fakes):
    """Rows cut off in the middle of a line, in both files, and a run folder half made."""
    out = tmp_path / "out"
    whole = await carried_out(small(), out, fakes)
    [last] = [json.loads(line)["run"] for line in (out / "results.jsonl").read_text().splitlines()][-1:]
    for name in ("results.jsonl", JUDGED):
        data = (out / name).read_bytes()
        (out / name).write_bytes(data[:-20])
    for name in ("result.json", "manifest.json"):
        (out / last / name).unlink()
    drawn = fakes.drawn
    assert comparable(await carried_out(small(), out, fakes)) == comparable(whole)
    assert 1 <= fakes.drawn - drawn <= 3, "one run is drawn again"
    assert comparable(await carried_out(small(), out, Fakes())) == comparable(whole), "the files are whole again"


async def test_a_run_that_was_not_judged_yet_is_judged_and_not_run_again(tmp_path, fakes):
    out = tmp_path / "out"
    whole = await carried_out(small(), out, fakes)
    (out / JUDGED).unlink()
    drawn = fakes.drawn
    assert comparable(await carried_out(small(), out, fakes)) == comparable(whole)
    assert fakes.drawn == drawn


async def test_another_judge_judges_everything_and_runs_nothing(tmp_path, fakes):
    out = tmp_path / "out"
    await carried_out(small(), out, fakes)
    drawn, fakes.judge = fakes.drawn, ScriptedCritic(lambda image: "cat", model="strict@0")
    rows = await carried_out(small(), out, fakes)
    assert fakes.drawn == drawn
    assert {row.chosen.judge["cat"] for row in rows} == {"fail"}


async def test_a_changed_policy_runs_anew_and_the_others_do_not(tmp_path, fakes):
    out = tmp_path / "out"
    await carried_out(small(seeds=1), out, fakes)
    drawn = fakes.drawn
    policies = [{"policy": "best_of_n", "args": {"n": 3}}, {"policy": "multi_round", "grid": {"rounds": [1, 2]}}]
    rows = await carried_out(small(seeds=1, policies=policies), out, fakes)
    assert fakes.drawn - drawn == 3 * 3
    assert len(rows) == 9


async def test_another_budget_runs_anew(tmp_path, fakes):
    out, policies = tmp_path / "out", [{"policy": "best_of_n", "args": {"n": 2}}]
    await carried_out(small(seeds=1, policies=policies), out, fakes)
    rows = await carried_out(small(seeds=1, policies=policies, budget={"images": 1}), out, fakes)
    assert {len(row.images) for row in rows} == {1}


@pytest.mark.parametrize(
    ("settings", "is_new"),
    [
        ({"edit": {"kind": "embedded", "mistakes": 0.3}}, True),
        ({"edit": {"kind": "endpoint", "model": "e", "url": "http://localhost:1/v1", "quality": "high"}}, True),
        ({"images": {"size": "512x512"}}, True),
        ({"run": {"guidance": 2.0}}, True),
        ({"vision": {"words": 20}}, True),
        ({"chat": {"temperature": 0.5}}, True),
        ({"chat": {"timeout": 5.0}, "edit": {"price": 0.1}, "diffusion": {"max_batch": 2}}, False),
    ],
    ids=str,
)
async def test_settings_that_change_what_is_drawn_or_seen_do_all_anew_and_others_nothing(
    tmp_path, fakes, settings, is_new
):
    out, policies, looks = tmp_path / "out", [{"policy": "single"}], []
    fakes.critic.script = lambda image: looks.append(image) or ""
    before = await carried_out(small(policies=policies, seeds=1), out, fakes, keep_all=True)
    seen, drawn = len(looks), fakes.drawn
    after = await carried_out(small(policies=policies, seeds=1, settings=settings), out, fakes, keep_all=True)
    assert (fakes.drawn, len(looks)) == (drawn * (1 + is_new), seen * (1 + is_new))
    assert ({row.job for row in before} == {row.job for row in after}) is not is_new


async def test_a_template_that_was_edited_does_all_anew(tmp_path, fakes):
    (tmp_path / "edit.txt").write_text("$prompt $failures $kept")
    made = small(policies=[{"policy": "single"}], settings={"chat": {"templates": str(tmp_path)}})
    await carried_out(made, tmp_path / "out", fakes, keep_all=True)
    drawn = fakes.drawn
    (tmp_path / "edit.txt").write_text("$prompt: $failures $kept")
    await carried_out(made, tmp_path / "out", fakes, keep_all=True)
    assert fakes.drawn == 2 * drawn


async def test_lpips_is_measured_where_its_weights_are_given_also_later(tmp_path, fakes, lpips):
    """Of a finished experiment the pictures are there still, so that nothing is drawn and looked at again."""
    fakes.diffusion.side, policies = 72, [{"policy": "multi_round", "args": {"rounds": 1}}]
    fakes.critic.script = lambda image: "red"
    before = await carried_out(small(policies=policies, seeds=[1]), tmp_path / "out", fakes)
    drawn = fakes.drawn
    after = await carried_out(small(policies=policies, seeds=[1]), tmp_path / "out", fakes, lpips=lpips)
    refined = [image for row in after for image in row.images if image.origin == "refine"]
    assert refined
    assert all(image.lpips is not None for image in refined)
    assert (fakes.drawn, {row.lpips is None for row in before}) == (drawn, {True})
    columns = [[column.name for column in trajectories(rows).columns] for rows in (before, after)]
    assert ["lpips" in names for names in columns] == [False, True]


async def test_another_name_for_a_policy_runs_nothing(tmp_path, fakes):
    out = tmp_path / "out"
    await carried_out(small(policies=[{"policy": "single"}]), out, fakes)
    drawn = fakes.drawn
    rows = await carried_out(small(policies=[{"policy": "single", "label": "the paper's"}]), out, fakes)
    assert fakes.drawn == drawn
    assert {row.label for row in rows} == {"the paper's"}


async def test_variants_that_come_to_the_same_run_share_it(tmp_path, fakes):
    policies = [{"policy": "best_of_n", "args": {"n": 2}, "label": name} for name in ("one", "other")]
    rows = await carried_out(small(policies=policies, seeds=1), tmp_path / "out", fakes)
    assert [row.label for row in rows] == ["one", "other"] * 3
    assert fakes.drawn == 2 * 3


async def test_a_few_prompts_can_be_tried_and_the_rest_added(tmp_path, fakes):
    out = tmp_path / "out"
    assert len(await carried_out(small(), out, fakes, prompts=1)) == 6
    drawn = fakes.drawn
    assert len(await carried_out(small(), out, fakes)) == 18
    assert fakes.drawn > drawn


async def test_a_run_that_fails_is_a_row(tmp_path, fakes):
    rows = await carried_out(
        small(prompts={"texts": ["a cat", "a xylophone"]}, policies=[{"policy": "single"}]), tmp_path / "out", fakes
    )
    assert [(row.prompt, row.error) for row in rows if row.seed == 0] == [
        ("a cat", None),
        ("a xylophone", "PromptError: it does not know these words: xylophone"),
    ]


async def test_a_run_that_failed_is_made_again_at_the_next_start(tmp_path, fakes):
    class Down(FakeDiffusion):
        async def draw(self, attempt, store, **how):
            if "under" in attempt.prompt:
                raise RuntimeError("the server is down")
            return await super().draw(attempt, store, **how)

    whole = await carried_out(small(), tmp_path / "whole", Fakes())
    fakes.diffusion = Down(writes_latents=True)
    rows = await carried_out(small(), tmp_path / "out", fakes)
    assert {row.prompt for row in rows if row.error} == {"a cat under a red umbrella"}
    assert len(rows) == 18
    better = Fakes()
    assert comparable(await carried_out(small(), tmp_path / "out", better)) == comparable(whole)
    drawn = {attempt.prompt for attempt in better.diffusion.requests if attempt.operator is None}
    assert drawn == {"a cat under a red umbrella"}, "the others are kept"


async def test_variants_take_the_same_images_and_answers_from_each_other(tmp_path, fakes):
    policies = [{"policy": "best_of_n", "grid": {"n": [4, 2]}}, {"policy": "multi_round"}]
    rows = await carried_out(small(policies=policies, seeds=1), tmp_path / "out", fakes)
    first = [(a.prompt, a.seed) for a in fakes.diffusion.requests if a.operator is None]
    assert len(first) == len(set(first)) == 3 * 4
    for row in rows:
        assert row.spend.evaluations == sum(image.evaluations for image in row.images), "each pays as if alone"
        assert all((tmp_path / "out" / row.folder / "images" / f"{i.id}.png").exists() for i in row.images)


async def test_answers_are_shared_only_about_the_same_picture(tmp_path, fakes):
    """Both variants refine 00-00 into a 01-00 of the same seed and words, which only the start step tells apart."""
    fakes.critic = ScriptedCritic(lambda image: "red" if image.round == 0 or image.start_step == 1 else "")
    policies = [{"policy": "single", "args": {"operator": "inject"}, "grid": {"start_step": [1, 4]}}]
    rows = await carried_out(small(policies=policies, seeds=1), tmp_path / "out", fakes)
    passed = [row.images[1].critic["red"] for row in rows if row.prompt == PROMPTS[0]]
    assert passed == ["fail", "pass"]


async def test_a_worse_critic_errs_at_its_rate_and_the_judge_does_not(tmp_path, fakes):
    experiment = small(policies=[{"policy": "best_of_n", "args": {"n": 4}}], critics=[{"flip": 1.0}])
    rows = await carried_out(experiment, tmp_path / "out", fakes)
    for image in (image for row in rows for image in row.images):
        assert image.critic["cat"] == "fail"
        assert image.judge is not None
        assert image.judge["cat"] == "pass"


async def test_without_a_judge_the_rows_say_so(tmp_path, fakes):
    experiment = small(judge={"kind": "critic"}, seeds=1)
    rows = await arun_experiment(experiment, tmp_path / "out", fakes.models(experiment)[0])
    assert not any(row.judge for row in rows)


async def test_pictures_and_traces_stay_and_latents_go(tmp_path, fakes):
    for keep in (False, True):
        fakes.diffusion = FakeDiffusion(writes_latents=True)
        out = tmp_path / str(keep)
        [row, *_] = await carried_out(small(), out, fakes, keep_all=keep)
        run = out / row.folder
        assert (run / "images" / f"{row.best}.png").exists()
        assert (run / "events.jsonl").exists()
        assert (run / "latents").exists() == (run / "report.html").exists() == keep


async def test_a_folder_that_another_process_uses_is_refused(tmp_path, fakes):
    from detailscribe.agent.batch.folder import Ledger

    (tmp_path / "out").mkdir()
    with Ledger(tmp_path / "out"), pytest.raises(SettingsError, match="another process"):
        await carried_out(small(), tmp_path / "out", fakes)


async def test_a_folder_that_cannot_be_made_is_comparable(tmp_path, fakes):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot write to the folder"):
        await carried_out(small(), tmp_path / "file" / "out", fakes)
    shutil.rmtree(tmp_path)


async def test_what_is_learned_from_an_experiment_is_the_judges_word(tmp_path, monkeypatch):
    monkeypatch.setattr("detailscribe.agent.experiments.learn.LEAST", 2)
    fakes = Fakes(judge=ScriptedCritic(lambda image: "red", model="judge@0"))  # the critic sees gains, the judge none
    tries = small(policies=[{"policy": "value", "args": {"explore": 1.0}}], seeds=4)
    await arun_experiment(tries, tmp_path, *fakes.models(tries))
    with pytest.raises(SettingsError, match="some of which gain something"):
        learn(tmp_path)
    (tmp_path / JUDGED).unlink()
    assert learn(tmp_path).card["judged by"] == "the critic"
