"""What makes it fast: compiled blocks, which round otherwise, and fused attention."""

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


async def test_a_compiled_model_draws_the_same_within_rounding_and_repeats_itself_exactly(folders, store, draw):
    plain = LocalDiffusion.load(folders["one_clip"], steps=3)
    compiled = LocalDiffusion.load(folders["one_clip"], steps=3, compiled=True)
    latent = read_latent(store, (await draw(plain)).latent)
    alone, again = [read_latent(store, (await draw(compiled, id)).latent) for id in "ab"]
    assert torch.equal(alone, again)
    together, _ = await asyncio.gather(draw(compiled, "c"), draw(compiled, "d", seed=6))
    assert compiled.statistics.passes == 9
    for drawn in (alone, read_latent(store, together.latent)):
        torch.testing.assert_close(drawn, latent, atol=1e-4, rtol=0)
