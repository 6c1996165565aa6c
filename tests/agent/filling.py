"""Fills disks of many sizes by runs, batches and experiments: ``python -m tests.agent.filling FOLDER SIZE...``.

FOLDER is where tmpfs may be mounted, as in ``unshare -rm``. On a disk of SIZE KiB each command must end well, or with
one line that says that the disk is full and with exit status 2; with room, the same command must go on to its end. It
prints how many ended by a full disk.
"""

import os
import subprocess
import sys
from pathlib import Path

from .damage import EXPERIMENT, run_cli, with_fakes
from .fakes import PROMPT

COMMANDS = {
    "run": ("run", PROMPT, "--out", "out", "--seed", "7"),
    "batch": ("batch", "../prompts.txt", "--out", "out", "--images", "2", "--concurrency", "2"),
    "experiment": ("experiment", "../experiment.toml", "--out", "out", "--concurrency", "2"),
}


def mount(disk: Path, kib: int, how: str = "") -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{how}size={kib}k", "none", disk], check=True)


def fill(disk: Path, name: str, kib: int) -> bool:
    """Whether the disk was full for a command, which then went on with room."""
    mount(disk, kib)
    try:
        os.chdir(disk)
        status, _, err, thrown = run_cli(*COMMANDS[name])
        assert thrown is None, (name, kib, repr(thrown))
        if status == 0:
            return False
        lines = err.splitlines()
        assert status == 2, (name, kib, err)
        errors = [line for line in lines if line.startswith("error: ")]
        assert len(errors) == 1, (name, kib, err)
        assert "disk is full" in errors[0] or "No space left" in errors[0], (name, kib, err)
        assert "Traceback" not in err, (name, kib, err)
        mount(disk, 64 * 1024, "remount,")
        command = ("resume", "out") if name == "run" and Path("out/manifest.json").exists() else COMMANDS[name]
        status, out, err, thrown = run_cli(*command)
        assert (status, thrown) == (0, None), (name, kib, "with room", out, err, repr(thrown))
        return True
    finally:
        os.chdir(disk.parent)
        subprocess.run(["umount", "-l", disk], check=True)


def main(root: Path, sizes: list[int]) -> None:
    (root / "prompts.txt").write_text("\n".join(f"a cat holding a red umbrella, {n}" for n in range(6)))
    (root / "experiment.toml").write_text(EXPERIMENT)
    disk = root / "disk"
    disk.mkdir()
    with_fakes()
    for name in COMMANDS:
        print(name, sum(fill(disk, name, size) for size in sizes), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), list(map(int, sys.argv[2:])))
