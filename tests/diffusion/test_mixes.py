"""Whatever shares the model with an image, the image is the same, up to the stated tolerance."""

import asyncio
from itertools import count
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detailscribe.state import Attempt
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.diffusion.embeddings import encode
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.files import Store

STEPS = 6
TOLERANCE = 1e-4
"""Between latents of unit variance in float32, as ``LocalDiffusion`` states it."""
PROMPTS = ("a cat", "a red dog riding a boat", "a red dog riding a boat and a cat holding a blue boat")

drawings = st.fixed_dictionaries({"steps": st.integers(1, 8)}, optional={"stop_step": st.just(1)})
injections = st.integers(1, 8).flatmap(
    lambda steps: st.fixed_dictionaries(
        {"steps": st.just(steps), "start_step": st.integers(0, steps), "operator": st.just("inject")}
    )
)
resumptions = st.fixed_dictionaries({"start_step": st.integers(0, STEPS), "operator": st.just("resume")})
requests = st.tuples(
    st.one_of(drawings, injections, resumptions),
    st.fixed_dictionaries(
        {
            "prompt": st.sampled_from(PROMPTS),
            "seed": st.integers(0, 2**32 - 1),
            "guidance": st.sampled_from([0.0, 1.0, 1.5, 4.5, 7.0]),
        }
    ),
    st.integers(0, 3),
)
"""How it starts, what it is of, and how many turns of the event loop later it comes."""


class Bench:
    """One model, used as it is and with the batch pinned to one, and an image to go on from."""

    def __init__(self, folder, store: Store) -> None:
        self.store, self.names = store, count()
        self.alone = LocalDiffusion.load(folder, steps=STEPS, max_batch=1)
        self.model = LocalDiffusion(self.alone.pipe, self.alone.model, steps=STEPS, max_batch=3)
        drawing = Attempt(id="source", prompt=PROMPTS[0], seed=5, keep_steps=range(STEPS))
        self.source = asyncio.run(self.alone.draw(drawing, store))

    async def draw(self, model: LocalDiffusion, start: dict[str, Any], words: dict[str, Any]) -> torch.Tensor:
        id, source = f"image-{next(self.names)}", self.source if "operator" in start else None
        lineage = {} if source is None else {"source": source.id, "parent": source.id}
        image = await model.draw(Attempt(id=id, **lineage, **start, **words), self.store, source=source)
        return read_latent(self.store, image.latent)

    async def together(self, mix: list[tuple[dict[str, Any], dict[str, Any], int]]) -> list[torch.Tensor]:
        async def late(start: dict[str, Any], words: dict[str, Any], turns: int) -> torch.Tensor:
            for _ in range(turns):
                await asyncio.sleep(0.002)
            return await self.draw(self.model, start, words)

        return await asyncio.gather(*(late(*one) for one in mix))

    async def apart(self, mix: list[tuple[dict[str, Any], dict[str, Any], int]]) -> list[torch.Tensor]:
        return [await self.draw(self.alone, start, words) for start, words, _ in mix]


@pytest.fixture(scope="module", params=["sd3", "dynamic", "one_clip"])
def bench(request, folders, tmp_path_factory) -> Bench:
    return Bench(folders[request.param], Store(tmp_path_factory.mktemp("run")))


@settings(max_examples=8, deadline=None)
@given(mix=st.lists(requests, min_size=2, max_size=6))
def test_an_image_is_the_same_in_any_mix(bench, mix):
    together, apart = asyncio.run(bench.together(mix)), asyncio.run(bench.apart(mix))
    for mixed, alone in zip(together, apart, strict=True):
        assert (mixed - alone).abs().max() <= TOLERANCE * max(1.0, float(alone.std()))


def test_the_mixes_do_share_passes(bench):
    """Or the test above would say nothing."""
    before = bench.model.statistics
    words = {"prompt": PROMPTS[0], "seed": 1, "guidance": 4.5}
    asyncio.run(bench.together([({}, words, 0), ({"steps": 4}, words | {"guidance": 1.0}, 0)]))
    after = bench.model.statistics
    assert (after.steps - before.steps, after.passes - before.passes) == (10, 6)


async def test_prompts_of_other_lengths_ride_along(bench):
    """A model with one CLIP reads prompts in several lengths, the others in one."""
    lengths = {len(encode(bench.alone.pipe, prompt).tokens) for prompt in PROMPTS}
    before = bench.model.statistics.passes
    await bench.together([({}, {"prompt": prompt, "seed": 1, "guidance": 4.5}, 0) for prompt in PROMPTS])
    assert bench.model.statistics.passes - before == STEPS
    assert (len(lengths) > 1) == (bench.alone.pipe.text_encoder_2 is None)
