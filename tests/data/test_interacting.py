"""The published InterActing files: three, with topics and prompts."""

import json
from collections import Counter
from pathlib import Path

import pytest

from detailscribe.tools.data import read_interacting
from detailscribe.tools.data.sets import INTERACTING, subclass_of
from detailscribe.tools.errors import SettingsError

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "interacting"


FILES = [f"{scenario}_{count}.jsonl" for scenario, count in INTERACTING.items()]


@pytest.fixture
def folder(tmp_path):
    """Three files of two lines each, the second line encoded twice."""
    for file in FILES:
        rows = [json.dumps({"topic": t, "prompt": f"A {t}."}) for t in ("zigzag-leaves", "sewing_2")]
        (tmp_path / file).write_text(f"{rows[0]}\n{json.dumps(rows[1])}\n")
    return tmp_path


def test_each_prompt_knows_its_scenario_and_its_subclass(folder):
    found = list(read_interacting(str(folder)))
    assert [(r.scenario, r.subclass, r.prompt) for r in found] == [
        ("functional", "tool_manipulation", "A zigzag-leaves."),
        ("functional", "tool_manipulation", "A sewing_2."),
        ("compositional", "geometric_patterns", "A zigzag-leaves."),
        ("compositional", "abstract_layouts", "A sewing_2."),
        ("multi_subject", "interaction", "A zigzag-leaves."),
        ("multi_subject", "interaction", "A sewing_2."),
    ]
    assert found[1].id == "functional-002-sewing_2"
    assert found[1].extra == {"topic": "sewing_2", "subclass_by": "topic"}


def test_a_subclass_that_a_line_tells_goes_before_the_guess(folder):
    (folder / FILES[0]).write_text(json.dumps({"topic": "sewing", "prompt": "A.", "subclass": "told"}))
    first = next(read_interacting(str(folder)))
    assert (first.subclass, first.extra["subclass_by"]) == ("told", "file")


@pytest.mark.parametrize(
    ("topic", "subclass"),
    [
        ("saw-plank", "tool_manipulation"),
        ("octopus-paint-canvas", "tool_manipulation"),
        ("playing-chess_4", "tool_manipulation"),
        ("playing-with_2", "physical_contact"),
        ("hugging", "physical_contact"),
        ("sitting-on-top-of_2", "physical_contact"),
        ("hang-from", "physical_contact"),
    ],
)
def test_functional_topics_are_told_apart(topic, subclass):
    assert subclass_of("functional", topic) == subclass


def test_a_missing_file_is_named(folder):
    (folder / FILES[1]).unlink()
    with pytest.raises(SettingsError, match=r"cannot read .*compositional_200\.jsonl"):
        list(read_interacting(str(folder)))


def test_a_file_of_something_else_is_told(folder):
    (folder / FILES[0]).write_text('{"prompt": "A cat."}\n')
    with pytest.raises(SettingsError, match="record 1 has no topic"):
        list(read_interacting(str(folder)))


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"the published prompts are not in {PUBLISHED}")
def test_the_published_files_are_read_whole():
    found = list(read_interacting(str(PUBLISHED)))
    assert Counter(r.scenario for r in found) == INTERACTING
    assert len({r.id for r in found}) == 1000
    assert all(r.prompt and r.subclass for r in found)
