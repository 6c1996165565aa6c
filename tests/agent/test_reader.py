"""A recorded run is read as far as it came, and can be judged again."""

from datetime import timedelta

import pytest

from detailscribe.agent import Adaptive, afork, arun, read_events, read_run
from detailscribe.agent.records.events import NodeStarted, Resumed, RunStarted, TraceError
from detailscribe.agent.records.reader import RecordedRun

from .fakes import PROMPT, FakeDiffusion, roles

SCRIPT = {"00-00": "red holding", "00-01": "red holding alone", "01-00": "holding alone", "02-00": ""}


async def recorded(folder, **changes) -> RecordedRun:
    await arun(PROMPT, **(roles(SCRIPT) | {"policy": Adaptive(images=2), "out": folder, "seed": 7} | changes))
    return read_run(folder)


async def test_a_finished_run_is_read_from_its_trace_as_its_result_tells_it(tmp_path):
    run = await recorded(tmp_path / "run")
    result = run.result
    assert (run.status, run.prompt, run.stop, run.best) == ("finished", PROMPT, "all_pass", result.best)
    assert tuple(run.images.values()) == result.images
    assert tuple(run.critiques.values()) == result.critiques
    assert tuple(run.decisions.values()) == result.decisions
    assert (run.concepts, run.spend) == (result.concepts, result.spend)
    assert run.manifest.seed == 7
    assert all(run.path(image).is_file() for image in run.images)


async def test_a_run_killed_at_any_byte_is_read_as_far_as_its_lines_go(tmp_path):
    whole = await recorded(tmp_path / "run")
    trace, folder = (tmp_path / "run" / "events.jsonl").read_bytes(), tmp_path / "killed"
    folder.mkdir()
    for length in range(trace.index(b"\n") + 1, len(trace), 97):
        (folder / "events.jsonl").write_bytes(trace[:length])
        run = read_run(folder)
        assert (run.status, run.result) == ("unfinished", None)
        assert run.images.items() <= whole.images.items()
        assert run.decisions.items() <= whole.decisions.items()
        assert (run.best is None) == (not run.rounds)


async def test_a_failed_run_says_why(tmp_path):
    with pytest.raises(RuntimeError):
        await recorded(tmp_path / "run", diffusion=FakeDiffusion(breaks_at="01-00"))
    run = read_run(tmp_path / "run")
    assert (run.status, run.error.message, list(run.images)) == ("failed", "the model broke", ["00-00", "00-01"])
    assert (run.best.id, run.stop) == ("00-00", None)


async def test_a_failed_run_that_was_taken_up_again_is_no_longer_failed(tmp_path):
    with pytest.raises(RuntimeError):
        await recorded(tmp_path / "run", diffusion=FakeDiffusion(breaks_at="01-00"))
    failed = read_run(tmp_path / "run")
    again = next(e for e in failed.events if isinstance(e, NodeStarted))
    assert RecordedRun(failed.folder, (*failed.events, again), None).status == "unfinished"


async def test_a_trace_that_ends_in_a_second_start_is_of_a_run_that_goes_on(tmp_path):
    with pytest.raises(RuntimeError):
        await recorded(tmp_path / "run", diffusion=FakeDiffusion(breaks_at="01-00"))
    failed = read_run(tmp_path / "run")
    again = RecordedRun(failed.folder, (*failed.events, Resumed(run=failed.run)), None)
    assert (again.status, again.error, failed.error.message) == ("unfinished", None, "the model broke")


async def test_the_time_between_two_processes_is_none_of_the_runs(tmp_path):
    run = await recorded(tmp_path / "run")
    later = timedelta(hours=9)
    half = len(run.events) // 2
    again = Resumed(run=run.run, time=run.events[half].time + later)
    rest = [event.model_copy(update={"time": event.time + later}) for event in run.events[half:]]
    paused = RecordedRun(run.folder, (*run.events[:half], again, *rest), None)
    assert paused.seconds == pytest.approx(
        run.seconds - (run.events[half].time - run.events[half - 1].time).total_seconds()
    )


async def test_each_model_has_its_share_of_the_cost(tmp_path):
    run = await recorded(tmp_path / "run")
    assert run.spend_by_model == run.result.spend_by_model
    assert {model: own.calls for model, own in run.spend_by_model.items()} == {"fake@0": 4}


async def test_a_run_tells_its_parent_and_its_judge_where_a_manifest_does(tmp_path):
    await recorded(tmp_path / "run", ask=lambda question: None)
    whole = read_run(tmp_path / "run")
    again = await afork(whole.folder, 3, out=tmp_path / "fork", **roles(SCRIPT))
    fork = read_run(again.folder)
    assert (whole.parent, whole.interactive, fork.interactive) == (None, True, False)
    assert (fork.parent.run, fork.parent.step) == (whole.run, 3)
    (again.folder / "manifest.json").unlink()
    assert (read_run(again.folder).parent, read_run(again.folder).interactive) == (None, False)


async def test_the_population_of_a_round_is_what_the_judge_saw_then(tmp_path):
    run = await recorded(tmp_path / "run")
    assert run.rounds == (0, 1, 2)
    for round, decided in ((0, set()), (1, {"00-00"}), (2, {"00-00", "01-00"})):
        population = run.population(round)
        assert {i.round for i in population.images.values()} == set(range(round + 1))
        assert population.decisions.keys() == decided
        again = {d.image: d for d in Adaptive(images=2).judge(population) if d.action != "stop"}
        assert again.items() <= run.decisions.items()
    assert Adaptive(images=2).judge(run.population(0))[0] == run.decisions["00-00"]


async def test_a_round_that_was_not_looked_at_has_no_population(tmp_path):
    run = await recorded(tmp_path / "run")
    with pytest.raises(TraceError, match=r"round 3 .* known: \[0, 1, 2\]"):
        run.population(3)


async def test_a_run_is_a_row_an_image_or_a_row_a_check(tmp_path):
    run = await recorded(tmp_path / "run")
    images, checks = run.rows(), run.rows("checks")
    assert [(r["image"], r["passed"], r["fixed"], r["broken"], r["best"]) for r in images] == [
        ("00-00", 3, None, None, False),
        ("00-01", 2, None, None, False),
        ("01-00", 3, 1, 1, False),
        ("02-00", 5, 2, 0, True),
    ]
    assert len(checks) == 4 * 5
    assert {(r["image"], r["check"]) for r in checks if r["broken"]} == {("01-00", "alone")}
    assert len({tuple(r) for r in images}) == len({tuple(r) for r in checks}) == 1


async def test_rows_become_a_frame(tmp_path):
    frame = (await recorded(tmp_path / "run")).to_frame("checks")
    assert frame.groupby("image")["fixed"].sum().to_dict() == {"00-00": 0, "00-01": 0, "01-00": 1, "02-00": 2}


def test_a_folder_without_a_trace_is_no_run(tmp_path):
    with pytest.raises(TraceError, match=r"is no run folder: it holds no events\.jsonl"):
        read_run(tmp_path)


async def test_a_result_of_another_version_is_one_clear_error(tmp_path):
    run = await recorded(tmp_path / "run")
    (run.folder / "result.json").write_text('{"run": "r"}')
    with pytest.raises(TraceError, match=r"result\.json is damaged or of another version of DetailScribe: prompt"):
        read_run(run.folder)


async def test_what_was_read_is_what_was_written(tmp_path):
    run = await recorded(tmp_path / "run")
    assert list(run.events) == read_events(run.folder / "events.jsonl")
    assert isinstance(run.events[0], RunStarted)
