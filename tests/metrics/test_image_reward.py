"""ImageReward from end to end, with stand-ins for its package: the list, the program, and the scores."""

import json
import sys
from pathlib import Path

import pytest

from detailscribe.tools.errors import ModelError
from detailscribe.tools.metrics.image_reward import PROGRAM, ImageReward

from .conftest import noise

PACKAGE = """
print("load checkpoint from elsewhere")
class Model:
    def score(self, prompt, image):
        if prompt == "a dog":
            raise ValueError("no dogs")
        return len(prompt) + len(open(image, "rb").read(1))
def load(name, med_config=None):
    return Model()
"""
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


@pytest.fixture
def environment(tmp_path):
    """Makes ``FOLDER/venv``, whose Python finds packages of these contents, and notes each time that it is run."""

    def make(**modules: str) -> Path:
        packages, folder = tmp_path / "packages", tmp_path / "image_reward"
        for name, code in {"torch": "from contextlib import nullcontext as no_grad", **modules}.items():
            path = packages / f"{name.replace('.', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
        python = folder / "venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(
            f"#!{sys.executable}\nimport runpy, sys\nsys.path.insert(0, {str(packages)!r})\n"
            f"open({str(tmp_path / 'runs')!r}, 'a').write('.')\n"
            "sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], None, '__main__')\n"
        )
        python.chmod(0o755)
        return folder

    return make


async def test_each_image_gets_its_own_score_or_the_reason_once(environment, sample, tmp_path):
    folder = environment(ImageReward=PACKAGE)
    samples = [sample(noise(n), prompt) for n, prompt in enumerate(["a cat", "a dog", "a cat – très petit"])]
    scores = await ImageReward(folder).score_all(samples)
    assert [(s.value, s.reason) for s in scores] == [(6.0, None), (None, "ValueError: no dogs"), (19.0, None)]
    again = await ImageReward(folder).score_all([samples[2], samples[0]])
    assert [s.value for s in again] == [19.0, 6.0]
    assert (tmp_path / "runs").read_text() == "."
    assert await ImageReward(folder).score_all([]) == []


async def test_without_its_environment_a_score_is_missing_and_the_reason_says_what_to_run(sample, tmp_path):
    metric = ImageReward(tmp_path / "scores")
    one = sample(noise(1), "a cat")
    [missing] = await metric.score_all([one])
    assert missing.value is None
    assert f"uv run {PROGRAM} {tmp_path / 'scores'}" in missing.reason
    [wanted] = map(json.loads, (tmp_path / "scores" / "wanted.jsonl").read_text().splitlines())
    assert wanted["prompt"] == "a cat"
    assert wanted["image"] == str(one.store.path(one.image.path).resolve())
    scores = tmp_path / "scores" / "scores.jsonl"
    scores.write_text(json.dumps({"key": wanted["key"], "score": 0.79}) + "\n" + '{"key": "torn')
    assert [s.value for s in await metric.score_all([one, sample(noise(2), "a cat")])] == [0.79, None]


@pytest.mark.parametrize("score", ["true", "null", '"0.5"', "NaN"])
async def test_what_is_no_number_is_missing(sample, tmp_path, score):
    metric = ImageReward(tmp_path)
    one = sample(noise(1))
    await metric.score_all([one])
    key = json.loads((tmp_path / "wanted.jsonl").read_text())["key"]
    (tmp_path / "scores.jsonl").write_text(f'{{"key": "{key}", "score": {score}}}\n')
    assert [s.value for s in await metric.score_all([one])] == [None]


async def test_an_environment_without_the_package_says_so(environment, sample):
    with pytest.raises(ModelError, match="ImageReward cannot be loaded: ModuleNotFoundError"):
        await ImageReward(environment()).score_all([sample(noise(1))])


async def test_a_tokenizer_beside_the_checkpoint_is_found_and_operators_are_not_missed(
    environment, sample, tmp_path, monkeypatch
):
    """With a torchvision whose operators cannot be registered, as where it is another build's than torch."""
    monkeypatch.chdir(tmp_path)
    broken = {"torchvision.__init__": "", "torchvision._meta_registrations": "raise RuntimeError('no operator nms')"}
    folder = environment(ImageReward=OFFLINE, **broken)
    weights = tmp_path / "weights"
    (weights / "bert-base-uncased").mkdir(parents=True)
    (weights / "bert-base-uncased" / "vocab.txt").write_text("12345")
    (weights / "ImageReward.pt").write_text("1")
    (weights / "med_config.json").touch()
    one = sample(noise(1))
    assert [s.value for s in await ImageReward(folder, "weights").score_all([one])] == [5.0]
    (weights / "bert-base-uncased" / "vocab.txt").write_text("123")
    (weights / "ImageReward.pt").write_text("2")
    assert [s.value for s in await ImageReward(folder, "weights").score_all([one])] == [3.0]
