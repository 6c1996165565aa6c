"""A chat model in an experiment, over HTTP: as its judge, and as what decides."""

import pytest

from detailscribe.agent.experiments.replay import replay
from detailscribe.agent.experiments.run import arun_experiment, load_models
from detailscribe.agent.experiments.summary import summary
from detailscribe.agent.experiments.write import write_results
from detailscribe.agent.policies import ChatJudge
from detailscribe.tools.errors import ModelError

from ..agent.fakes import ScriptedCritic
from ..chat_server.protocol import MODEL
from .small import Fakes, small

POLICIES = [{"policy": "best_of_n", "args": {"n": 1}}, {"policy": "single"}]
PROMPT = "a cat and a dog lifting a yellow house at night"


def judged_by_chat(server):
    """Four steps, so that pictures are wrong."""
    judge = {"kind": "chat", "model": MODEL, "url": server.url}
    settings = {"run": {"steps": 4}, "chat": {"cache": "off"}}
    return small(prompts={"texts": [PROMPT]}, policies=POLICIES, settings=settings, judge=judge, seeds=1)


async def test_a_chat_model_judges_what_the_embedded_critic_chose(server, tmp_path):
    experiment = judged_by_chat(server)
    rows = await arun_experiment(experiment, tmp_path)
    assert [row.error for row in rows] == [None, None]
    assert all(row.judge.startswith(MODEL) and image.judge for row in rows for image in row.images)
    asked = len(server.served)
    assert asked > 0
    tables = write_results(experiment, rows, tmp_path)
    assert f"Judge: {rows[0].judge}" in (tmp_path / "summary.md").read_text()
    assert tables["trajectories"].rows
    assert await arun_experiment(experiment, tmp_path) == rows
    assert len(server.served) == asked


async def test_a_judge_that_is_gone_loses_no_run(server, tmp_path):
    experiment = judged_by_chat(server)
    models = await load_models(experiment)
    server.can.sees = False
    with pytest.raises(ModelError):
        await arun_experiment(experiment, tmp_path, *models)
    server.reset()
    drawn = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/images/*.png")}
    rows = await arun_experiment(experiment, tmp_path, *models)
    assert [row.error for row in rows] == [None, None]
    assert drawn == {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/images/*.png")}


async def test_a_run_that_the_judge_gave_no_answer_about_is_missing_until_it_is_judged(tmp_path):
    class Judge(ScriptedCritic):
        answers = True

        async def critique(self, image, concepts, store):
            made = await super().critique(image, concepts, store)
            nothing = {"answer": "unknown", "reason": "timed out", "heard": False}
            verdicts = made.verdicts if self.answers else tuple(v.model_copy(update=nothing) for v in made.verdicts)
            self.answers = False
            return made.model_copy(update={"verdicts": verdicts})

    experiment = small(seeds=2, policies=[{"policy": "best_of_n", "args": {"n": 1}}])
    fakes = Fakes(judge=Judge({}, model="judge@0"))
    first = await arun_experiment(experiment, tmp_path, *fakes.models(experiment), concurrency=1)
    error = "the judge gave no usable answer to the check cat of 00-00: timed out"
    assert [row.error for row in first] == [None] + [error] * 5
    assert summary(first).title.endswith("5 of 6 runs are missing")
    drawn = fakes.drawn
    fakes.judge = ScriptedCritic({}, model="judge@0")
    again = await arun_experiment(experiment, tmp_path, *fakes.models(experiment))
    assert [row.error for row in again] == [None] * 6
    assert again[0] == first[0]
    assert fakes.drawn == drawn


async def test_a_chat_model_decides_in_an_experiment(server, tmp_path):
    chat = {"model": MODEL, "url": server.url, "cache": "off"}
    experiment = small(
        prompts={"texts": [PROMPT, "a pig holding a green flag on top of a blue box, in the snow"]},
        policies=[{"policy": "chat_judge", "args": {"images": 1}}, {"policy": "best_of_n", "args": {"n": 1}}],
        settings={"run": {"steps": 4}, "chat": chat},
        judge={"kind": "chat", "model": MODEL},
        budget={"rounds": 2},
        seeds=1,
    )
    rows = await arun_experiment(experiment, tmp_path)
    assert [row.error for row in rows] == [None] * 4
    advised = [row for row in rows if row.label == "chat_judge"]
    assert any(image.rule.startswith("advised_") for row in advised for image in row.images)
    assert all(row.spend.tokens > 0 for row in rows)
    asked = len(server.served)
    assert await arun_experiment(experiment, tmp_path) == rows
    assert len(server.served) <= asked + 4  # what is asked of the server before anything is drawn
    write_results(experiment, rows, tmp_path)
    for found in replay(tmp_path, ChatJudge(images=1)):
        assert found.differs is None or "best_of_n" in found.name
