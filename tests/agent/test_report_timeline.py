"""Where the seconds went, from the times in a trace."""

from datetime import UTC, datetime, timedelta

import pytest

from detailscribe.agent.records.events import NodeFinished, NodeStarted, Resumed, RunStarted
from detailscribe.agent.views.charts import timeline
from detailscribe.state import Budget

from .fakes import record

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds):
    return START + timedelta(seconds=seconds)


def work(node, start, end, image=None):
    task = f"{node}-{image}-{start}"
    begun = NodeStarted(run="r", node=node, image=image, task=task, time=at(start))
    done = NodeFinished(run="r", node=node, image=image, task=task, seconds=end - start, time=at(end))
    return [begun, done]


def begun():
    return RunStarted(run="r", prompt="p", seed=0, policy="P()", budget=Budget(), time=START)


def trace():
    """Two seconds of loading, two images of two seconds each drawn side by side in four, one second of looking."""
    parts = [work("generate", 2, 6, "00-00"), work("generate", 2, 6, "00-01"), work("critique", 7, 8)]
    events = sorted((e for part in parts for e in part), key=lambda e: e.time)
    return [begun(), *events]


IMAGES = [record("00-00", seconds=1.5, waited=2.0), record("00-01", seconds=1.5, waited=2.0)]


def test_the_parts_of_a_run_add_up_to_its_whole():
    found = timeline(trace(), IMAGES)
    assert found["total"] == "8.0 s"
    assert {p["kind"]: p["words"] for p in found["parts"]} == {
        "denoiser": "3.0 s",
        "critic": "1.0 s",
        "loading": "2.0 s",
        "waiting": "2.0 s",
    }
    assert sum(p["percent"] for p in found["parts"]) == pytest.approx(100)


def test_a_bar_lies_where_its_work_was_done():
    bars = {(b["work"], b["image"]): b for b in timeline(trace(), IMAGES)["bars"]}
    drawn, looked = bars["drawing", "00-01"], bars["looking at the images", None]
    assert (drawn["left"], drawn["width"], drawn["kind"]) == (25, 50, "denoiser")
    assert drawn["words"] == "4.0 s, of which 2.0 s waiting"
    assert (looked["left"], looked["width"]) == (87.5, 12.5)
    assert bars["loading models", None]["width"] == 25


def test_work_that_never_ended_lasts_to_the_last_line():
    events = [e for e in trace() if not (isinstance(e, NodeFinished) and e.node == "critique")]
    assert timeline([*events, *work("finish", 9, 9)], IMAGES)["bars"][3]["width"] == pytest.approx(100 * 2 / 9)


def test_the_time_between_two_processes_is_left_out_and_work_cut_off_ends_with_its_process():
    cut = [e for e in trace() if not (isinstance(e, NodeFinished) and e.node == "critique")]  # its last word is at 7
    again = [Resumed(run="r", time=at(1000)), *work("critique", 1001, 1002)]
    found = timeline([*cut, *again], IMAGES)
    assert found["total"] == "9.0 s"
    assert [(b["work"], b["left"] * 9 / 100, b["width"] * 9 / 100) for b in found["bars"][3:]] == [
        ("looking at the images", pytest.approx(7), 0),
        ("loading models", pytest.approx(7), pytest.approx(1)),
        ("looking at the images", pytest.approx(8), pytest.approx(1)),
    ]
    assert {p["kind"]: p["words"] for p in found["parts"]}["loading"] == "3.0 s"


def test_without_a_trace_there_is_no_timeline():
    assert timeline([], IMAGES) is None
    assert timeline([begun()], IMAGES) is None


def test_seconds_in_which_two_images_are_drawn_count_once():
    busy = [record("00-00", seconds=4.0), record("00-01", seconds=4.0)]
    assert timeline(trace(), busy)["parts"][0]["words"] == "4.0 s"
