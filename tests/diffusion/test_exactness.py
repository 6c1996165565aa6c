"""What is drawn here is, bit for bit, what diffusers' own pipelines draw from the same folder."""

from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Img2ImgPipeline, StableDiffusion3Pipeline
from PIL import Image, ImageChops

from detailscribe.state import ImageRecord
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.diffusion.latents import read_latent

STEPS = 6
PROMPT, OTHER = "a cat holding a blue boat", "a red dog riding a boat and a cat holding a blue boat"
SEED = 11
EVERY = tuple(range(STEPS + 1))


class Stock:
    """The pipeline of a folder, used as its authors mean it."""

    def __init__(self, folder, dtype: torch.dtype = torch.float32) -> None:
        self.pipe: Any = StableDiffusion3Pipeline.from_pretrained(folder, dtype=dtype, **absent(folder))
        self.pipe.set_progress_bar_config(disable=True)

    def words(self, prompt: str) -> dict[str, Any]:
        """The prompt as arguments; as embeddings where the pipeline cannot encode it."""
        if self.pipe.text_encoder_2 is not None:
            return {"prompt": prompt}
        length = -(-len(self.pipe.tokenizer(prompt).input_ids) // 8) * 8
        tokens, pooled = self.read(prompt, length)
        empty, empty_pooled = self.read("", length)
        return {
            "prompt_embeds": tokens,
            "pooled_prompt_embeds": pooled,
            "negative_prompt_embeds": empty,
            "negative_pooled_prompt_embeds": empty_pooled,
        }

    @torch.no_grad()
    def read(self, prompt: str, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        ids = self.pipe.tokenizer(prompt, padding="max_length", max_length=length, return_tensors="pt").input_ids
        read = self.pipe.text_encoder(ids, output_hidden_states=True)
        return read.hidden_states[-2], read.text_embeds

    @torch.no_grad()
    def both(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings as the loop has them, the negative ones first."""
        words = self.words(prompt)
        if "prompt" in words:
            tokens, empty, pooled, empty_pooled = self.pipe.encode_prompt(prompt, None, None)
        else:
            tokens, pooled, empty, empty_pooled = words.values()
        return torch.cat([empty, tokens]), torch.cat([empty_pooled, pooled])

    def draw(self, prompt: str, guidance: float = 4.5, output_type: str = "latent", **more: Any) -> Any:
        return self.pipe(
            **self.words(prompt),
            generator=torch.Generator("cpu").manual_seed(SEED),
            guidance_scale=guidance,
            output_type=output_type,
            **{"num_inference_steps": STEPS} | more,
        ).images[0]

    def again(self, prompt: str, step: int, latent: torch.Tensor, **more: Any) -> torch.Tensor:
        """Image to image from step ``step``, with ``latent`` as the image."""
        parts = self.pipe.components | {"scheduler": type(self.pipe.scheduler).from_config(self.pipe.scheduler.config)}
        pipe = StableDiffusion3Img2ImgPipeline(**parts)
        pipe.set_progress_bar_config(disable=True)
        drawn = pipe(
            **self.words(prompt),
            image=latent[None],
            generator=torch.Generator("cpu").manual_seed(SEED),
            strength=(STEPS - step - 0.5) / STEPS,
            num_inference_steps=STEPS,
            guidance_scale=4.5,
            output_type="latent",
            **more,
        )
        return drawn.images[0]


def absent(folder) -> dict[str, None]:
    optional = ("text_encoder_2", "text_encoder_3", "tokenizer_2", "tokenizer_3")
    return {name: None for name in optional if not (folder / name).exists()}


@pytest.fixture
def stock(folder) -> Stock:
    return Stock(folder)


@pytest.fixture
def model(folder) -> LocalDiffusion:
    return LocalDiffusion.load(folder, steps=STEPS)


@pytest.fixture
def first(draw, model):
    """Draws with every step kept."""

    def drawn(id="drawn", prompt=PROMPT, of=None):
        return draw(of or model, id, prompt, SEED, keep_steps=EVERY)

    return drawn


@pytest.fixture
def redraw(draw, model):
    def drawn(source, operator, step, prompt=PROMPT, of=None):
        id = f"{operator}-{step}"
        return draw(of or model, id, prompt, SEED, source=source, operator=operator, start_step=step)

    return drawn


def same_pixels(store, record: ImageRecord, picture: Image.Image) -> bool:
    with Image.open(store.path(record.path)) as ours:
        return ours.size == picture.size and ImageChops.difference(ours, picture).getbbox() is None


@pytest.mark.parametrize("guidance", [4.5, 1.0])
async def test_one_image_is_the_pipelines(folder, stock, store, guidance, first):
    model = LocalDiffusion.load(folder, steps=STEPS, guidance=guidance)
    image = await first(of=model)
    assert torch.equal(read_latent(store, image.latent), stock.draw(PROMPT, guidance))
    assert same_pixels(store, image, stock.draw(PROMPT, guidance, "pil"))


async def test_steps_and_guidance_of_an_attempt_are_the_pipelines(model, stock, store, draw):
    image = await draw(model, "a", PROMPT, SEED, steps=3, guidance=2.3)
    assert torch.equal(read_latent(store, image.latent), stock.draw(PROMPT, 2.3, num_inference_steps=3))
    assert (image.steps, image.guidance, image.evaluations) == (3, 2.3, 6)


async def test_in_bfloat16_too(folder, store, first, redraw):
    """As on a GPU; the latent is kept in the model's own precision."""
    model = LocalDiffusion.load(folder, steps=STEPS, precision="bf16")
    image = await first(of=model)
    latent = read_latent(store, image.latent)
    assert latent.dtype == torch.bfloat16
    assert torch.equal(latent, Stock(folder, torch.bfloat16).draw(PROMPT))
    again = await redraw(image, "resume", 2, of=model)
    assert torch.equal(read_latent(store, again.latent), latent)


async def test_the_prompt_matters(model, store, first):
    one, two = [await first(id, prompt) for id, prompt in (("one", PROMPT), ("two", OTHER))]
    assert not torch.allclose(read_latent(store, one.latent), read_latent(store, two.latent), atol=1e-3)


async def test_resuming_at_every_step_is_the_uninterrupted_run(model, store, first, redraw):
    source = await first(of=model)
    final = read_latent(store, source.latent)
    for step in EVERY:
        image = await redraw(source, "resume", step, of=model)
        assert torch.equal(read_latent(store, image.latent), final), step


@pytest.mark.parametrize("step", [0, 1, 3, 5])
async def test_resuming_with_another_prompt_is_a_swap_of_both_embeddings(model, store, stock, step, first, redraw):
    """The other prompt has more tokens, so that a swap inside one run needs the embedding of a new shape."""
    source = await first(of=model)
    image = await redraw(source, "resume", step, OTHER, of=model)
    tokens, pooled = stock.both(OTHER)

    def swap(pipe, done, timestep, tensors):
        return {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled} if done + 1 == step else {}

    expected = stock.draw(PROMPT if step else OTHER, callback_on_step_end=swap)
    assert torch.equal(read_latent(store, image.latent), expected)


@pytest.mark.parametrize("step", [0, 1, 3, 5])
async def test_without_swap_pooled_the_tokens_alone_are_swapped(folder, store, stock, step, first, redraw):
    """As in the code published with the paper; from step 0 the drawing is all of the other prompt."""
    model = LocalDiffusion.load(folder, steps=STEPS, swap_pooled=False)
    source = await first(of=model)
    image = await redraw(source, "resume", step, OTHER, of=model)
    tokens, pooled = stock.both(OTHER)
    pooled = torch.cat([pooled[:1], stock.both(PROMPT)[1][1:]])

    def swap(pipe, done, timestep, tensors):
        return {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled} if done + 1 == step else {}

    expected = stock.draw(PROMPT if step else OTHER, callback_on_step_end=swap)
    assert torch.equal(read_latent(store, image.latent), expected)


@pytest.mark.parametrize("step", [0, 2, 5])
async def test_resuming_is_image_to_image_from_the_kept_latent(model, store, stock, step, first, redraw):
    source = await first(of=model)
    kept = read_latent(store, source.trajectory[step])
    image = await redraw(source, "resume", step, OTHER, of=model)
    assert torch.equal(read_latent(store, image.latent), stock.again(OTHER, step, kept, latents=kept[None]))


@pytest.mark.parametrize("step", [0, 2, 5])
async def test_injecting_is_image_to_image_from_the_final_latent(model, store, stock, step, first, redraw):
    source = await first(of=model)
    image = await redraw(source, "inject", step, OTHER, of=model)
    assert torch.equal(read_latent(store, image.latent), stock.again(OTHER, step, read_latent(store, source.latent)))


@pytest.mark.parametrize("operator", ["inject", "resume"])
async def test_at_strength_zero_nothing_changes(model, store, operator, first, redraw):
    source = await first(of=model)
    image = await redraw(source, operator, STEPS, OTHER, of=model)
    assert store.read(image.latent) == store.read(source.latent)
    with Image.open(store.path(source.path)) as picture:
        assert same_pixels(store, image, picture)
    assert (image.start_sigma, image.evaluations) == (0.0, 0)
