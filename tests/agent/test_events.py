"""The trace: typed lines that tell the whole run and are valid after a kill at any byte."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest

from detailscribe.agent import Adaptive, arun, read_events
from detailscribe.agent.records.events import (
    SCHEMA_VERSION,
    Critiqued,
    Decided,
    Denoising,
    Event,
    EventBase,
    Failed,
    ImageMade,
    NodeStarted,
    TraceError,
)

from .fakes import PROMPT, FakeDiffusion, roles

SCRIPT = {"00-00": "red holding", "01-00": "holding alone", "02-00": ""}


async def traced(tmp_path, **changes):
    live = []
    given = roles(SCRIPT) | {"policy": Adaptive(images=1), "out": tmp_path / "run", "seed": 7} | changes
    result = await arun(PROMPT, on_event=live.append, **given)
    return result, live, read_events(tmp_path / "run" / "events.jsonl")


async def test_the_trace_tells_every_image_verdict_and_decision(tmp_path):
    result, _, events = await traced(tmp_path)
    assert tuple(e.record for e in events if isinstance(e, ImageMade)) == result.result.images
    assert tuple(e.critique for e in events if isinstance(e, Critiqued)) == result.result.critiques
    assert tuple(e.decision for e in events if isinstance(e, Decided)) == result.decisions
    assert [e.type for e in events[:4]] == ["run_started", "node_started", "decomposed", "node_finished"]
    assert (events[-1].type, events[-1].image, events[-1].stop) == ("run_finished", "02-00", "all_pass")
    assert events[-1].spend == result.spend


async def test_each_line_says_when_where_and_in_which_round(tmp_path):
    result, _, events = await traced(tmp_path)
    assert {e.run for e in events} == {result.result.run}
    assert all(a.time <= b.time for a, b in pairwise(events))
    assert [(e.node, e.round, e.image) for e in events if isinstance(e, NodeStarted)] == [
        ("decompose", None, None),
        ("generate", 0, "00-00"),
        ("critique", 0, None),
        ("refine", 1, "01-00"),
        ("critique", 1, None),
        ("refine", 2, "02-00"),
        ("critique", 2, None),
        ("finish", 2, None),
    ]


async def test_every_node_that_starts_also_finishes_with_its_seconds(tmp_path):
    _, _, events = await traced(tmp_path)
    started = [e.task for e in events if e.type == "node_started"]
    finished = {e.task: e.seconds for e in events if e.type == "node_finished"}
    assert sorted(started) == sorted(finished)
    assert all(0 <= seconds < 60 for seconds in finished.values())


async def test_a_critique_names_what_changed_against_the_image_it_was_made_from(tmp_path):
    _, _, events = await traced(tmp_path)
    changes = {e.image: e.change for e in events if isinstance(e, Critiqued)}
    assert changes["00-00"] is None
    assert (changes["01-00"].fixed, changes["01-00"].broken) == (("red",), ("alone",))


async def test_denoising_steps_are_live_only(tmp_path):
    _, live, events = await traced(tmp_path)
    assert [e.image for e in live if isinstance(e, Denoising)] == ["00-00", "01-00", "02-00"]
    assert [e for e in live if not isinstance(e, Denoising)] == events


async def test_a_trace_cut_at_any_byte_reads_as_its_whole_lines(tmp_path):
    _, _, events = await traced(tmp_path)
    whole, cut = (tmp_path / "run" / "events.jsonl").read_bytes(), tmp_path / "cut.jsonl"
    for length in {*range(0, len(whole), 7), len(whole)}:
        cut.write_bytes(whole[:length])
        assert read_events(cut) == events[: whole[:length].count(b"\n")]


async def test_a_line_that_is_no_event_is_not_passed_over(tmp_path):
    _, _, _ = await traced(tmp_path)
    path = tmp_path / "run" / "events.jsonl"
    path.write_bytes(b'{"type": "rumour"}\n' + path.read_bytes())
    with pytest.raises(TraceError, match=r"line 1 of .*events\.jsonl is no event of this version: .*rumour"):
        read_events(path)


async def test_a_node_that_fails_is_in_the_trace_with_the_images_before_it(tmp_path):
    with pytest.raises(RuntimeError, match="the model broke"):
        await traced(tmp_path, diffusion=FakeDiffusion(breaks_at="01-00"))
    events = read_events(tmp_path / "run" / "events.jsonl")
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert (failed.node, failed.image, failed.error, failed.message) == (
        "refine",
        "01-00",
        "RuntimeError",
        "the model broke",
    )
    assert [e.image for e in events if isinstance(e, ImageMade)] == ["00-00"]


async def test_every_line_is_json_of_one_schema_version(tmp_path):
    await traced(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert {line["schema_version"] for line in lines} == {SCHEMA_VERSION}
    assert all(line["type"] and line["time"].endswith("Z") for line in lines)


def test_a_line_of_a_later_schema_is_one_clear_error(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps({"schema_version": SCHEMA_VERSION + 1, "type": "dreamt", "colour": "blue"}) + "\n")
    with pytest.raises(TraceError, match=rf"later DetailScribe \(schema {SCHEMA_VERSION + 1}.*update"):
        read_events(path)


def test_a_line_of_the_first_schema_is_still_read(tmp_path):
    event = Failed(run="r", error="E", message="m")
    (tmp_path / "old.jsonl").write_text(event.model_copy(update={"schema_version": 1}).model_dump_json() + "\n")
    [read] = read_events(tmp_path / "old.jsonl")
    assert (read.schema_version, read.message) == (1, "m")


def test_the_page_about_events_names_every_type_and_field():
    page = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
    assert f"The schema is version {SCHEMA_VERSION}." in page
    sections = dict(re.findall(r"^## `?([\w ]+)`?\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    told = {name: set(re.findall(r"^\| `(\w+)` \|", text, re.M)) for name, text in sections.items()}
    kinds = {kind.model_fields["type"].default: kind for kind in get_args(get_args(Event)[0])}
    common = set(EventBase.model_fields)
    assert told == {"Every line": common | {"type"}} | {
        name: set(kind.model_fields) - common - {"type"} for name, kind in kinds.items()
    }
