"""Weights are loaded whole or refused in one line."""

import pytest
import torch
from PIL import Image
from safetensors.torch import save, save_file

from detailscribe.tools.errors import ModelError
from detailscribe.tools.world.critic import EmbeddedCritic
from detailscribe.tools.world.detector import WEIGHTS, AttentionDetector, ConvolutionalDetector, Detector
from detailscribe.tools.world.vocabulary import PLACES

NETWORKS = {"critic": ConvolutionalDetector, "judge": AttentionDetector}


def halved(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}


def whole(name: str) -> bytes:
    return save(halved(NETWORKS[name]()))


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_half_precision_are_loaded_and_named_by_their_content(tmp_path, name):
    save_file(halved(NETWORKS[name]()), tmp_path / f"{name}.safetensors")
    detector = Detector.load(name, tmp_path)
    [seen] = detector.detect([Image.new("RGB", (40, 30))])
    assert sum(seen.places.values()) == pytest.approx(1)
    assert set(seen.places) == set(PLACES)
    assert detector.model.startswith(f"embedded-{name}@")
    assert len(detector.model.partition("@")[2]) == 12


def test_a_picture_is_seen_alike_alone_and_among_others(tmp_path):
    (tmp_path / "judge.safetensors").write_bytes(whole("judge"))
    detector = Detector.load("judge", tmp_path)
    pictures = [Image.new("RGB", (144, 144), colour) for colour in ("red", "green")]
    [alone], among = detector.detect(pictures[1:]), detector.detect(pictures)
    assert among[1].places == pytest.approx(alone.places, abs=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda name: None, id="missing"),
        pytest.param(lambda name: b"", id="empty"),
        pytest.param(lambda name: b"not weights at all", id="corrupt"),
        pytest.param(lambda name: whole(name)[:-1000], id="cut off"),
        pytest.param(lambda name: whole("judge" if name == "critic" else "critic"), id="of another network"),
        pytest.param(lambda name: save(halved(NETWORKS[name](width=64))), id="of another width"),
    ],
)
def test_bad_weights_are_refused_in_one_line_that_names_the_file(tmp_path, name, spoil):
    path = tmp_path / f"{name}.safetensors"
    data = spoil(name)
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ModelError) as refused:
        Detector.load(name, tmp_path)
    said = str(refused.value)
    assert len(said.splitlines()) == 1
    assert str(path) in said
    assert name in said


def test_the_critic_is_loaded_from_a_folder(tmp_path):
    with pytest.raises(ModelError, match="critic"):
        EmbeddedCritic.load(tmp_path)
    (tmp_path / "critic.safetensors").write_bytes(whole("critic"))
    assert EmbeddedCritic.load(tmp_path).model.startswith("embedded-critic@")


def test_a_network_is_loaded_once_whether_its_folder_is_named_or_not():
    assert Detector.load("critic") is Detector.load("critic", WEIGHTS)
