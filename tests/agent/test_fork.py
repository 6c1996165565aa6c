"""From any step of a run another one goes on: the past is shared, the rest decided anew, and the old run stays."""

import pytest

from detailscribe.agent import Adaptive, Single, fork, history, read_run, run
from detailscribe.agent.policies import stop
from detailscribe.agent.records.manifest import read_manifest
from detailscribe.state import Budget
from detailscribe.tools.errors import SettingsError

from .fakes import PROMPT, FakeDecomposer, FakeDiffusion, roles

SCRIPT = {"00-00": "red holding", "00-01": "cat umbrella alone", "01-00": "red", "02-00": "red holding"}


@pytest.fixture
def done(tmp_path):
    return run(PROMPT, out=tmp_path / "run", seed=7, budget=Budget(rounds=2), **drawing())


def drawing(**changes):
    return roles(SCRIPT, diffusion=FakeDiffusion(writes_latents=True)) | changes


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_history_tells_what_came_next_after_each_step(done):
    steps = history(done.folder)
    assert [(step.number, step.next) for step in steps] == [
        (0, ("decompose",)),
        (1, ("generate", "generate")),
        (2, ("critique",)),
        (3, ("refine",)),
        (4, ("critique",)),
        (5, ("refine",)),
        (6, ("critique",)),
        (7, ("finish",)),
        (8, ()),
    ]
    assert [step.best for step in steps] == [None, None, None, "00-00", None, "01-00", None, "01-00", "01-00"]


@pytest.mark.parametrize("at", range(9))
def test_from_every_step_the_same_policy_comes_to_the_same_end(done, tmp_path, at):
    before, diffusion = files(done.folder), FakeDiffusion(writes_latents=True)
    again = fork(done.folder, at, out=tmp_path / "fork", **drawing(diffusion=diffusion))
    assert (again.decisions, again.result.images, again.stop) == (done.decisions, done.result.images, done.stop)
    known = set(history(done.folder)[at].images)
    assert known.isdisjoint(request.id for request in diffusion.requests)
    assert files(done.folder) == before


def test_another_policy_decides_from_the_step_on(done, tmp_path):
    def enough(population):
        return [stop(image, "enough", "it will do") for image in population.pending()]

    again = fork(done.folder, 5, policy=enough, out=tmp_path / "fork", **drawing())
    assert [(d.image, d.rule) for d in again.decisions] == [
        ("00-00", "few_checks_fail"),
        ("00-01", "enough"),
        ("01-00", "enough"),
    ]
    assert again.best.record.id == "01-00"


def test_a_run_at_its_end_goes_on_with_a_larger_budget(done, tmp_path):
    again = fork(done.folder, 8, budget=Budget(rounds=3), out=tmp_path / "fork", **drawing())
    assert (done.stop, len(done.images), len(again.images)) == ("budget_rounds", 4, 5)
    assert again.result.images[:4] == done.result.images


def test_the_new_run_knows_its_parent_and_stands_alone(done, tmp_path):
    again = fork(done.folder, 5, policy="best_of_n", out=tmp_path / "fork", **drawing())
    manifest = read_manifest(again.folder)
    assert (manifest.parent.run, manifest.parent.step, manifest.parent.edits) == (done.result.run, 5, {})
    assert (manifest.settings.run.policy, manifest.settings.run.out) == ("best_of_n", tmp_path / "fork")
    assert manifest.run != done.result.run
    recorded = read_run(again.folder)
    assert tuple(recorded.images.values()) == again.result.images
    assert recorded.population(0).images.keys() == {"00-00", "00-01"}
    assert all(image.path.exists() for image in again.images)


def test_a_corrected_prompt_can_be_written_by_hand(done, tmp_path):
    diffusion, edits = FakeDiffusion(writes_latents=True), {"00-00.refined_prompt": "a cat with a ruby umbrella"}
    again = fork(done.folder, 3, edits=edits, out=tmp_path / "fork", **drawing(diffusion=diffusion))
    assert diffusion.requests[0].prompt == "a cat with a ruby umbrella"
    assert read_manifest(again.folder).parent.edits == edits


def test_without_an_image_every_waiting_one_is_edited(done, tmp_path):
    fork(done.folder, 5, edits={"refined_prompt": "by hand"}, out=tmp_path / "fork", **drawing())
    looks = read_run(tmp_path / "fork").critiques
    assert [looks[id].refined_prompt for id in ("00-00", "00-01", "01-00")] == [
        "a corrected prompt",
        "by hand",
        "by hand",
    ]


def test_a_verdict_can_be_overruled(done, tmp_path):
    edits = {"00-00.red": "pass", "00-00.holding": "pass"}
    again = fork(done.folder, 3, edits=edits, out=tmp_path / "fork", **drawing())
    assert (again.stop, again.best.record.id, len(again.images)) == ("all_pass", "00-00", 2)


def test_a_fork_before_the_first_image_reads_the_prompt_no_second_time(done, tmp_path):
    decomposer = FakeDecomposer()
    again = fork(done.folder, 1, policy=Single(), out=tmp_path / "fork", **drawing(decomposer=decomposer))
    assert decomposer.asked == []
    assert [image.record.id for image in again.images] == ["00-00", "01-00"]


@pytest.mark.parametrize(
    ("at", "given", "complaint"),
    [
        (9, {}, "has no step 9, only 0 to 8: see detailscribe history"),
        (3, {"policy": "nope"}, "no policy 'nope'"),
        (3, {"edits": {"99-99.red": "pass"}}, "no image '99-99' was looked at"),
        (3, {"edits": {"colour": "pass"}}, "no check of that name; known are cat, umbrella"),
        (3, {"edits": {"red": "perhaps"}}, r"--edit red=perhaps: answer"),
        (1, {"edits": {"red": "pass"}}, "at this step there are none; take a later one"),
    ],
    ids=str,
)
def test_what_cannot_be_forked_leaves_nothing(done, tmp_path, at, given, complaint):
    with pytest.raises(SettingsError, match=complaint):
        fork(done.folder, at, out=tmp_path / "fork", **drawing(**given))
    assert not (tmp_path / "fork").exists()


def test_a_run_that_another_policy_object_decided_is_not_forked_in_its_name(tmp_path):
    folder = tmp_path / "run"
    run(PROMPT, out=folder, policy=Adaptive(images=1), **drawing())
    with pytest.raises(SettingsError, match="was decided by Adaptive"):
        fork(folder, 3, out=tmp_path / "fork", **drawing())


def test_a_run_without_checkpoints_has_no_history(tmp_path):
    run(PROMPT, out=tmp_path / "run", settings={"run": {"checkpoints": "off"}}, **drawing())
    with pytest.raises(SettingsError, match="made without checkpoints"):
        history(tmp_path / "run")
