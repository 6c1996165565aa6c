"""Whatever happened to a file of a folder, each command does its work or says in one line what is wrong.

``python -m tests.agent.damage`` tries all of some thousand rows, in some minutes.
"""

import errno
import logging
import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from detailscribe.agent import read_run, run_batch
from detailscribe.state import ImageRecord

from .damage import FILES, ON_RUN, SCRIPT, Row, fault_of, make_world, rows, run_cli, with_fakes
from .fakes import PROMPT, FakeDiffusion, roles

STRIDE = 107
"""Prime to the number of commands, so that all of them meet all kinds of damage."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here, folder = Path.cwd(), tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as undone:
        restore_fakes(undone)
        os.chdir(folder)
        make_world()
        os.chdir(here)
    return folder


def restore_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo at the end what ``stand_in`` puts in place of the models."""
    from detailscribe.agent.settings import models

    for name in ("make_decomposer", "make_diffusion", "make_critic"):
        monkeypatch.setattr(models, name, getattr(models, name))


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    restore_fakes(monkeypatch)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with_fakes()


def test_every_kind_of_damage_ends_well(world: Path) -> None:
    tried = list(islice(rows(), 0, None, STRIDE))
    assert len(tried) > 75
    assert not [f"{row.name}: {fault}" for row in tried if (fault := fault_of(row, world))]


def damaged(world: Path, command: str, file: str, damage: str) -> tuple[int, str]:
    """Exit status and standard error of a command on a damaged run."""
    run = file.partition("/")[0]
    given = tuple(run if one == "RUN" else one for one in ON_RUN[command])
    row = Row(file, damage, FILES[file.partition("/")[2]][damage], command, given, run)
    assert fault_of(row, world) is None
    status, _, err, _ = run_cli(*given)
    return status, err


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("run/result.json", "half"),
        ("run/result.json", "missing"),
        ("run/result.json", "a full folder"),
        ("run/events.jsonl", "random bytes"),
        ("run/events.jsonl", "a link to nowhere"),
        ("cut/events.jsonl", "a line torn"),
        ("cut/checkpoints.sqlite", "random bytes"),
        ("cut/checkpoints.sqlite", "no tables"),
        ("cut/checkpoints.sqlite", "a folder"),
        ("cut/cache.sqlite", "half"),
        ("cut/cache.sqlite", "other tables"),
    ],
)
def test_what_can_be_made_again_is_made_again_with_a_word(
    world: Path, file: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "detailscribe")
    status, _ = damaged(world, "resume", file, damage)
    assert status == 0
    if damage != "no tables":  # the file of a run that was killed before it began
        assert "made anew" in caplog.text
    folder = Path(file.partition("/")[0])
    mended, whole = read_run(folder), read_run(world / "run")
    assert mended.status == "finished"
    assert mended.images.keys() == whole.images.keys()
    assert mended.result.decisions == whole.result.decisions


def test_what_a_later_version_wrote_is_not_made_again(world: Path) -> None:
    status, err = damaged(world, "resume", "cut/events.jsonl", "version 99")
    assert status == 2
    assert "update with pip install -U detailscribe" in err


def test_a_damaged_row_of_a_batch_is_run_again(world: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = next(row for row in rows() if row.name == "batch: batch/results.jsonl: a line torn")
    assert fault_of(row, world) is None
    assert "1 of its 2 lines cannot be read" in caplog.text
    lines = Path("batch/results.jsonl").read_text().splitlines()
    before = (world / "batch/results.jsonl").read_text().splitlines()
    assert len(lines) == len(before)


def test_a_full_disk_ends_in_one_line_and_the_next_start_goes_on(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    unshare = ["unshare", "--map-root-user", "--mount"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no disk can be mounted here")
    program = [sys.executable, "-m", "tests.agent.filling", str(tmp_path), "16", "160", "250", "400"]
    done = subprocess.run([*unshare, *program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = {name: int(count) for name, count in map(str.split, done.stdout.splitlines())}
    assert counts.keys() == {"run", "batch", "experiment"}
    assert min(counts.values()) > 1


def test_a_full_disk_ends_a_batch_before_its_other_prompts_are_drawn(tmp_path: Path) -> None:
    class Full(FakeDiffusion):
        async def draw(self, attempt: object, store: object, **_: object) -> ImageRecord:
            self.requests.append(attempt)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    full, prompts = Full(), [f"{PROMPT}, {n}" for n in range(20)]
    with pytest.raises(OSError, match="space"):
        run_batch(prompts, out=tmp_path / "batch", concurrency=1, **roles(SCRIPT, diffusion=full))
    assert len(full.requests) <= 2
    done = run_batch(prompts, out=tmp_path / "batch", **roles(SCRIPT))
    assert (done.tally.done, done.tally.failed) == (20, 0)
