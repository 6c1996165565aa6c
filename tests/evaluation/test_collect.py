"""From folders to images by method: single runs, batches, runs that failed, and what a batch says of them."""

import json

import pytest

from detailscribe.agent import Adaptive, BestOfN, Paper, arun
from detailscribe.agent.evaluation.collect import collect
from detailscribe.agent.evaluation.measure import measure
from detailscribe.tools.data import PromptRecord
from detailscribe.tools.errors import SettingsError
from detailscribe.tools.metrics import batched
from detailscribe.tools.metrics.metric import OneByOne

from ..agent.fakes import PROMPT, FakeDiffusion, roles

SCRIPT = {"00-00": "red holding", "00-01": "red holding alone", "01-00": "", "02-00": ""}


async def drawn(folder, policy=None, **changes):
    chosen = {"policy": policy or Adaptive(images=2), "out": folder, "seed": 7}
    return await arun(PROMPT, **(roles(SCRIPT) | chosen | changes))


def rows(folder, *given: dict):
    about = {"id": "a", "status": "done", "prompt": PROMPT, "seed": 7, "policy": "Adaptive(images=2)", "budget": {}}
    lines = [json.dumps(about | row) for row in given]
    (folder / "results.jsonl").write_text("\n".join([*lines, '{"id": "half a li']))


def told(collected) -> list[tuple[str, str, str]]:
    return [(shot.method, shot.scenario, shot.sample.image.id) for shot in collected.shots]


@pytest.fixture
async def run(tmp_path):
    await drawn(tmp_path / "batch" / "runs" / "a")
    return tmp_path / "batch" / "runs" / "a"


async def test_a_single_run_is_called_by_its_policy_and_gives_its_best_image(run):
    [shot] = collect([str(run)]).shots
    assert (shot.method, shot.sample.image.id, shot.sample.prompt, shot.seed) == ("Adaptive", "01-00", PROMPT, 7)
    assert shot.sample.concepts.prompt == PROMPT
    assert shot.sample.store.read(shot.sample.image.path)


async def test_a_folder_of_runs_is_called_by_its_name_or_the_one_given(run, tmp_path):
    await drawn(tmp_path / "batch" / "runs" / "b", BestOfN(n=1))
    folder = tmp_path / "batch"
    assert [m for m, _, _ in told(collect([str(folder)]))] == ["batch", "batch"]
    assert [m for m, _, _ in told(collect([f"ours={folder}"]))] == ["ours", "ours"]
    assert [m for m, _, _ in told(collect([f"ours={folder}"], by="policy"))] == ["Adaptive", "BestOfN"]


async def test_every_pick_after_the_first_is_a_method_of_its_own(run):
    found = told(collect([f"ours={run}"], picks=("best", "first", "last", "all")))
    assert [(method, image) for method, _, image in found] == [
        ("ours", "01-00"),
        ("ours (first)", "00-00"),
        ("ours (last)", "01-00"),
        ("ours (all)", "00-00"),
        ("ours (all)", "00-01"),
        ("ours (all)", "01-00"),
    ]


async def test_each_metric_takes_the_refinement_that_it_puts_first_as_published(tmp_path):
    await drawn(tmp_path / "run", Paper())
    shots = collect([str(tmp_path / "run")], picks=("highest",)).shots
    assert [shot.sample.image.start_step for shot in shots] == [0, 2, 3, 5], "the drawing takes no part"

    class Prefers:
        def __init__(self, step, silent=()):
            self.step, self.silent = step, silent

        async def score(self, image, prompt, store):
            return None if image.start_step in self.silent else -abs(image.start_step - self.step)

    metrics = {"early": Prefers(0), "late": Prefers(9), "one": Prefers(0, (0, 2)), "none": Prefers(0, (0, 2, 3, 5))}
    found = await measure(shots, {name: OneByOne(metric) for name, metric in metrics.items()})
    assert [(one.metric, one.image, one.value) for one in found] == [
        ("early", "01-00", 0),
        ("late", "01-03", -4),
        ("one", "01-02", -3),
        ("none", "01-00", None),
    ]


async def test_scenarios_come_from_the_batch_or_else_from_the_prompts(run, tmp_path):
    rows(tmp_path / "batch", {"run": "runs/a", "tags": {"scenario": "functional", "subclass": "tools"}})
    for argument in (tmp_path / "batch", run):
        [shot] = collect([str(argument)]).shots
        assert (shot.scenario, shot.subclass) == ("functional", "tools")
    (tmp_path / "batch" / "results.jsonl").unlink()
    assert (
        collect([str(run)], prompts={PROMPT: PromptRecord(id="p", prompt=PROMPT, scenario="other")}).shots[0].scenario
        == "other"
    )
    assert collect([str(run)]).shots[0].scenario == ""


async def test_the_last_row_of_a_run_counts(run, tmp_path):
    twice = ({"run": "runs/a", "tags": {"scenario": scenario}} for scenario in ("then", "now"))
    rows(tmp_path / "batch", *twice)
    assert collect([str(run)]).shots[0].scenario == "now"


async def test_runs_without_an_image_are_told_and_counted_as_missing(run, tmp_path):
    with pytest.raises(RuntimeError):
        await drawn(tmp_path / "batch" / "runs" / "b", diffusion=FakeDiffusion(breaks_at="01-00"))
    (tmp_path / "batch" / "runs" / "c").mkdir()
    (tmp_path / "batch" / "runs" / "c" / "events.jsonl").write_text("{}\n")
    (run / "images" / "01-00.png").unlink()
    rows(
        tmp_path / "batch",
        {"id": "d", "run": None, "status": "failed", "message": "no room", "tags": {"scenario": "s"}},
    )
    collected = collect([str(tmp_path / "batch")])
    assert [image for _, _, image in told(collected)] == ["00-00"]
    reasons = {skipped.place.rpartition("/")[2]: skipped.reason for skipped in collected.skipped}
    assert reasons["d"] == "no room"
    assert reasons["a"] == "it is finished and has no such image"
    assert set(reasons) == {"a", "c", "d"}

    class Half:
        async def score(self, image, prompt, store):
            return 0.5

    measured = await measure(collected.shots, {"half": batched(Half())}, skipped=collected.skipped)
    assert [m.value for m in measured] == [0.5, None, None, None]
    assert {m.reason for m in measured if m.scenario == "s"} == {"no image: no room"}


@pytest.mark.parametrize("what", ["absent", "empty"])
def test_a_folder_without_runs_is_told(tmp_path, what):
    folder = tmp_path / what
    if what == "empty":
        folder.mkdir()
    with pytest.raises(SettingsError, match="name a run folder, or one that holds runs"):
        collect([str(folder)])


async def test_each_image_keeps_its_own_score_whatever_the_order(run, tmp_path):
    await drawn(tmp_path / "batch" / "runs" / "b", seed=8)

    class Seeds:
        async def score(self, image, prompt, store):
            return float(image.seed)

    shots = collect([str(tmp_path / "batch")], picks=("all",)).shots
    measured = await measure(shots, {"seed": batched(Seeds())})
    assert [(m.run, m.image, m.value) for m in measured] == [
        (shot.run, shot.sample.image.id, shot.sample.image.seed) for shot in shots
    ]
    assert len({m.value for m in measured}) == len(shots)


async def test_each_batch_in_a_folder_is_a_method_unless_they_are_named_as_one(run, tmp_path):
    rows(tmp_path / "batch", {"run": "runs/a"})
    await drawn(tmp_path / "all" / "other" / "runs" / "b")
    (tmp_path / "batch").rename(tmp_path / "all" / "batch")
    rows(tmp_path / "all" / "other", {"run": "runs/b"})
    assert [m for m, _, _ in told(collect([str(tmp_path / "all")]))] == ["batch", "other"]
    assert [m for m, _, _ in told(collect([f"x={tmp_path / 'all'}"]))] == ["x", "x"]
    assert [m for m, _, _ in told(collect([str(tmp_path / "all" / "other")]))] == ["other"]
