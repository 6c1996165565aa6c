"""What makes it fast: compiled blocks, which round otherwise and serve several images alone, and fused attention."""

import asyncio
import shutil

import pytest
import torch

from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.diffusion.latents import read_latent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++"),
    # torch's compiler uses parts of torch that are on their way out.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
]


async def test_alone_an_image_is_the_same_and_in_a_batch_within_rounding(folders, store, draw):
    plain = LocalDiffusion.load(folders["one_clip"], steps=3)
    compiled = LocalDiffusion.load(folders["one_clip"], steps=3, compiled=True)
    latent = read_latent(store, (await draw(plain)).latent)
    alone = await draw(compiled)
    assert torch.equal(read_latent(store, alone.latent), latent)
    together, _ = await asyncio.gather(draw(compiled), draw(compiled, "b", seed=6))
    assert compiled.statistics.passes == 6
    torch.testing.assert_close(read_latent(store, together.latent), latent, atol=1e-4, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
async def test_on_a_gpu_the_attention_is_a_fused_one(folders):
    model = LocalDiffusion.load(folders["one_clip"], device="cuda")
    assert model.attention in ("flash_attention", "cudnn_attention", "efficient_attention")
