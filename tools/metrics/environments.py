"""Python environments of their own, for packages whose requirements no other one can meet."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

from ..errors import ModelError

log = logging.getLogger(__name__)

_COMPLETE = "complete.json"
"""Written last, so that an environment whose making was cut off is made anew."""


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def ensure_environment(root: Path, name: str, requirements: Sequence[str]) -> Path:
    """The interpreter of an environment with these requirements, made with venv and pip where it is not there.

    Args:
        root: Folder of all environments.
        name: Of this one, for people.
        requirements: As pip takes them; others make another environment.

    Raises:
        ModelError: it cannot be made.
    """
    key = sha256(json.dumps([sys.version_info[:2], list(requirements)]).encode()).hexdigest()[:12]
    folder = root / f"{name}-{key}"
    if not (folder / _COMPLETE).exists():
        try:
            root.mkdir(parents=True, exist_ok=True)
            # Another process that makes the same one is waited for; the lock goes with its process.
            with FileLock(root / f"{folder.name}.lock"):
                _make(folder, requirements)
        except OSError as error:
            raise ModelError(f"no environment can be made in {root}: {error}") from error
    return python_of(folder)


def _make(folder: Path, requirements: Sequence[str]) -> None:
    if (folder / _COMPLETE).exists():
        return
    log.warning("making the environment %s with %s; this is done once", folder, ", ".join(requirements))
    shutil.rmtree(folder, ignore_errors=True)
    _call([sys.executable, "-m", "venv", str(folder)], folder)
    _call([str(python_of(folder)), "-m", "pip", "install", "--quiet", *requirements], folder)
    (folder / _COMPLETE).write_text(json.dumps(list(requirements)), encoding="utf-8")


def _call(command: Sequence[str], folder: Path) -> None:
    # The variables of this environment must not lead the other one astray.
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=inherited)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise ModelError(f"the environment {folder} cannot be made: {' '.join(last) or f'status {done.returncode}'}")
