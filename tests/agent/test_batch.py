"""A batch of prompts: what it leaves, how it goes on, and what it refuses to go on with."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from detailscribe.agent import BestOfN, arun_batch, read_run, run_batch
from detailscribe.agent.policies import stop
from detailscribe.agent.records.rows import read_rows
from detailscribe.prompts.loader import FOLDER
from detailscribe.state import Budget
from detailscribe.tools.errors import ModelError, NoAnswerError, PromptError, ReplyError, SettingsError
from detailscribe.tools.language.chat import ChatModel
from detailscribe.tools.language.demo_server import MODEL, DemoServer
from detailscribe.tools.language.settings import ChatSettings
from detailscribe.tools.vision.critic import ChatCritic

from .fakes import PROMPT, FakeDecomposer, FakeDiffusion, ScriptedCritic, roles

PROMPTS = [PROMPT, "a xylophone", {"prompt": "a dog", "id": "dog", "policy": "single", "topic": "pets", "seed": 3}]


def batch(folder, prompts=PROMPTS, **changes):
    return run_batch(prompts, **(roles({"00-00": "red"}) | {"out": folder} | changes))


def test_each_prompt_leaves_a_row_and_a_run(tmp_path):
    done = batch(tmp_path / "out")
    rows = {row.prompt: row for row in done.rows()}
    assert (done.tally.done, done.tally.failed, done.tally.correct) == (2, 1, 2)
    assert rows["a xylophone"].message == "it does not know these words: xylophone"
    dog = rows["a dog"]
    assert (dog.id, dog.seed, dog.tags, dog.run) == ("dog", 3, {"topic": "pets"}, "runs/dog")
    assert dog.policy.startswith("Single(")
    run = read_run(done.folder / dog.run)
    assert (run.prompt, run.status, run.best.seed, run.spend) == ("a dog", "finished", 3, dog.spend)
    assert (done.folder / dog.best) == run.path(run.best.id)
    assert json.loads((done.folder / dog.run / "manifest.json").read_bytes())["seed"] == 3
    assert (done.folder / dog.run / "report.html").is_file()


def test_a_row_says_what_a_single_run_would(tmp_path):
    from detailscribe.agent import run

    alone = run(PROMPT, seed=5, out=tmp_path / "alone", **roles({"00-00": "red"}))
    [row] = batch(tmp_path / "out", [PROMPT], seed=5).rows()
    assert (row.spend, row.stop, row.passed) == (alone.spend, alone.stop, alone.best.critique.passed)
    assert read_run(tmp_path / "out" / row.run).best.seed == alone.best.record.seed


def test_another_start_runs_nothing_that_has_a_row(tmp_path):
    batch(tmp_path / "out")
    results = (tmp_path / "out" / "results.jsonl").read_bytes()
    decomposer, seen = FakeDecomposer(), []
    again = batch(tmp_path / "out", decomposer=decomposer, on_progress=lambda progress, row: seen.append(progress.left))
    assert (decomposer.asked, seen) == ([], [0])
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == results
    assert again.tally.rows == 3


def test_nothing_is_loaded_where_nothing_is_left(tmp_path, monkeypatch):
    batch(tmp_path / "out")

    def load(*_, **__):
        raise ModelError("this would take minutes")

    monkeypatch.setattr("detailscribe.agent.batch.batch.Models", load)
    assert batch(tmp_path / "out").tally.rows == 3


def test_prompts_that_were_added_anywhere_are_run_alone(tmp_path):
    batch(tmp_path / "out")
    decomposer = FakeDecomposer()
    more = batch(tmp_path / "out", ["a new one", *PROMPTS[::-1], "another"], decomposer=decomposer)
    assert sorted(decomposer.asked) == ["a new one", "another"]
    assert more.tally.rows == 5


def test_failed_prompts_are_run_again_where_that_is_asked_for(tmp_path):
    broken = FakeDiffusion(breaks_at="00-00")
    assert batch(tmp_path / "out", diffusion=broken).tally.failed == 3
    again = batch(tmp_path / "out", retry_failed=True)
    assert (again.tally.done, again.tally.failed) == (2, 1)
    assert Counter(row.id for row in again.rows()).most_common(1)[0][1] == 1


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 4}, "run.seed was 0 and is 4"),
        ({"policy": "best_of_n"}, "run.policy was 'adaptive' and is 'best_of_n'"),
        ({"budget": Budget(images=3)}, "run.budget.images was 16 and is 3"),
        ({"settings": {"run": {"policy_args": {"images": 3}}}}, "run.policy_args was {} and is {'images': 3}"),
        ({"diffusion": FakeDiffusion(model="fake@1")}, "diffusion was 'fake@0' and is 'fake@1'"),
        ({"critic": ScriptedCritic({}, model="script@1")}, "critic was 'script@0' and is 'script@1'"),
    ],
    ids=str,
)
def test_a_batch_goes_on_with_nothing_but_what_it_began_with(tmp_path, changed, named):
    batch(tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.json*")}
    with pytest.raises(SettingsError, match="began otherwise") as refused:
        batch(tmp_path / "out", [*PROMPTS, "a new one"], **changed)
    assert named in str(refused.value)
    assert {path: path.read_bytes() for path in (tmp_path / "out").glob("*.json*")} == before


def test_settings_that_change_no_outcome_may_change(tmp_path):
    batch(tmp_path / "out")
    slower = {"diffusion": {"max_batch": 1}, "chat": {"timeout": 5, "headers": {"api-key": "secret"}}}
    other = slower | {"edit": {"key": "secret", "price": 0.1}}
    assert batch(tmp_path / "out", [*PROMPTS, "a new one"], settings=other).tally.rows == 4


def test_a_policy_that_is_a_function_is_the_same_in_another_process(tmp_path):
    def lazy():
        return lambda population: [stop(image, "lazy", "why bother") for image in population.pending()]

    batch(tmp_path / "out", policy=lazy())
    assert batch(tmp_path / "out", policy=lazy()).tally.rows == 3


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(SettingsError, match="is not empty and holds no batch"):
        batch(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("prompts", "changed", "complaint"),
    [
        ([], {}, "there is no prompt"),
        ([{"prompt": "a", "id": "x"}, {"prompt": "b", "id": "x"}], {}, "prompt 2 has the id 'x', which prompt 1"),
        ([{"prompt": "a", "id": "X y"}, {"prompt": "b", "id": "X y"}], {}, "has the id 'X y'"),
        ([{"caption": "a cat"}], {}, "prompt 1: prompt: Field required"),
        (["a cat"], {"concurrency": 0}, "concurrency of 0"),
        (["a cat"], {"steps": 5}, "steps and guidance belong"),
        (["a cat"], {"policy": "sngle"}, "no policy 'sngle'"),
        (["a cat"], {"seed": -1}, "seed"),
        ("absent.jsonl", {}, "No such file"),
    ],
    ids=str,
)
def test_what_cannot_be_run_leaves_nothing(tmp_path, prompts, changed, complaint):
    with pytest.raises(SettingsError, match=complaint):
        batch(tmp_path / "new" / "out", prompts, **changed)
    assert list(tmp_path.iterdir()) == []


def test_models_that_cannot_be_used_leave_nothing(tmp_path):
    class Corrupt(FakeDiffusion):
        async def draw(self, attempt, store, *, source=None, progress=None):
            raise ModelError("the weights are corrupt; install the package again")

    with pytest.raises(ModelError, match="corrupt"):
        batch(tmp_path / "new" / "out", ["a cat", "a dog"], diffusion=Corrupt())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("a file, no folder")
    for out in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(SettingsError, match="cannot write to the folder"):
            batch(out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_prompts_of_no_file_have_a_new_folder_each_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = batch(None), batch(None)
    assert first.folder != second.folder
    assert first.folder.parent == Path("runs")


async def test_a_batch_that_was_cancelled_goes_on(tmp_path):
    class Slow(FakeDiffusion):
        async def draw(self, attempt, store, *, source=None, progress=None):
            if attempt.seed != 1:
                await asyncio.sleep(60)
            return await super().draw(attempt, store, source=source, progress=progress)

    noted, prompts = asyncio.Event(), [{"prompt": f"a cat, take {n}", "seed": n} for n in range(1, 9)]
    given = {"out": tmp_path / "out", "policy": "single"}
    work = asyncio.create_task(
        arun_batch(prompts, **roles({}, diffusion=Slow()), **given, on_progress=lambda _, row: row and noted.set())
    )
    await noted.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert [row.seed for row in read_rows(tmp_path / "out")] == [1]
    assert [path.name for path in (tmp_path / "out" / "runs").iterdir()] == [
        next(read_rows(tmp_path / "out")).run.removeprefix("runs/")
    ]
    done = await arun_batch(prompts, **roles({}), **given)
    assert sorted(row.seed for row in done.rows()) == list(range(1, 9))


KILLED = """
import asyncio, sys
sys.path.insert(0, sys.argv.pop(1))
from fakes import *
from detailscribe.agent.cli import main

class Slow(FakeDiffusion):
    async def draw(self, attempt, store, *, source=None, progress=None):
        await asyncio.sleep(0.02)
        return await super().draw(attempt, store, source=source, progress=progress)

stand_in(FakeDecomposer, Slow, lambda: ScriptedCritic(lambda i: "red" if i.prompt.endswith("3") else ""))
main()
"""


def test_a_batch_that_was_killed_again_and_again_has_each_prompt_once(tmp_path):
    prompts = [f"a cat, take {n}" for n in range(40)]
    (tmp_path / "p.txt").write_text("\n".join(prompts))
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), "batch", "p.txt", "--policy", "single"]
    results = tmp_path / "runs" / "p" / "results.jsonl"
    lines = 0
    for _ in range(2):
        with subprocess.Popen([*command, "--concurrency", "4"], cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and (not results.exists() or results.read_bytes().count(b"\n") < lines + 5):
                time.sleep(0.005)
            assert process.returncode is None
            process.kill()
        lines = results.read_bytes().count(b"\n")
    with results.open("ab") as file:
        file.write(b'{"id": "torn by the ki')
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"40 prompts, {lines} of them before this start; folder runs/p" in done.stdout
    rows = list(read_rows(tmp_path / "runs" / "p"))
    assert Counter(row.prompt for row in rows) == Counter(prompts)
    for row in rows:
        recorded = read_run(tmp_path / "runs" / "p" / row.run)
        assert (recorded.prompt, recorded.status) == (row.prompt, "finished")
        assert row.passed == recorded.critiques[recorded.best.id].passed
    assert len(list((tmp_path / "runs" / "p" / "runs").iterdir())) == 40


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_says_how_to_go_on(tmp_path):
    (tmp_path / "p.txt").write_text("\n".join(f"a cat, take {n}" for n in range(500)))
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), "batch", "p.txt", "--concurrency", "2"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("  3/500"):
                break
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=30)[1].splitlines()
    assert process.returncode == 130
    assert told[-1] == "interrupted"
    rows = len(list(read_rows(tmp_path / "runs" / "p")))
    assert told[-2] == f"{rows} of 500 prompts have a row; the same command with --out runs/p goes on"
    assert len(list((tmp_path / "runs" / "p" / "runs").iterdir())) <= rows + 2


def test_the_embedded_world_draws_what_each_row_says(tmp_path):
    prompts = ["a fox riding a red bicycle", "words that it does not know", "a bear holding a blue balloon"]
    done = run_batch(prompts, policy=BestOfN(n=1), steps=6, out=tmp_path)
    rows = {row.prompt: row for row in done.rows()}
    assert [rows[prompt].status for prompt in prompts] == ["done", "failed", "done"]
    for prompt in (prompts[0], prompts[2]):
        recorded = read_run(tmp_path / rows[prompt].run)
        assert recorded.concepts.prompt == recorded.best.prompt == prompt
        assert rows[prompt].passed == recorded.critiques[recorded.best.id].passed
    assert done.tally.spend.evaluations == 2 * 2 * 6


@pytest.mark.parametrize(
    ("asks", "fault", "error", "words"),
    [
        ("decomposer", "hangs", ReplyError, r"timed out after 0\.3 s"),
        ("decomposer", "is down", ReplyError, "the server answered 503"),
        ("critic", "hangs up", NoAnswerError, "the connection was cut"),
    ],
)
def test_a_server_that_does_not_reply_ends_a_batch_after_a_few_prompts(tmp_path, asks, fault, error, words):
    calls = []

    class Hanging(BaseHTTPRequestHandler):
        def do_POST(self):
            calls.append(self.path)
            if fault == "hangs":
                ended.wait(30)
            elif fault == "is down":
                self.send_error(503)
            self.close_connection = True

    ended, server = threading.Event(), ThreadingHTTPServer(("127.0.0.1", 0), Hanging)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    chat = {"model": "m", "url": f"http://127.0.0.1:{server.server_port}/v1", "timeout": 0.3, "transport_retries": 0}
    mine = {"decomposer": FakeDecomposer(), "diffusion": FakeDiffusion(), "critic": ScriptedCritic({})}
    if asks == "critic":
        url = {"base_url": chat["url"], "timeout": 0.3, "transport_retries": 0, "attempts": 1}
        mine["critic"] = ChatCritic(ChatModel(ChatSettings(model="m", **url)))
    else:
        del mine[asks]
    try:
        with pytest.raises(error, match=words):
            run_batch(
                [f"{PROMPT}, {n}" for n in range(40)],
                out=tmp_path / "batch",
                settings={"chat": chat | {"cache": "off"}},
                concurrency=2,
                **mine,
            )
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
    assert len(calls) < 20


def test_an_error_that_only_quotes_such_words_is_the_prompts_own(tmp_path):
    class Quotes(FakeDecomposer):
        async def decompose(self, prompt):
            raise PromptError(f"it cannot read {prompt!r}")

    prompts = [f"a clock that timed out after {n} s" for n in range(4)]
    assert batch(tmp_path / "out", prompts, concurrency=1, decomposer=Quotes()).tally.failed == 4


def test_templates_are_read_once_and_a_batch_or_run_goes_on_with_the_same_ones_alone(tmp_path):
    own = tmp_path / "own" / "critique.txt"
    own.parent.mkdir()
    own.write_text((FOLDER / "critique.txt").read_text() + "\nBe strict.")

    def edit(progress, row):
        if row is not None:
            own.write_text((FOLDER / "critique.txt").read_text() + "\nBe kind.")

    server = DemoServer().start()
    try:
        chat = {"model": MODEL, "url": server.url, "cache": "off", "templates": own.parent}
        mine = {"out": tmp_path / "b", "settings": {"chat": chat}, "diffusion": FakeDiffusion(), "policy": BestOfN(n=1)}
        prompts = [f"a {colour} bicycle" for colour in ("red", "blue", "green")]
        done = run_batch(prompts[:2], concurrency=1, on_progress=edit, **mine)
        runs = [read_run(done.folder / row.run) for row in done.rows()]
        asked = [{e.prompt.split("\n", 1)[0] for e in run.critiques["00-00"].exchanges} for run in runs]
        assert asked[0] == asked[1]
        assert all("Be strict." in e.prompt for run in runs for e in run.critiques["00-00"].exchanges[:1])
        with pytest.raises(SettingsError, match=r"critic was .*templates@\w+.* and is .*templates@"):
            run_batch(prompts, **mine)
    finally:
        server.stop()


@pytest.mark.parametrize("lost", ["images/00-00.png", "latents/00-00.safetensors"])
@pytest.mark.parametrize("whose", ["its own", "of the run that drew it"])
def test_an_image_of_the_cache_with_a_file_that_is_gone_is_drawn_again(tmp_path, lost, whose):
    class Breaking(ScriptedCritic):
        async def critique(self, image, concepts, store):
            raise RuntimeError("the critic broke")

    def go(critic, diffusion, prompts):
        own = {"critic": critic, "diffusion": diffusion, "decomposer": FakeDecomposer()}
        batch = run_batch(prompts, out=tmp_path, policy=BestOfN(n=1), retry_failed=True, **own)
        return {row.id: row for row in batch.rows()}

    first, second = ({"id": id, "prompt": PROMPT, "seed": 3} for id in ("first", "second"))
    row = go(Breaking({}), FakeDiffusion(writes_latents=True), [first])["first"]
    file = tmp_path / row.run / lost
    before = file.read_bytes()
    file.unlink()
    again = FakeDiffusion(writes_latents=True)
    prompts = [first] if whose == "its own" else [second]
    [row] = [row for row in go(ScriptedCritic({}), again, prompts).values() if row.status == "done"]
    assert (tmp_path / row.run / lost).read_bytes() == before
    assert "00-00" in [request.id for request in again.requests]
