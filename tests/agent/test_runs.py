"""A run from Python: what it hands back, what it leaves, and what it leaves when it comes to nothing."""

import asyncio
import inspect
import json
import threading

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from detailscribe.agent import Adaptive, ProgressBar, arun, build_graph, run
from detailscribe.agent.policies import refine, reseed, stop
from detailscribe.state import Budget, RunResult
from detailscribe.tools.errors import ModelError, PromptError, SettingsError

from .fakes import CHECKS, PROMPT, FakeDecomposer, FakeDiffusion, roles

SCRIPT = {"00-00": "red holding", "00-01": "cat umbrella alone", "01-00": "red", "02-00": "red holding"}
BUDGET = Budget(rounds=2)


def small_run(tmp_path, **changes):
    return run(PROMPT, **(roles(SCRIPT) | {"out": tmp_path / "run", "seed": 7, "budget": BUDGET} | changes))


def test_the_best_image_is_at_hand_with_its_pixels(tmp_path):
    done = small_run(tmp_path)
    assert done.best.record.id == "01-00"
    assert done.best.image.size == (8, 8)
    assert done.best.image.getpixel((0, 0))[1:] == (99, 20)
    assert done.best.path == tmp_path / "run" / "images" / "01-00.png"
    assert done.best.critique.passed == len(CHECKS) - 1


def test_the_result_says_what_was_decided_why_it_ended_and_what_it_cost(tmp_path):
    done = small_run(tmp_path)
    assert [(d.image, d.action) for d in done.decisions] == [
        ("00-00", "refine"),
        ("00-01", "stop"),
        ("01-00", "refine"),
        ("02-00", "stop"),
    ]
    assert [i.record.id for i in done.images] == [d.image for d in done.decisions]
    assert done.stop == "budget_rounds"
    assert (done.spend.images, done.spend.critic_calls) == (4, 4)
    assert done.concepts.prompt == PROMPT


def test_the_folder_holds_everything_and_nothing_half_written(tmp_path):
    done = small_run(tmp_path)
    names = {p.relative_to(done.folder).as_posix() for p in done.folder.rglob("*") if p.is_file()}
    images = {f"images/{id}.png" for id in ("00-00", "00-01", "01-00", "02-00")}
    rest = {"cache.sqlite", "checkpoints.sqlite", "events.jsonl", "manifest.json", "report.html", "result.json"}
    assert names == images | rest
    assert RunResult.model_validate_json((done.folder / "result.json").read_bytes()) == done.result
    assert done.report.read_text().startswith("<!doctype html>")


def test_the_manifest_tells_how_to_make_the_run_again(tmp_path):
    manifest = json.loads((small_run(tmp_path).folder / "manifest.json").read_bytes())
    assert (manifest["prompt"], manifest["seed"]) == (PROMPT, 7)
    assert manifest["policy"].startswith("Adaptive(images=2")
    assert manifest["models"] == {"decomposer": "FakeDecomposer", "diffusion": "fake@0", "critic": "script@0"}
    assert {"langgraph", "pydantic"} <= manifest["packages"].keys()


def test_the_prompt_is_decomposed_once(tmp_path):
    decomposer = FakeDecomposer()
    small_run(tmp_path, decomposer=decomposer)
    assert decomposer.asked == [PROMPT]


def test_a_run_without_a_folder_makes_one_that_can_be_recognized(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (run(PROMPT, **roles({})) for _ in range(2))
    assert first.folder != second.folder
    assert first.folder.parent.name == "runs"
    assert first.folder.name.startswith("cat-holding-red-umbrella-")
    assert first.folder.name == first.result.run


def test_a_function_is_a_policy(tmp_path):
    def again_until_it_passes(population):
        return [
            stop(image, "good", "enough")
            if population.critiques[image.id].all_pass
            else refine(population, image, "again", "not yet", operator="inject", start_step=3)
            for image in population.pending()
        ]

    done = run(PROMPT, policy=again_until_it_passes, out=tmp_path / "run", **roles({"00-00": "red"}))
    assert (done.stop, [i.record.origin for i in done.images]) == ("good", ["generate", "refine"])


async def test_the_sync_run_works_where_a_loop_is_running(tmp_path):
    seen = set[int]()
    done = small_run(tmp_path, on_event=lambda event: seen.add(threading.get_ident()))
    assert done.best.record.id == "01-00"
    assert seen.isdisjoint({threading.get_ident()})


def test_the_sync_run_has_the_signature_of_the_async_one():
    assert inspect.signature(run) == inspect.signature(arun)


async def test_with_a_checkpointer_the_run_is_a_thread(tmp_path):
    saver = InMemorySaver()
    done = await arun(PROMPT, out=tmp_path / "run", checkpointer=saver, **roles({}))
    state = await build_graph(saver).aget_state({"configurable": {"thread_id": done.result.run}})
    assert state.values["best"] == done.result.best.id


async def test_many_runs_side_by_side_keep_to_themselves(tmp_path):
    scripts = [{"00-00": "red"}, {"00-00": "cat"}, {}]
    given = [{"out": tmp_path / str(n), **roles(script)} for n, script in enumerate(scripts)]
    done = await asyncio.gather(*(arun(PROMPT, policy=Adaptive(images=1), **g) for g in given))
    assert [r.decisions[0].rule for r in done] == ["few_checks_fail", "subject_missing", "all_pass"]


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ("", "empty"),
        (" \u3000 ", "empty"),
        ("a" * 2001, "2001 characters"),
        ("a cat\x1b[2J", r"U\+001B"),
        ("a cat\x00", r"U\+0000"),
        ("a cat\nholding", r"U\+000A"),
        ("a cat\udc80", r"U\+DC80"),
        ("a xylophone", "these words: xylophone"),
    ],
)
def test_a_prompt_that_cannot_be_read_costs_and_leaves_nothing(tmp_path, prompt, complaint):
    diffusion = FakeDiffusion()
    with pytest.raises(PromptError, match=complaint):
        run(prompt, out=tmp_path / "new" / "run", **roles({}, diffusion=diffusion))
    assert diffusion.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"policy": "nope"}, "no policy 'nope'"),
        ({"preset": "nope"}, "no preset 'nope'"),
        ({"steps": 9}, "steps and guidance belong"),
        ({"steps": 0, "diffusion": None}, "steps"),
        ({"guidance": float("nan"), "diffusion": None}, "guidance"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_used_costs_and_leaves_nothing(tmp_path, given, complaint):
    with pytest.raises(SettingsError, match=complaint):
        run(PROMPT, **(roles({}) | {"out": tmp_path / "new" / "run"} | given))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(SettingsError, match="not empty"):
        run(PROMPT, out=tmp_path, **roles({}))
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("out", ["file", "file/below", "\x00", "x" * 300])
def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path, out):
    (tmp_path / "file").write_text("a file, no folder")
    with pytest.raises(SettingsError, match="cannot write to the folder"):
        run(PROMPT, out=tmp_path / out, **roles({}))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


class CorruptWeights(FakeDiffusion):
    async def draw(self, attempt, store, *, source=None, progress=None):
        raise ModelError("the weights are corrupt; install the package again")


def test_models_that_fail_before_the_first_image_leave_nothing(tmp_path):
    (tmp_path / "given").mkdir()
    for out in (tmp_path / "given", tmp_path / "new" / "run"):
        with pytest.raises(ModelError, match="corrupt"):
            run(PROMPT, out=out, **roles({}, diffusion=CorruptWeights()))
    assert [p.name for p in tmp_path.rglob("*")] == ["given"]


def test_an_image_outlives_what_fails_after_it(tmp_path):
    with pytest.raises(RuntimeError, match="the model broke"):
        small_run(tmp_path, diffusion=FakeDiffusion(breaks_at="01-00"))
    assert (tmp_path / "run" / "images" / "00-00.png").exists()
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    "prompt", ["<script>alert(1)</script> & [bold]x[/bold]", "../../etc/passwd", "猫が傘を持つ", "-rf *"]
)
def test_hostile_prompt_text_stays_text(tmp_path, monkeypatch, prompt):
    monkeypatch.chdir(tmp_path)
    done = run(prompt, **roles({}))
    assert done.folder.resolve().parent == tmp_path / "runs"
    assert done.result.prompt == prompt
    assert "<script>alert(1)" not in done.report.read_text()


def test_a_notebook_shows_pictures_in_a_table_and_a_shell_one_line(tmp_path):
    def many(population):
        return [reseed(population, image, "more", "x") for image in population.pending()]

    made = run(
        PROMPT, policy=many, budget={"images": 15, "rounds": 20}, out=tmp_path / "<b>", **roles({"00-00": "red"})
    )
    page = made._repr_html_()
    assert page.count("data:image/jpeg;base64,") == 12
    assert "★ 01-00" in page.split("<tr>")[2]
    assert "3 more" in page
    assert "<b>" not in page
    assert len(repr(made)) < 300
    assert len(made.to_frame()) == 15


def test_a_bar_follows_the_steps_of_a_run_and_ends_with_it(tmp_path, capsys):
    run(PROMPT, policy="single", out=tmp_path / "run", on_event=ProgressBar(), **roles({"00-00": "red"}))
    assert "56/56" in capsys.readouterr().err
