"""What people note on runs: kept beside the record, the last word counting, and told apart from the critic's."""

import json

import pytest
from typer.testing import CliRunner

from detailscribe.agent import Adaptive, read_run, run
from detailscribe.agent.cli import app
from detailscribe.agent.records.events import TraceError
from detailscribe.agent.records.notes import NOTES, Note, add_note, corrections, read_notes

from ..agent.fakes import PROMPT, roles


@pytest.fixture
def noted(tmp_path):
    run(PROMPT, out=tmp_path / "runs" / "a", policy=Adaptive(images=1), **roles({"00-00": "red holding", "01-00": ""}))
    return read_run(tmp_path / "runs" / "a")


def test_the_last_word_counts_field_by_field_and_the_record_stays(noted):
    before = {path: path.read_bytes() for path in noted.folder.rglob("*") if path.is_file()}
    add_note(noted, Note(image="00-00", mark="favourite", verdicts={"red": "pass"}))
    add_note(noted, Note(image="00-00", text="the best hat", verdicts={"cat": "unknown"}, by="Ann"))
    add_note(noted, Note(image="00-00", mark="none"))
    add_note(noted, Note(text="of the run"))
    notes = read_notes(noted.folder)
    assert notes["00-00"].verdicts == {"red": "pass", "cat": "unknown"}
    assert (notes["00-00"].mark, notes["00-00"].text, notes[""].text) == ("none", "the best hat", "of the run")
    assert [(c.image, c.check.id, c.critic, c.person) for c in corrections(noted)] == [
        ("00-00", "red", "fail", "pass"),
        ("00-00", "cat", "pass", "unknown"),
    ]
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("note", "words"),
    [(Note(image="09-00", mark="reject"), "no image '09-00'"), (Note(verdicts={"hat": "pass"}), "no check 'hat'")],
)
def test_nothing_is_noted_of_what_the_run_does_not_hold(noted, note, words):
    with pytest.raises(TraceError, match=words):
        add_note(noted, note)
    assert not (noted.folder / NOTES).exists()


def test_a_line_that_is_no_note_is_named(noted):
    (noted.folder / NOTES).write_text('{"mark": "adored"}\n')
    with pytest.raises(TraceError, match=r"line 1 .*notes.jsonl"):
        read_notes(noted.folder)


def test_ratings_and_evaluate_set_a_corrected_verdict_against_the_critics(noted):
    assert "no run in there has notes" in CliRunner().invoke(app, ["ratings", str(noted.folder.parent)]).stderr
    add_note(noted, Note(image="01-00", mark="favourite", verdicts={"red": "fail", "cat": "pass"}))
    found = json.loads(CliRunner().invoke(app, ["ratings", str(noted.folder.parent), "--json"]).stdout)
    assert found["notes"] == [
        {"run": noted.run, "image": "01-00", "mark": "favourite", "verdicts": 2, "note": "", "by": ""}
    ]
    [everything] = [row for row in found["critic"] if row["aspect"] == "all"]
    assert (everything["balanced_accuracy"], everything["answers"]) == (0.5, 2)
    out = noted.folder.parent / "scores.jsonl"
    done = CliRunner().invoke(app, ["evaluate", str(noted.folder), "--metrics", "checklist", "--out", str(out)])
    assert done.exit_code == 0, done.output
    [people] = [one for one in map(json.loads, out.read_text().splitlines()) if one["metric"] == "people"]
    assert (people["image"], people["value"]) == ("01-00", 0.8)


def test_ratings_without_a_key_take_folders_alone(tmp_path):
    (tmp_path / "ann.json").write_text("{}")
    done = CliRunner().invoke(app, ["ratings", str(tmp_path / "ann.json")])
    assert done.exit_code == 2
    assert "give --key" in done.output
