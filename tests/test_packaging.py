"""The wheel holds every file of the four folders, and installs nothing under a generic name."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("state", "prompts", "tools", "agent")
NEEDED_TO_BUILD = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def project_files() -> list[Path]:
    """Files of the four folders, relative to the checkout: git's where there is one, else all but caches."""
    if (ROOT / ".git").exists():
        listed = run("git", "-c", "safe.directory=*", "ls-files", "-z", "--", *FOLDERS, cwd=ROOT).split("\0")
        return [Path(name) for name in listed if name and (ROOT / name).exists()]
    found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    return [path.relative_to(ROOT) for path in found if path.is_file() and path.parent.name != "__pycache__"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the wheel of a clean copy installed in it; a build in the checkout could meet old leftovers."""
    copy, wheels, target = (tmp_path_factory.mktemp(name) for name in ("odd (copy) é", "wheels", "target"))
    for name in (*map(Path, NEEDED_TO_BUILD), *project_files()):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, ".", cwd=copy)
    (wheel,) = wheels.glob("detailscribe-*.whl")
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"),
        *("--target", target, wheel),
        cwd=wheels,
    )
    return target


def test_every_file_is_installed(installed):
    missing = [str(name) for name in project_files() if not (installed / "detailscribe" / name).is_file()]
    assert not missing, f"not in the wheel (see package-data in pyproject.toml): {missing}"


def test_nothing_else_is_installed(installed):
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert top <= {"detailscribe", "bin"}
    assert {path.name for path in (installed / "detailscribe").iterdir()} == set(FOLDERS)


@pytest.mark.parametrize("name", FOLDERS)
def test_no_generic_name_can_be_imported_from_elsewhere(installed, name, tmp_path):
    code = (
        "import sys, importlib.util as util; sys.path.insert(0, sys.argv[1]);"
        "print(util.find_spec(sys.argv[2]), util.find_spec('detailscribe.' + sys.argv[2]).origin)"
    )
    found = run(sys.executable, "-c", code, installed, name, cwd=tmp_path).strip()
    assert found == f"None {installed / 'detailscribe' / name / '__init__.py'}"
