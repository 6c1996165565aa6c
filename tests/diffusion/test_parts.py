"""The plain functions, each against the library's own."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from detailscribe.tools.diffusion.embeddings import Embedding, decode, encode
from detailscribe.tools.diffusion.job import pixel_digest
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.diffusion.sampling import Sample, denoise, draw_noise, inject, make_schedule

CPU = torch.device("cpu")


def test_noise_is_that_of_the_seed_alone():
    before = torch.random.get_rng_state()
    noise = draw_noise(2**32 - 1, (4, 6, 6), torch.float32, CPU)
    expected = torch.randn((1, 4, 6, 6), generator=torch.Generator("cpu").manual_seed(2**32 - 1))
    assert torch.equal(noise, expected[0])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("steps", [1, 2, 28, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_schedule_is_the_schedulers(steps, shift):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    schedule = make_schedule(scheduler, steps, 36, CPU)
    assert len(scheduler.timesteps) == 1000
    scheduler.set_timesteps(steps)
    assert torch.equal(schedule.sigmas, scheduler.sigmas)
    assert torch.equal(schedule.timesteps, scheduler.timesteps)
    assert (schedule.steps, schedule.sigma(0), schedule.sigma(steps)) == (steps, 1.0, 0.0)


def test_steps_of_the_paper_have_the_noise_they_are_known_to_have():
    schedule = make_schedule(FlowMatchEulerDiscreteScheduler(shift=3.0), 28, 36, CPU)
    assert schedule.sigma(2) == pytest.approx(0.974, abs=1e-3)
    assert schedule.sigma(4) == pytest.approx(0.945, abs=1e-3)


def test_dynamic_shifting_depends_on_the_size_of_the_image():
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    small, large = (make_schedule(scheduler, 10, tokens, CPU) for tokens in (256, 4096))
    assert large.sigma(5) > small.sigma(5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_and_its_noise_are_the_schedulers(dtype):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    schedule = make_schedule(scheduler, 10, 36, CPU)
    latents, other = torch.randn(2, 3, 4, 6, 6, generator=torch.Generator().manual_seed(1)).to(dtype)
    scheduler.set_timesteps(10)
    timestep = scheduler.timesteps[4]
    assert torch.equal(inject(latents, other, schedule, 4), scheduler.scale_noise(latents, timestep[None], other))
    [stepped] = scheduler.step(other, timestep, latents, return_dict=False)
    sample = Sample(latents, schedule, Embedding(latents, latents), step=4)
    sample.take_step(other)
    assert torch.equal(sample.latent, stepped)


async def test_an_image_can_be_drawn_by_hand(model, store, draw):
    """With the plain functions alone, in the order of ``sampling``'s docstring."""
    pipe, config = model.pipe, model.pipe.transformer.config
    schedule = make_schedule(pipe.scheduler, 6, 36, CPU)
    noise = draw_noise(5, (config.in_channels, config.sample_size, config.sample_size), torch.float32, CPU)
    prompt, empty = encode(pipe, "a cat"), encode(pipe, "")
    sample = Sample(noise, schedule, prompt, empty, guidance=4.5, keep_steps={2})
    final = denoise(pipe.transformer, sample)
    image = await draw(model)
    assert torch.equal(read_latent(store, image.latent), final)
    assert pixel_digest(decode(pipe, final[None])[0]) == image.digest
    resumed = Sample(sample.kept[2], schedule, prompt, empty, guidance=4.5, step=2)
    assert torch.equal(denoise(pipe.transformer, resumed), final)


def test_one_clip_reads_multiples_of_eight_tokens_up_to_its_longest(model):
    lengths = [len(encode(model.pipe, " ".join(["cat"] * words)).tokens) for words in (0, 1, 6, 7, 46, 47, 500)]
    assert lengths == [8, 8, 8, 16, 48, 48, 48]


def test_the_empty_prompt_can_be_as_long_as_another(model):
    for words in (1, 20, 500):
        other = encode(model.pipe, " ".join(["cat"] * words)).tokens
        assert encode(model.pipe, "", length=len(other)).tokens.shape == other.shape


async def test_a_prompt_is_encoded_once(model, draw):
    calls: list[int] = []
    model.pipe.text_encoder.register_forward_hook(lambda *args: calls.append(1))
    for number, prompt in enumerate(("a cat", "a dog", "a cat", "a dog")):
        await draw(model, f"image-{number}", prompt)
    assert len(calls) == 3  # the two, and the empty one
