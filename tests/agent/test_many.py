"""Many runs over one set of roles: no result lands on another's prompt, and nothing ends the others' work."""

import asyncio
import gc
import json
import random
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import pytest

from detailscribe.agent import BestOfN, Run, Single, read_run
from detailscribe.agent.batch.batch import RUNS, perform_jobs, run_job
from detailscribe.agent.batch.folder import Ledger
from detailscribe.agent.batch.jobs import Job, folder_name
from detailscribe.agent.graph.checkpoints import CACHE, TaskCache
from detailscribe.agent.records.events import NodeStarted
from detailscribe.agent.records.rows import RESULTS, read_rows
from detailscribe.agent.settings.loading import load
from detailscribe.agent.settings.models import Models
from detailscribe.agent.settings.settings import Settings
from detailscribe.state import Budget, Population
from detailscribe.tools.errors import ModelError, SettingsError

from .fakes import CHECKS, FakeDecomposer, FakeDiffusion, ScriptedCritic

ONE = BestOfN(n=1)


def jobs(count, **changes):
    return [
        Job(f"job-{n:04d}", **({"prompt": f"a cat, take {n}", "seed": n, "policy": ONE} | changes))
        for n in range(count)
    ]


async def many(folder, given, **changes):
    """The rows by id; ``changes`` that are roles stand in for the fakes."""
    chosen = {"decomposer": FakeDecomposer(), "diffusion": FakeDiffusion(), "critic": ScriptedCritic({})}
    chosen |= {name: changes.pop(name) for name in chosen if name in changes}
    loaded = load(Settings())
    with Ledger(folder) as ledger:
        models, how = Models(loaded.settings, **chosen), {"concurrency": 16} | changes
        with closing(TaskCache(folder / CACHE)) as cache:
            own = {"cache": cache, "shared": folder / RUNS, "on_event": how.pop("on_event", None)}
            perform = partial(run_job, loaded=loaded, models=models, **own)
            await perform_jobs(given, perform, ledger, **how)
    return {row.id: row for row in read_rows(folder)}


@dataclass
class Unhurried(FakeDiffusion):
    """Takes longest for the first that ask, and counts who is here."""

    breaks_on: str = "nothing"
    error: type[Exception] = RuntimeError
    here: int = 0
    most: int = 0

    async def draw(self, attempt, store, *, source=None, progress=None):
        self.here += 1
        self.most = max(self.most, self.here)
        try:
            for _ in range(random.Random(attempt.prompt).randrange(20)):
                await asyncio.sleep(0)
            if self.breaks_on in attempt.prompt:
                raise self.error(f"the model broke at {attempt.prompt}")
            return await super().draw(attempt, store, source=source, progress=progress)
        finally:
            self.here -= 1


async def test_every_result_lands_on_its_own_prompt_whatever_ends_first(tmp_path):
    def as_the_seed_says(image):
        return " ".join(CHECKS[: image.seed % len(CHECKS)])

    asked = jobs(40)
    rows = await many(tmp_path, asked, diffusion=Unhurried(), critic=ScriptedCritic(as_the_seed_says), concurrency=8)
    assert list(rows) != [job.id for job in asked], "they end in another order"
    for job in asked:
        row = rows[job.id]
        assert (row.prompt, row.seed) == (job.prompt, job.seed)
        assert (row.passed, row.checks) == (len(CHECKS) - job.seed % len(CHECKS), len(CHECKS))
        result = json.loads((tmp_path / row.run / "result.json").read_bytes())
        assert (result["prompt"], result["best"]["seed"]) == (job.prompt, job.seed)
        assert (tmp_path / row.best).is_file()


@dataclass
class Slow(FakeDecomposer):
    """Answers when others had the time to ask as well."""

    async def decompose(self, prompt):
        await asyncio.sleep(0.05)
        return await super().decompose(prompt)


async def test_what_runs_ask_alike_at_the_same_time_is_asked_and_drawn_once(tmp_path):
    decomposer, diffusion = Slow(), FakeDiffusion(writes_latents=True)
    same = [Job(f"job-{n}", prompt="a cat", seed=1, policy=BestOfN(n=n)) for n in (1, 2, 3)]
    rows = await many(tmp_path, same, decomposer=decomposer, diffusion=diffusion, concurrency=3)
    assert [row.status for row in rows.values()] == ["done"] * 3
    assert decomposer.asked == ["a cat"]
    assert len(diffusion.requests) == 3


async def test_no_more_are_in_flight_than_the_concurrency_and_the_source_is_read_as_places_become_free(tmp_path):
    diffusion, taken = Unhurried(), []

    def source():
        for job in jobs(30):
            taken.append(job.id)
            yield job

    ahead = []
    await many(tmp_path, source(), diffusion=diffusion, concurrency=4, on_row=lambda row: ahead.append(len(taken)))
    assert 1 < diffusion.most <= 4
    assert all(taken_by_then <= row + 4 for row, taken_by_then in enumerate(ahead, 1))


async def test_a_run_that_fails_is_a_row_and_not_the_end(tmp_path):
    given = [*jobs(5), Job("words", "a xylophone", 0, ONE), Job("empty", "", 0, ONE)]
    rows = await many(tmp_path, given, diffusion=Unhurried(breaks_on="take 3"), concurrency=2)
    assert {id: row.error for id, row in rows.items() if row.status == "failed"} == {
        "job-0003": "RuntimeError",
        "words": "PromptError",
        "empty": "PromptError",
    }
    assert rows["job-0003"].message == "the model broke at a cat, take 3"
    assert rows["job-0003"].run is None
    assert not (tmp_path / "runs" / "job-0003").exists()
    assert not rows["job-0003"].all_correct


async def test_a_failed_run_with_an_image_keeps_its_folder(tmp_path):
    diffusion = FakeDiffusion(breaks_at="01-00")
    rows = await many(tmp_path, jobs(1, policy=Single()), diffusion=diffusion, critic=ScriptedCritic(lambda i: "cat"))
    assert (rows["job-0000"].error, rows["job-0000"].run) == ("RuntimeError", "runs/job-0000")
    assert (tmp_path / "runs" / "job-0000" / "images" / "00-00.png").is_file()


async def test_a_run_that_is_cancelled_from_within_is_a_failed_row(tmp_path):
    class Cancelled(FakeDecomposer):
        async def decompose(self, prompt):
            if "take 1" in prompt:
                raise asyncio.CancelledError
            return await super().decompose(prompt)

    rows = await many(tmp_path, jobs(3), decomposer=Cancelled())
    assert [row.error for row in rows.values() if row.status == "failed"] == ["NodeCancelledError"]
    assert len(rows) == 3


async def test_a_model_that_fails_all_ends_the_batch_and_leaves_no_row(tmp_path):
    broken = Unhurried(breaks_on="take", error=ModelError)
    with pytest.raises(ModelError, match="the model broke"):
        await many(tmp_path, jobs(100), diffusion=broken, concurrency=4)
    assert list(read_rows(tmp_path)) == []
    assert broken.most <= 4
    assert list(tmp_path.glob("runs/*")) == []
    assert len(await many(tmp_path, jobs(9))) == 9, "and it goes on once the model works"


async def test_few_jobs_that_all_fail_by_a_model_end_the_batch(tmp_path):
    with pytest.raises(ModelError, match="the model broke"):
        await many(tmp_path, jobs(2), diffusion=Unhurried(breaks_on="take", error=ModelError))
    assert list(read_rows(tmp_path)) == []


@pytest.mark.parametrize("concurrency", [1, 4, 64])
async def test_a_model_that_refuses_some_prompts_fails_these_alone(tmp_path, concurrency):
    refused = Unhurried(breaks_on="7", error=ModelError)
    rows = await many(tmp_path, jobs(30), diffusion=refused, concurrency=concurrency)
    assert len(rows) == 30
    assert sorted(row.id for row in rows.values() if row.error == "ModelError") == [f"job-{n:04d}" for n in (7, 17, 27)]


async def test_a_model_that_breaks_on_the_way_leaves_the_rows_so_far(tmp_path):
    @dataclass
    class Mortal(FakeDiffusion):
        lives: int = 10

        async def draw(self, attempt, store, *, source=None, progress=None):
            self.lives -= 1
            if self.lives < 0:
                raise ModelError("the server is gone")
            return await super().draw(attempt, store, source=source, progress=progress)

    with pytest.raises(ModelError, match="the server is gone"):
        await many(tmp_path, jobs(20), diffusion=Mortal(), concurrency=4)
    assert [row.status for row in read_rows(tmp_path)] == ["done"] * 10
    rows = await many(tmp_path, jobs(20), concurrency=4)
    assert len(rows) == sum(1 for _ in read_rows(tmp_path)) == 20


async def test_cancelling_stops_what_is_in_flight_and_another_start_goes_on(tmp_path):
    @dataclass
    class Stuck(FakeDiffusion):
        cancelled: list[str] = field(default_factory=list)

        async def draw(self, attempt, store, *, source=None, progress=None):
            if "take 3" in attempt.prompt:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.cancelled.append(attempt.prompt)
                    raise
            return await super().draw(attempt, store, source=source, progress=progress)

    stuck = Stuck()
    noted = asyncio.Event()
    work = asyncio.create_task(many(tmp_path, jobs(4), diffusion=stuck, concurrency=4, on_row=lambda row: noted.set()))
    await noted.wait()
    await asyncio.sleep(0.05)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert stuck.cancelled == ["a cat, take 3"]
    assert not (tmp_path / "runs" / "job-0003").exists()
    assert "job-0003" not in {row.id for row in read_rows(tmp_path)}
    decomposer = FakeDecomposer()
    assert len(await many(tmp_path, jobs(4), decomposer=decomposer)) == 4
    assert decomposer.asked == []


async def test_a_folder_that_no_run_of_this_job_left_is_made_anew(tmp_path):
    half = tmp_path / "runs" / "job-0000"
    (half / "images").mkdir(parents=True)
    (half / "images" / "00-07.png").write_bytes(b"left by a kill")
    rows = await many(tmp_path, jobs(1))
    assert rows["job-0000"].status == "done"
    assert not (half / "images" / "00-07.png").exists()


async def test_folders_can_go_once_their_rows_are_there(tmp_path):
    rows = await many(tmp_path, jobs(3), keep_runs=False)
    assert len(rows) == 3
    assert list((tmp_path / "runs").iterdir()) == []


async def test_an_id_that_was_run_as_something_else_is_refused(tmp_path):
    await many(tmp_path, jobs(2))
    with pytest.raises(SettingsError, match=r"'job-0000' has a row in .* already, for another prompt"):
        await many(tmp_path, jobs(2, prompt="a dog"))


def live() -> int:
    """Runs and populations in memory."""
    gc.collect()
    return sum(type(o) in (Run, Population) for o in gc.get_objects())


async def test_of_runs_that_ended_nothing_is_held_but_their_rows(tmp_path):
    ended, held, others = [], [], live()

    def count(row):
        ended.append(row.id)
        if len(ended) % 20 == 0:
            held.append(live() - others)

    await many(tmp_path, jobs(80), keep_runs=False, concurrency=4, on_row=count)
    assert len(ended) == 80
    assert 0 < max(held) <= 3 * 4


@pytest.mark.parametrize("torn", [b'{"id": "job-0', b"\xff\xfe", b'{"id": "job-0001", "status": "done"}'])
async def test_a_last_line_torn_by_a_kill_is_cut_off(tmp_path, torn):
    await many(tmp_path, jobs(3))
    whole = (tmp_path / RESULTS).read_bytes()
    (tmp_path / RESULTS).write_bytes(whole + torn)
    assert len(list(read_rows(tmp_path))) == 3
    with Ledger(tmp_path) as ledger:
        assert ledger.tally.rows == 3
    assert (tmp_path / RESULTS).read_bytes() == whole


def test_a_file_that_is_one_torn_line_is_emptied(tmp_path):
    (tmp_path / RESULTS).write_bytes(b"x" * 200_000)
    with Ledger(tmp_path) as ledger:
        assert ledger.tally.rows == 0
    assert (tmp_path / RESULTS).read_bytes() == b""


async def test_a_whole_line_that_is_no_row_is_dropped_with_a_word_and_kept_beside(tmp_path, caplog):
    await many(tmp_path, jobs(1))
    with (tmp_path / RESULTS).open("ab") as file:
        file.write(b'{"id": "x"}\n')
    before = (tmp_path / RESULTS).read_bytes()
    with Ledger(tmp_path) as ledger:
        assert ledger.tally.rows == 1
    assert "1 of its 2 lines cannot be read" in caplog.text
    [aside] = tmp_path.glob(f"{RESULTS}.damaged-*")
    assert aside.read_bytes() == before


def test_two_cannot_write_to_one_folder(tmp_path):
    with Ledger(tmp_path), pytest.raises(SettingsError, match="another process is working on"):
        Ledger(tmp_path)
    with Ledger(tmp_path):
        pass


@pytest.mark.parametrize("id", ["000017", "coco-12", "a.b_c-d", "x" * 100])
def test_a_plain_id_is_the_name_of_its_folder(id):
    assert folder_name(id) == id


HOSTILE = ["", ".", "..", "../../etc/passwd", "/etc", "a/b", "a\\b", "C:x", "con", "NUL.txt", "-rf", "a ", "a.", "A"]
HOSTILE += ["x" * 101, "猫", "a\x00b", "a\nb", "\udc80", "~root", "$HOME", "*", "lpt1", "aux.json"]


def test_a_hostile_id_stays_inside_the_folder_and_apart_from_the_others(tmp_path):
    names = [folder_name(id) for id in HOSTILE]
    assert len({name.lower() for name in names}) == len(HOSTILE)
    for name in names:
        (tmp_path / name).mkdir()
        assert (tmp_path / name).parent.samefile(tmp_path)
        assert name.split(".")[0] not in ("con", "nul", "aux", "lpt1")
    assert len(list(tmp_path.iterdir())) == len(HOSTILE)


class Counting(FakeDiffusion):
    """Can be told to stop for good at an image."""

    stuck_at = "01-00"

    async def draw(self, attempt, store, *, source=None, progress=None):
        if attempt.id == self.stuck_at:
            await asyncio.sleep(60)
        return await super().draw(attempt, store, source=source, progress=progress)


async def cut_off(folder, given):
    """A start that is cancelled when the first image was drawn and looked at, and the second is being drawn."""
    seen = asyncio.Event()

    def watch(event):
        if isinstance(event, NodeStarted) and event.node == "refine":
            seen.set()

    script = ScriptedCritic(lambda image: "red")
    work = asyncio.create_task(
        many(folder, given, diffusion=Counting(writes_latents=True), critic=script, on_event=watch)
    )
    await seen.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


async def test_a_run_that_was_cut_off_goes_on_with_what_it_had(tmp_path):
    given = jobs(1, policy=Single())
    await cut_off(tmp_path, given)
    again, decomposer = FakeDiffusion(writes_latents=True), FakeDecomposer()
    rows = await many(tmp_path, given, diffusion=again, decomposer=decomposer, critic=ScriptedCritic(lambda i: "red"))
    assert ([request.id for request in again.requests], decomposer.asked) == (["01-00"], [])
    assert (rows["job-0000"].status, rows["job-0000"].spend.images) == ("done", 2)
    recorded = read_run(tmp_path / "runs" / "job-0000")
    assert (recorded.status, list(recorded.images)) == ("finished", ["00-00", "01-00"])


@pytest.mark.parametrize("changed", [{"prompt": "a dog"}, {"seed": 9}, {"policy": ONE}, {"budget": Budget(images=3)}])
async def test_what_another_job_of_the_same_id_left_is_removed(tmp_path, changed):
    await cut_off(tmp_path, jobs(1, policy=Single()))
    again = FakeDiffusion(writes_latents=True)
    await many(tmp_path, jobs(1, **({"policy": Single()} | changed)), diffusion=again)
    assert again.requests[0].id == "00-00"


async def test_what_another_model_drew_is_removed(tmp_path):
    await cut_off(tmp_path, jobs(1, policy=Single()))
    again = FakeDiffusion(model="fake@1", writes_latents=True)
    await many(tmp_path, jobs(1, policy=Single()), diffusion=again)
    assert again.requests[0].id == "00-00"


async def test_a_run_that_ended_and_had_no_time_for_its_row_is_not_run_again(tmp_path):
    before = (await many(tmp_path, jobs(1)))["job-0000"]
    (tmp_path / RESULTS).unlink()
    again = FakeDiffusion()
    after = (await many(tmp_path, jobs(1), diffusion=again))["job-0000"]
    assert again.requests == []
    assert (after.spend, after.best, after.passed) == (before.spend, before.best, before.passed)
