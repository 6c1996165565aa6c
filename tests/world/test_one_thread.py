"""Looking and loading leave the cores to the denoiser."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

from detailscribe.tools.blocking import one_thread
from detailscribe.tools.world.detector import Detector


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_only_the_calling_thread_computes_alone_and_only_meanwhile():
    with ThreadPoolExecutor(1) as another:
        with one_thread():
            assert torch.get_num_threads() == 1
            assert another.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2


def test_a_critic_looks_on_one_thread():
    seen = []
    detector = Detector.load("critic")
    network = detector._network
    hook = network.register_forward_pre_hook(lambda *args: seen.append(torch.get_num_threads()))
    detector.detect([Image.new("RGB", (144, 144))])
    hook.remove()
    assert seen == [1]
