"""The benchmark for GPUs does on a CPU, with a tiny model, what it is to do there."""

import json

import pytest
import torch

import benchmarks.gpu as gpu
from benchmarks.sd35 import ARCHITECTURES, denoiser
from detailscribe.tools.diffusion.memory import KNOWN


def figures_of(capsys) -> dict[str, float]:
    return json.loads(capsys.readouterr().out)["figures"]


def test_a_tiny_model_goes_through_all_of_it(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks/gpu.py", "--smoke", "--json"])
    assert gpu.main() == 0
    figures = figures_of(capsys)
    assert figures["loop.images"] == 2 * 5
    assert 0 < figures["busy_share"] < 1
    for batch in (1, 4, 8):
        assert figures[f"engine.seconds.{batch}"] > 0
        assert figures[f"pipeline.seconds.{batch}"] > 0


def test_without_a_gpu_it_ends_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks/gpu.py"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main() == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
    assert "--smoke" in written.err


@pytest.mark.parametrize("model", ["medium", "large"])
def test_the_denoisers_are_of_the_published_sizes(model):
    with torch.device("meta"):
        built = denoiser(ARCHITECTURES[model])
    numbers = sum(tensor.numel() for tensor in built.state_dict().values())
    assert numbers == KNOWN[f"stabilityai/stable-diffusion-3.5-{model}"].parts["transformer"].parameters


def test_time_in_a_module_is_counted_while_it_is_watched():
    module = torch.nn.Linear(2, 2)
    with gpu.Busy((module,), on_gpu=False) as busy:
        module(torch.ones(1, 2))
    counted = busy.seconds
    module(torch.ones(1, 2))
    assert counted > 0
    assert busy.seconds == counted
