"""The line protocol to a program in another environment, with stand-ins for the program."""

import sys
from pathlib import Path

import pytest

from detailscribe.tools.errors import ModelError
from detailscribe.tools.metrics import environments, worker
from detailscribe.tools.metrics.environments import ensure_environment, python_of
from detailscribe.tools.metrics.image_reward import ImageReward

from .conftest import noise

SHIPPED = Path(worker.__file__).with_name("image_reward_program.py")

SCORES = """
import json, os, sys
print("load checkpoint from elsewhere")
print(json.dumps({"ready": True, "model": "stand-in"}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    assert os.path.isfile(asked["image"])
    print("some library says this")
    if "cat" in asked["prompt"]:
        print(json.dumps({"id": asked["id"], "score": len(asked["prompt"]) / 10}), flush=True)
    else:
        print(json.dumps({"id": asked["id"], "error": "no cat"}), flush=True)
"""


@pytest.fixture
def program(tmp_path):
    def write(code: str) -> list[str]:
        (tmp_path / "program.py").write_text(code)
        return [sys.executable, str(tmp_path / "program.py")]

    return write


def metric(command: list[str], **options: object) -> ImageReward:
    return ImageReward(Path("nowhere"), command=command, **options)


async def test_each_image_gets_its_own_score_or_the_reason(program, sample):
    samples = [sample(noise(n), prompt) for n, prompt in enumerate(["a cat", "a dog", "a black cat – très petit"])]
    scores = await metric(program(SCORES)).score_all(samples)
    assert [(s.value, s.reason) for s in scores] == [(0.5, None), (None, "no cat"), (2.4, None)]


async def test_no_program_is_started_for_no_image(program):
    assert await metric(["/no/such/program"]).score_all([]) == []


BROKEN = {
    "it fails at once": ("raise SystemExit('weights are missing')", "has ended: weights are missing"),
    "it says why": ('print(\'{"error": "no weights"}\')', "is not ready: no weights"),
    "it dies at work": (
        "import sys; print('{\"ready\": true}', flush=True); sys.stdin.readline(); raise SystemExit('out of memory')",
        "has ended: out of memory",
    ),
    "it answers another": (
        'import sys; print(\'{"ready": true}\', flush=True); sys.stdin.readline(); print(\'{"id": 7, "score": 1}\')',
        "answered 7 when it was asked 0",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_a_broken_program_ends_the_measurement_with_its_last_words(program, sample, case):
    code, words = BROKEN[case]
    with pytest.raises(ModelError, match=words):
        await metric(program(code)).score_all([sample(noise(1))])


@pytest.mark.parametrize("score", ["true", "null", '"0.5"', "NaN"])
async def test_what_is_no_number_is_missing(program, sample, score):
    code = f"""
import sys
print('{{"ready": true}}', flush=True)
sys.stdin.readline()
print('{{"id": 0, "score": {score}}}')
"""
    [found] = await metric(program(code)).score_all([sample(noise(1))])
    assert found.value is None


async def test_a_program_that_is_silent_is_ended(program, sample, monkeypatch):
    monkeypatch.setattr(worker, "_GRACE", 0.1)
    silent = "import sys, time; print('{\"ready\": true}', flush=True); sys.stdin.readline(); time.sleep(60)"
    with pytest.raises(ModelError, match=r"said nothing within 0\.2 s"):
        await metric(program(silent), seconds=0.2).score_all([sample(noise(1))])


async def test_a_program_that_is_not_there_is_told(sample):
    with pytest.raises(ModelError, match="cannot be started"):
        await metric(["/no/such/program"]).score_all([sample(noise(1))])


async def test_the_shipped_program_says_that_its_package_is_missing(sample):
    with pytest.raises(ModelError, match="ImageReward cannot be loaded: ModuleNotFoundError"):
        await metric([sys.executable, str(SHIPPED)]).score_all([sample(noise(1))])


PACKAGE = """
print("hello")
class Model:
    def score(self, prompt, image):
        if prompt == "a dog":
            raise ValueError("no dogs")
        return len(prompt) + len(open(image, "rb").read(1))
def load(name, med_config=None):
    print("load checkpoint from", name)
    return Model()
"""


async def test_the_shipped_program_scores_with_what_its_package_says(tmp_path, sample):
    """With a package of that name that prints as the real one does."""
    (tmp_path / "ImageReward.py").write_text(PACKAGE)
    (tmp_path / "torch.py").write_text("from contextlib import nullcontext as no_grad")
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(tmp_path)!r}); runpy.run_path({str(SHIPPED)!r}, None, '__main__')"
    )
    samples = [sample(noise(1), prompt) for prompt in ("cat", "a dog", "a cat – très petit")]
    scores = await metric([sys.executable, "-c", code, str(tmp_path), str(SHIPPED)]).score_all(samples)
    assert [(s.value, s.reason) for s in scores] == [(4.0, None), (None, "ValueError: no dogs"), (19.0, None)]


OFFLINE = """
import os
import torchvision._meta_registrations
class Model:
    def score(self, prompt, image):
        return len(open("bert-base-uncased/vocab.txt").read())
def load(name, med_config=None):
    assert os.path.isfile(name) and os.path.isfile(med_config) and os.path.isabs(med_config)
    return Model()
"""


async def test_a_tokenizer_beside_the_checkpoint_is_found_and_operators_are_not_missed(tmp_path, sample, monkeypatch):
    """With a torchvision whose operators cannot be registered, as where it is another build's than torch."""
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "packages"
    (here / "torchvision").mkdir(parents=True)
    (here / "torchvision" / "__init__.py").touch()
    (here / "torchvision" / "_meta_registrations.py").write_text("raise RuntimeError('no operator torchvision::nms')")
    (here / "ImageReward.py").write_text(OFFLINE)
    (here / "torch.py").write_text("from contextlib import nullcontext as no_grad")
    (tmp_path / "weights" / "bert-base-uncased").mkdir(parents=True)
    (tmp_path / "weights" / "bert-base-uncased" / "vocab.txt").write_text("12345")
    files = [Path("weights") / name for name in ("ImageReward.pt", "med_config.json")]
    for path in files:
        path.touch()
    arguments = [str(SHIPPED), *map(str, files)]
    code = f"import runpy, sys; sys.path.insert(0, {str(here)!r}); sys.argv = {arguments}; "
    code += f"runpy.run_path({str(SHIPPED)!r}, None, '__main__')"
    [score] = await metric([sys.executable, "-c", code]).score_all([sample(noise(1))])
    assert (score.value, score.reason) == (5.0, None)


def test_an_environment_is_made_once_and_anew_where_it_was_cut_off(tmp_path, monkeypatch):
    calls: list[list[str]] = []
    monkeypatch.setattr(
        environments, "_call", lambda command, folder: (calls.append(command), folder.mkdir(exist_ok=True))
    )
    for _ in range(2):
        python = ensure_environment(tmp_path, "reward", ["a==1", "b"])
    folder = python.parents[1]
    assert python == python_of(folder)
    assert [command[1:3] for command in calls] == [["-m", "venv"], ["-m", "pip"]]
    assert calls[1][-2:] == ["a==1", "b"]
    (folder / "complete.json").unlink()
    (folder / "left over").touch()
    ensure_environment(tmp_path, "reward", ["a==1", "b"])
    assert len(calls) == 4
    assert not (folder / "left over").exists()
    assert ensure_environment(tmp_path, "reward", ["a==2"]) != python


def test_an_environment_that_cannot_be_made_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(environments.sys, "executable", "/bin/false")
    with pytest.raises(ModelError, match="cannot be made: status 1"):
        ensure_environment(tmp_path, "reward", ["a==1"])
