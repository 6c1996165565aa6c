"""The notebooks run from top to bottom as they are, and are committed with what they say then."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 400
"""KiB of a notebook with its outputs."""

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def said(path: Path) -> str:
    """All texts that the outputs show; what has a table or a picture of its own is not shown as text."""
    outputs = [output for cell in cells(path, "code") for output in cell["outputs"]]
    shown = [o.get("data", {}) for o in outputs]
    texts = [o.get("text", "") for o in outputs] + [d.get("text/plain", "") for d in shown if "text/html" not in d]
    return "".join("".join(text) for text in texts)


@pytest.mark.slow
@every_notebook
def test_it_runs_from_top_to_bottom(path, tmp_path):
    folder = shutil.copytree(FOLDER, tmp_path / "notebooks", ignore=shutil.ignore_patterns("runs", "__pycache__"))
    done = subprocess.run(
        [sys.executable, "refresh.py", path.name],
        cwd=folder,
        env=os.environ | {"DETAILSCRIBE_RUN__STEPS": "12"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert re.search(r"<[\w.]+ at 0x", said(folder / path.name)) is None


@every_notebook
def test_it_is_committed_with_its_outputs(path):
    numbered = [cell["execution_count"] for cell in cells(path, "code")]
    assert numbered == list(range(1, len(numbered) + 1))
    assert sum(bool(cell["outputs"]) for cell in cells(path, "code")) > len(numbered) / 2


@every_notebook
def test_its_outputs_are_small_and_hold_no_error_and_no_path_of_a_machine(path):
    assert path.stat().st_size < LARGEST * 1024
    assert not [o for cell in cells(path, "code") for o in cell["outputs"] if o["output_type"] == "error"]
    assert not re.search(r"/(tmp|home|root|work|Users)/|Warning|WARNING", said(path))


@every_notebook
def test_its_words_hold_no_result(path):
    """Models change and cells say what they do; a figure in the text beside them would stay behind."""
    prose = "".join("".join(cell["source"]) for cell in cells(path, "markdown"))
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)|^    .*$", "", prose, flags=re.MULTILINE)
    assert not re.findall(r"\d+(?:\.\d+)?\s?%|\d\.\d", prose)


def test_links_lead_somewhere():
    for path in NOTEBOOKS:
        for cell in cells(path, "markdown"):
            for target in re.findall(r"\]\(([^)#]+)\)", "".join(cell["source"])):
                assert (FOLDER / target).exists(), f"{path.name}: {target}"
