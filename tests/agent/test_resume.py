"""A run that was cut off anywhere goes on: nothing is drawn or asked again, and the end is the same."""

import asyncio
import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from langgraph.runtime import RunControl

from detailscribe.agent import Adaptive, build_graph, fork, read_events, read_run, resume, run
from detailscribe.agent.graph.checkpoints import TaskCache, serializer
from detailscribe.agent.policies import stop
from detailscribe.agent.records.events import Critiqued, Decided, ImageMade, Resumed
from detailscribe.agent.runs.folder import locked
from detailscribe.state import Attempt, Budget
from detailscribe.tools.errors import Interrupted, SettingsError

from .fakes import PROMPT, FakeDecomposer, FakeDiffusion, ScriptedCritic, context, critique, roles

SCRIPT = {"00-00": "red holding", "00-01": "cat umbrella alone", "01-00": "red", "02-00": "red holding"}


class CountingCritic(ScriptedCritic):
    """Notes what it is asked, and breaks at one image."""

    def __init__(self, breaks_at=None):
        super().__init__(SCRIPT)
        self.asked, self.breaks_at = [], breaks_at

    async def critique(self, image, concepts, store):
        if image.id == self.breaks_at:
            raise RuntimeError("the critic broke")
        self.asked.append(image.id)
        return critique(image.id, SCRIPT[image.id])


def begin(folder, **changes):
    given = roles(SCRIPT, diffusion=FakeDiffusion(writes_latents=True)) | changes
    return run(PROMPT, out=folder, seed=7, budget=Budget(rounds=2), **given)


def go_on(folder, **changes):
    return resume(folder, **(roles(SCRIPT, diffusion=FakeDiffusion(writes_latents=True)) | changes))


def told(folder, kind):
    return [event for event in read_events(folder / "events.jsonl") if isinstance(event, kind)]


@pytest.fixture
def whole(tmp_path):
    """A run that nothing cut off."""
    return begin(tmp_path / "whole")


def plain(result):
    """A result without what no two runs share."""
    return result.model_copy(update={"run": "any"})


@pytest.mark.parametrize("at", ["00-01", "01-00", "02-00"])
def test_a_run_that_fails_while_drawing_goes_on_without_drawing_twice(tmp_path, whole, at):
    folder = tmp_path / "run"
    with pytest.raises(RuntimeError, match="the model broke"):
        begin(folder, diffusion=FakeDiffusion(breaks_at=at, writes_latents=True))
    before = {path.stem for path in (folder / "images").glob("*.png")}
    diffusion, decomposer = FakeDiffusion(writes_latents=True), FakeDecomposer()
    done = go_on(folder, diffusion=diffusion, decomposer=decomposer)
    assert plain(done.result) == plain(whole.result)
    assert before.isdisjoint(request.id for request in diffusion.requests)
    assert decomposer.asked == []


@pytest.mark.parametrize("at", ["00-01", "01-00", "02-00"])
def test_a_run_that_fails_while_looking_asks_only_what_has_no_answer_yet(tmp_path, whole, at):
    folder, first, second = tmp_path / "run", CountingCritic(breaks_at=at), CountingCritic()
    with pytest.raises(RuntimeError, match="the critic broke"):
        begin(folder, critic=first)
    done = go_on(folder, critic=second)
    assert plain(done.result) == plain(whole.result)
    assert sorted(first.asked + second.asked) == sorted(SCRIPT)


def test_the_trace_goes_on_and_tells_everything_once(tmp_path):
    folder = tmp_path / "run"
    for at in ("01-00", "02-00"):
        with pytest.raises(RuntimeError):
            (go_on if folder.exists() else begin)(folder, diffusion=FakeDiffusion(breaks_at=at, writes_latents=True))
    done = go_on(folder)
    drawn = sorted((e.record for e in told(folder, ImageMade)), key=lambda image: image.id)
    assert tuple(drawn) == done.result.images
    assert tuple(e.critique for e in told(folder, Critiqued)) == done.result.critiques
    assert {e.decision.image: e.decision for e in told(folder, Decided)} == {d.image: d for d in done.decisions}
    assert len(told(folder, Resumed)) == 2
    assert read_run(folder).status == "finished"


def test_a_run_that_was_asked_to_stop_does_so_after_the_step_and_says_how_to_go_on(tmp_path, whole):
    folder, control = tmp_path / "run", RunControl()

    def stop_at(event):
        if event.type == "critiqued" and event.image == "00-00":
            control.request_drain()

    with pytest.raises(Interrupted, match=f"go on with: detailscribe resume {folder}"):
        begin(folder, on_event=stop_at, control=control)
    assert {path.stem for path in (folder / "images").iterdir()} == {"00-00", "00-01"}
    assert (read_run(folder).status, read_run(folder).interrupted) == ("unfinished", True)
    assert plain(go_on(folder).result) == plain(whole.result)


def test_a_finished_run_is_handed_back_as_it_is(tmp_path, whole):
    trace = (whole.folder / "events.jsonl").read_bytes()
    assert go_on(whole.folder) == whole
    assert (whole.folder / "events.jsonl").read_bytes() == trace


def test_without_checkpoints_a_run_goes_on_from_its_images_and_answers(tmp_path, whole):
    folder, critic = tmp_path / "run", CountingCritic()
    with pytest.raises(RuntimeError):
        begin(folder, settings={"run": {"checkpoints": "off"}}, diffusion=FakeDiffusion("fake@0", [], "02-00", True))
    assert not (folder / "checkpoints.sqlite").exists()
    diffusion = FakeDiffusion(writes_latents=True)
    done = go_on(folder, critic=critic, diffusion=diffusion)
    assert plain(done.result) == plain(whole.result)
    assert [request.id for request in diffusion.requests] == critic.asked == ["02-00"]
    drawn = sorted((e.record for e in told(folder, ImageMade)), key=lambda image: image.id)
    assert tuple(drawn) == done.result.images


def cut_off(folder, **changes):
    with pytest.raises(RuntimeError):
        begin(folder, diffusion=FakeDiffusion(breaks_at="01-00", writes_latents=True), **changes)


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path):
    folder = tmp_path / "run"
    cut_off(folder)
    (folder / "images" / ".99-00.png.partial").write_bytes(b"half")
    with (folder / "events.jsonl").open("ab") as torn:
        torn.write(b'{"torn": ')
    go_on(folder)
    assert not list(folder.rglob("*.partial"))
    assert read_run(folder).status == "finished"


def test_what_the_trace_lost_to_a_kill_is_told_in_its_order(tmp_path):
    folder = tmp_path / "run"
    cut_off(folder)
    lines = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "events.jsonl").write_bytes(lines[0])
    done = go_on(folder)
    drawn = sorted((e.record for e in told(folder, ImageMade)), key=lambda image: image.id)
    assert tuple(drawn) == done.result.images
    assert tuple(e.critique for e in told(folder, Critiqued)) == done.result.critiques
    assert read_run(folder).population(0).images.keys() == {"00-00", "00-01"}


def test_a_known_image_stands_for_no_other_attempt(tmp_path):
    """Attempts that differ in anything that decides about the picture are drawn; the same one is not drawn again."""
    diffusion = FakeDiffusion(writes_latents=True)
    chosen = context(tmp_path, Once(), {}, diffusion=diffusion, cache=TaskCache(tmp_path / "cache.sqlite"))

    def drawn(**changes):
        before = len(diffusion.requests)
        policy = Once(Attempt(**({"prompt": "p", "seed": 7, "keep_steps": ()} | changes)))
        config = {"configurable": {"thread_id": "any"}}
        asyncio.run(build_graph().ainvoke({"prompt": PROMPT}, config, context=replace(chosen, policy=policy)))
        return len(diffusion.requests) - before

    assert [drawn(), drawn()] == [1, 0]
    changes = [
        {"prompt": "other"},
        {"seed": 8},
        {"steps": 3},
        {"stop_step": 3},
        {"guidance": 1.0},
        {"keep_steps": (1,)},
    ]
    assert [drawn(**change) for change in changes] == [1] * len(changes)
    diffusion.model = "fake@1"
    assert drawn() == 1


@dataclass
class Once:
    """Carries one attempt out."""

    attempt: Attempt | None = None

    def plan(self, concepts):
        return [self.attempt]

    def judge(self, population):
        return [stop(image, "done", "once is enough") for image in population.pending()]


@pytest.mark.parametrize("lost", ["latents/00-00.safetensors", "images/00-00.png"])
def test_an_image_that_lacks_a_file_is_drawn_again(tmp_path, lost):
    folder, diffusion = tmp_path / "run", FakeDiffusion(writes_latents=True)
    cut_off(folder, settings={"run": {"checkpoints": "off"}})
    (folder / lost).unlink()
    go_on(folder, diffusion=diffusion)
    assert "00-00" in [request.id for request in diffusion.requests]


def test_a_second_process_on_a_run_folder_is_refused(tmp_path):
    folder = tmp_path / "run"
    cut_off(folder)
    with locked(folder), pytest.raises(SettingsError, match="another process is working on"):
        go_on(folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    with locked(empty), pytest.raises(SettingsError, match="another process is working on"):
        begin(empty)
    assert [path.name for path in empty.iterdir()] == []


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"policy": Adaptive(images=3)}, r"decided by Adaptive\(images=2.*not by Adaptive\(images=3.*policy=\.\.\."),
        ({"diffusion": FakeDiffusion("other@1")}, r"began with fake@0 as its diffusion, and this is other@1"),
    ],
    ids=["policy", "model"],
)
def test_a_run_goes_on_only_with_what_it_began_with(tmp_path, given, complaint):
    folder = tmp_path / "run"
    cut_off(folder)
    with pytest.raises(SettingsError, match=complaint):
        go_on(folder, **given)


def judge_as_adaptive(population):
    return Adaptive().judge(population)


def test_a_function_that_decides_is_known_again_by_its_name(tmp_path):
    folder = tmp_path / "run"
    cut_off(folder, policy=judge_as_adaptive)
    assert go_on(folder, policy=judge_as_adaptive).stop == "budget_rounds"


def test_a_state_of_another_version_is_refused_with_what_to_do(tmp_path):
    folder = tmp_path / "run"
    cut_off(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"state_version": 99}))
    with pytest.raises(SettingsError, match=r"\(state 99, this one reads 2\): resume it with"):
        go_on(folder)


def test_a_folder_that_holds_no_run_is_one_clear_error(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SettingsError, match=r"no run folder: it holds no manifest\.json"):
            resume(folder)


def test_a_checkpoint_makes_nothing_but_our_own_types():
    serde = serializer()
    kind, data = serde.dumps_typed({"mine": critique("00-00"), "theirs": Stranger()})
    back = serde.loads_typed((kind, data))
    assert back["mine"] == critique("00-00")
    assert not isinstance(back["theirs"], Stranger)


@dataclass
class Stranger:
    """Of a module that a checkpoint could name to have its code run."""

    text: str = "x"


def test_a_folder_has_no_code_of_its_own_run(tmp_path):
    """What a manifest names may be a stranger's: it is neither imported nor made, also where the user names it."""
    folder, mark = tmp_path / "run", tmp_path / "made"
    cut_off(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    command = ["touch", str(mark)]
    manifest["settings"]["run"] |= {"policy": "subprocess:Popen", "policy_args": {"args": command}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for go in (lambda **more: go_on(folder, **more), lambda **more: fork(folder, 1, out=tmp_path / "fork", **more)):
        with pytest.raises(SettingsError, match="--policy subprocess:Popen"):
            go()
        with pytest.raises(SettingsError, match="'Popen' is no policy"):
            go(policy="subprocess:Popen")
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["images/00-00.png", "latents/00-01.safetensors", "images/01-00.png"])
@pytest.mark.parametrize("breaks", [{"critic": "01-00"}, {"diffusion": "02-00"}], ids=str)
def test_an_image_with_a_file_that_is_gone_is_drawn_again_before_the_run_goes_on(tmp_path, whole, kind, breaks):
    folder, draws = tmp_path / "run", FakeDiffusion("fake@0", [], breaks.get("diffusion"), True)
    with pytest.raises(RuntimeError, match="broke"):
        begin(folder, critic=CountingCritic(breaks.get("critic")), diffusion=draws)
    before = (folder / kind).read_bytes()
    (folder / kind).unlink()
    diffusion, critic = FakeDiffusion(writes_latents=True), CountingCritic()
    done = go_on(folder, diffusion=diffusion, critic=critic)
    assert [request.id for request in diffusion.requests if request.round < 2] == [Path(kind).stem]
    assert (folder / kind).read_bytes() == before
    assert plain(done.result) == plain(whole.result)


def test_the_one_image_of_a_broken_step_is_drawn_again_too(tmp_path, whole):
    """Its node had ended, beside one that had not, so that LangGraph does not carry it out again."""
    folder = tmp_path / "run"
    with pytest.raises(RuntimeError, match="the model broke"):
        begin(folder, diffusion=FakeDiffusion("fake@0", [], "00-01", True))
    (folder / "images/00-00.png").unlink()
    diffusion = FakeDiffusion(writes_latents=True)
    assert plain(go_on(folder, diffusion=diffusion).result) == plain(whole.result)
    assert (folder / "images/00-00.png").exists()
    assert [request.id for request in diffusion.requests][:2] == ["00-00", "00-01"]


class Seedless(FakeDiffusion):
    """Draws another picture each time."""

    async def draw(self, attempt, store, *, source=None, progress=None):
        made = await super().draw(attempt, store, source=source, progress=progress)
        return made.model_copy(update={"seeded": False})


def test_what_a_server_drew_without_a_seed_cannot_be_drawn_again(tmp_path):
    folder, server = tmp_path / "run", Seedless(writes_latents=True)
    with pytest.raises(RuntimeError, match="the critic broke"):
        begin(folder, diffusion=server, critic=CountingCritic("01-00"))
    (folder / "images/00-00.png").unlink()
    with pytest.raises(SettingsError, match=r"images/00-00\.png is missing, and another one would be drawn"):
        go_on(folder, diffusion=server)
