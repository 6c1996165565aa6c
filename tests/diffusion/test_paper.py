"""The published procedure and ours are one, and the corrected mode differs from it by the pooled embedding alone.

The procedure, from its description: an image is drawn again from its seed, from the first step on, and after k
steps the prompt's token embeddings are swapped for those of the refined prompt, while the pooled embedding stays;
for k = 0 the image is drawn from the refined prompt alone. We draw no step twice: we go on from the kept x_k.
"""

import asyncio
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from detailscribe.state import Attempt, ImageRecord
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.diffusion.latents import read_latent

STEPS, GUIDANCE, TOKENS = 7, 4.5, 512
SWEEP = (0, 1, 2, 4)
SEEDS = (2628670643, 2628670647)
FIRST, REFINED = "a cat riding a boat", "a cat riding a boat and holding a red dog"
WIDTHS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Published:
    """The stock pipeline with all three text encoders, used as the procedure has it."""

    def __init__(self, folder, dtype: torch.dtype) -> None:
        self.pipe: Any = StableDiffusion3Pipeline.from_pretrained(folder, dtype=dtype)
        self.pipe.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def refine(self, seed: int, after: int, swap: tuple[str, ...] = ("prompt_embeds",)) -> torch.Tensor:
        """The final latent when ``swap`` changes after so many steps."""
        if after == 0:
            return self.draw(REFINED, seed)
        told, empty, pooled, empty_pooled = self.pipe.encode_prompt(REFINED, None, None, max_sequence_length=TOKENS)
        new = {
            "prompt_embeds": torch.cat([empty, told]),
            "pooled_prompt_embeds": torch.cat([empty_pooled, pooled]),
        }

        def change(pipe, step, timestep, tensors):
            return {name: new[name] for name in swap} if step + 1 == after else {}

        return self.draw(FIRST, seed, callback_on_step_end=change)

    def draw(self, prompt: str, seed: int, **more: Any) -> torch.Tensor:
        return self.pipe(
            prompt,
            generator=torch.Generator("cpu").manual_seed(seed),
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            max_sequence_length=TOKENS,
            output_type="latent",
            **more,
        ).images[0]


def ours(folder, precision: str = "fp32", **more: Any) -> LocalDiffusion:
    return LocalDiffusion.load(
        folder, steps=STEPS, guidance=GUIDANCE, max_tokens=TOKENS, device="cpu", precision=precision, **more
    )


async def sweep(model: LocalDiffusion, store, seed: int, name: str = "") -> dict[int, torch.Tensor]:
    """The refined latents by k, all four together, from one drawing that kept its steps."""
    source = await first(model, store, seed, name)
    images = await asyncio.gather(*(model.draw(refinement(source, k, name), store, source=source) for k in SWEEP))
    return {image.start_step: read_latent(store, image.latent) for image in images}


async def first(model: LocalDiffusion, store, seed: int, name: str = "") -> ImageRecord:
    return await model.draw(Attempt(id=f"{name}first", prompt=FIRST, seed=seed, keep_steps=SWEEP), store)


def refinement(source: ImageRecord, k: int, name: str = "") -> Attempt:
    start = {"source": source.id, "operator": "resume", "start_step": k}
    return Attempt(id=f"{name}k{k}", parent=source.id, prompt=REFINED, seed=source.seed, **start)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("precision", WIDTHS)
async def test_the_published_images_are_ours_to_the_last_bit(folders, store, precision, seed):
    published = Published(folders["sd3"], WIDTHS[precision])
    refined = await sweep(ours(folders["sd3"], precision, swap_pooled=False, batch_alone=True), store, seed)
    for k in SWEEP:
        assert torch.equal(refined[k], published.refine(seed, k)), k


@pytest.mark.parametrize("precision", WIDTHS)
async def test_the_corrected_mode_differs_by_the_pooled_embedding_alone(folders, store, precision):
    published = Published(folders["sd3"], WIDTHS[precision])
    refined = await sweep(ours(folders["sd3"], precision, batch_alone=True), store, SEEDS[0])
    for k in SWEEP:
        both = published.refine(SEEDS[0], k, ("prompt_embeds", "pooled_prompt_embeds"))
        assert torch.equal(refined[k], both), k
        assert torch.equal(both, published.refine(SEEDS[0], k)) == (k == 0), k


async def test_the_four_of_a_sweep_drawn_together_are_the_four_drawn_alone(folders, store):
    together = await sweep(ours(folders["sd3"], swap_pooled=False), store, SEEDS[0], "together-")
    alone = await sweep(ours(folders["sd3"], swap_pooled=False, batch_alone=True), store, SEEDS[0], "alone-")
    for k in SWEEP:
        assert torch.allclose(together[k], alone[k], atol=1e-4), k


async def test_a_sweep_costs_its_own_steps_and_each_prompt_is_read_once(folders, store):
    model, calls = ours(folders["sd3"], swap_pooled=False), dict[str, int]()

    def count(name: str) -> None:
        calls[name] = calls.get(name, 0) + 1

    encoders = ("text_encoder", "text_encoder_2", "text_encoder_3")
    for name in encoders:
        getattr(model.pipe, name).register_forward_hook(lambda *called, name=name: count(name))
    source = await first(model, store, SEEDS[0])
    for k in SWEEP:
        image = await model.draw(refinement(source, k), store, source=source)
        assert image.evaluations == 2 * (STEPS - k)
    assert calls == dict.fromkeys(encoders, 3), "the first prompt, the empty one and the refined one"


async def test_the_low_memory_way_draws_the_published_images_too(folders, store):
    published = Published(folders["sd3"], torch.bfloat16)
    model = ours(folders["sd3"], "bf16", swap_pooled=False, batch_alone=True, t5="once")
    refined = await sweep(model, store, SEEDS[0])
    for k in SWEEP:
        assert torch.equal(refined[k], published.refine(SEEDS[0], k)), k
    assert not model.pipe.text_encoder_3.is_loaded
