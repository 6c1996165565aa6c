"""Pictures of runs under the names that benchmarks' evaluators read."""

import json

import pytest
from typer.testing import CliRunner

from detailscribe.agent import Adaptive, run_batch
from detailscribe.agent.cli import app

from ..agent.fakes import PROMPT, roles


@pytest.fixture
def export(tmp_path):
    asks = [{"id": "7", "prompt": PROMPT}]
    run_batch(asks, out=tmp_path / "ours", policy=Adaptive(images=1), **roles({"00-00": "red", "01-00": ""}))

    def invoke(layout: str):
        out = tmp_path / layout
        done = CliRunner().invoke(app, ["export", str(tmp_path / "ours"), "--layout", layout, "--out", str(out)])
        assert done.exit_code == 0, done.output
        return out, done

    return invoke


@pytest.mark.parametrize(
    ("layout", "files"),
    [
        ("geneval2", ["ours-first.json", "ours-first/7.png", "ours.json", "ours/7.png"]),
        ("unigenbench", ["ours-first/7_0.png", "ours/7_0.png"]),
        ("folder", ["ours-first/7.png", "ours/7.png"]),
    ],
)
def test_chosen_and_first_images_lie_where_the_evaluator_looks(export, layout, files):
    out, done = export(layout)
    there = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert there == sorted(["manifest.jsonl", *files])
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [(line["id"], line["image"], line["checklist"]) for line in lines] == [
        ("7", "01-00", "decomposed"),
        ("7", "00-00", "decomposed"),
    ]
    if layout == "geneval2":
        assert json.loads((out / "ours.json").read_text()) == {PROMPT: str((out / "ours/7.png").resolve())}
    assert ("fewer than the 4 pictures" in done.stderr) == (layout == "unigenbench")


def test_pictures_keep_the_ids_of_their_prompts_and_none_replaces_another(tmp_path):
    """An id has capitals and articles, is long, or no name of a file; and methods' names differ by case alone."""
    ids = ["C-MR-001", "a", "x" * 60 + "1", "x" * 60 + "2", "no name?", "no:name?"]
    for name in ("Ours", "ours"):
        run_batch(
            [{"id": id, "prompt": PROMPT} for id in ids],
            out=tmp_path / name / "b",
            policy=Adaptive(images=1),
            **roles({"00-00": ""}),
        )
    out, sources = tmp_path / "out", [f"{name}={tmp_path / name / 'b'}" for name in ("Ours", "ours")]
    done = CliRunner().invoke(app, ["export", *sources, "--images", "best", "--layout", "folder", "--out", str(out)])
    assert done.exit_code == 0, done.output
    there = [json.loads(line)["file"] for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert sorted(there) == sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert len(set(there)) == 2 * len(ids)
    assert {"ours/C-MR-001.png", "ours/a.png", "ours-1/C-MR-001.png", f"ours/{ids[2]}.png"} <= set(there)


def test_nothing_is_written_over(export):
    out, _ = export("folder")
    done = CliRunner().invoke(app, ["export", str(out.parent / "ours"), "--layout", "folder", "--out", str(out)])
    assert done.exit_code == 2
    assert "not empty" in done.stderr
