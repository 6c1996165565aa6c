"""The benchmark for GPUs does on a CPU, with a tiny model, what it is to do there."""

import json

import pytest
import torch

import benchmarks.gpu as gpu
from benchmarks.sd35 import ARCHITECTURES, denoiser
from detailscribe.tools.diffusion.memory import KNOWN


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, list[dict]]:
    monkeypatch.setattr("sys.argv", ["benchmarks/gpu.py", *arguments])
    code = gpu.main()
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_tiny_model_goes_through_all_of_it(monkeypatch, capsys):
    code, (machine, *lines) = run(monkeypatch, capsys, "--all", "--smoke", "--budget", "1000")
    assert code == 0, lines
    assert machine["versions"]["torch"]
    figures: dict[str, dict] = {}
    for line in lines:
        figures.setdefault(line["stage"], {}).update(line["figures"])
    assert 0 < figures["medium.loop"]["busy_share"] < 1
    for size in ("medium", "large"):
        assert figures[f"{size}.syncs"] == {"waits.1": 0, "waits.2": 0}
        assert all(figures[f"{size}.compiled"][f"floor_share.{batch}"] > 0 for batch in (1, 4, 8))
    assert figures["medium.batch_difference"]["largest"] < 1e-4


def test_a_stage_that_fails_is_named_and_those_that_no_time_is_left_for_are_too(monkeypatch, capsys):
    monkeypatch.setattr(gpu.Bench, "rates", lambda bench: 1 / 0)
    code, (_, failed) = run(monkeypatch, capsys, "--smoke", "--stages", "device")
    assert (code, failed["stage"], failed["error"]) == (1, "device", "ZeroDivisionError: division by zero")
    code, (_, skipped) = run(monkeypatch, capsys, "--smoke", "--stages", "device", "large.vae", "--budget", "0")
    assert (code, skipped) == (0, {"skipped": ["device", "large.vae"]})


def test_reading_a_number_of_a_tensor_is_counted_as_a_wait():
    assert gpu.count_waits(lambda: torch.ones(2).sum().item()) == 1
    assert gpu.count_waits(lambda: torch.ones(2).sum()) == 0


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
