"""What draws faster: guidance at some noise levels alone, blocks that are spared or compiled, other attention."""

import asyncio

import pytest
import torch
from pydantic import ValidationError

from detailscribe.state import DrawingOptions
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.errors import SettingsError

STEPS = 6


@pytest.fixture
def load(folders):
    """The tiny SD3, of one prompt length, with these drawing options."""

    def loaded(how: dict | None = None, **options):
        return LocalDiffusion.load(folders["sd3"], steps=STEPS, options=DrawingOptions(**options), **how or {})

    return loaded


@pytest.fixture
def latent(store, draw):
    async def drawn(model, id="a", **more):
        return read_latent(store, (await draw(model, id, **more)).latent)

    return drawn


class TestGuidanceInterval:
    async def test_steps_outside_of_it_take_one_row_and_are_those_of_an_unguided_image(self, load, store, draw):
        model = load(guidance_interval=(0.0, 0.5))
        unguided_at = [step for step in range(STEPS) if model.schedule.sigma(step) > 0.5]
        image, plain = (
            await draw(model, keep_steps=range(STEPS)),
            await draw(load(), "b", guidance=0, keep_steps=range(STEPS)),
        )
        assert 0 < len(unguided_at) < STEPS
        assert image.evaluations == model.evaluations_per_drawing == 2 * STEPS - len(unguided_at)
        assert model.statistics.rows == image.evaluations
        last = unguided_at[-1] + 1
        for step, same in ((last, True), (last + 1, False)):
            assert torch.equal(*(read_latent(store, one.trajectory[step]) for one in (image, plain))) == same

    async def test_the_whole_interval_is_full_guidance(self, load, latent):
        assert torch.equal(await latent(load(guidance_interval=(0, 1)), "a"), await latent(load(), "b"))

    async def test_it_is_the_same_alone_and_beside_images_at_other_steps(self, load, draw, latent, store):
        model = load(guidance_interval=(0.4, 0.9))
        alone = await latent(model)
        images = await asyncio.gather(draw(model, "b"), draw(model, "c", steps=3), draw(model, "d", guidance=0))
        torch.testing.assert_close(read_latent(store, images[0].latent), alone, atol=1e-5, rtol=0)

    def test_without_guidance_it_is_refused(self, folders):
        with pytest.raises(SettingsError, match="guidance_interval has no effect at guidance 1"):
            LocalDiffusion.load(folders["sd3"], guidance=1, options=DrawingOptions(guidance_interval=(0.2, 0.8)))

    @pytest.mark.parametrize("interval", [(0.8, 0.2), (-0.1, 0.5), (0.5, 1.1), (0.5, 0.5)])
    def test_one_that_is_none_is_refused(self, interval):
        with pytest.raises(ValidationError, match="two numbers in"):
            DrawingOptions(guidance_interval=interval)


class TestBlockCache:
    async def test_below_any_change_it_draws_the_same_and_counts_the_same(self, load, draw, store):
        image, plain = await draw(load(block_cache=1e-9)), await draw(load(), "b")
        assert torch.equal(*(read_latent(store, one.latent) for one in (image, plain)))
        assert image.evaluations == plain.evaluations == 2 * STEPS

    async def test_steps_are_spared_and_cost_no_evaluation(self, load, draw, store):
        model = load(block_cache=0.9)
        ran = []
        last = model.pipe.transformer.transformer_blocks[-1].attn
        last.register_forward_pre_hook(
            lambda module, args, given: ran.append(len(given["hidden_states"])), with_kwargs=True
        )
        image, plain = await draw(model), await draw(load(), "b")
        assert 0 < image.evaluations < plain.evaluations
        assert sum(ran) == image.evaluations
        first, second = (read_latent(store, one.latent) for one in (image, plain))
        assert 0 < (first - second).abs().max() < 0.5

    async def test_each_image_decides_by_itself_whatever_else_is_in_its_pass(self, load, draw, store):
        model = load(block_cache=0.3)
        alone = [await draw(model, "a"), await draw(model, "b", "a red dog", guidance=0)]
        together = await asyncio.gather(
            draw(model, "c"), draw(model, "d", "a red dog", guidance=0), draw(model, "e", seed=9)
        )
        for one, other in zip(alone, together, strict=False):
            assert one.evaluations == other.evaluations
            torch.testing.assert_close(*(read_latent(store, x.latent) for x in (one, other)), atol=1e-4, rtol=0)

    async def test_a_pass_that_fails_leaves_the_model_and_the_image_as_they_were(self, load, draw, store):
        model = load(block_cache=0.9)
        plain = await draw(model)
        denoiser, asked = model.pipe.transformer, []

        def fail_once(*called):
            asked.append(1)
            if len(asked) == 3:
                raise torch.OutOfMemoryError("CUDA out of memory")

        hook = denoiser.norm_out.register_forward_pre_hook(fail_once)
        images = await asyncio.gather(draw(model, "b"), draw(model, "c", seed=9))
        hook.remove()
        assert images[0].evaluations == plain.evaluations
        assert not any("forward" in vars(block) for block in denoiser.transformer_blocks)


class TestAttention:
    @pytest.mark.parametrize("backend", ["native", "_native_math"])
    async def test_a_backend_of_diffusers_draws_the_same_within_rounding(self, load, latent, backend):
        model = load({"attention": backend})
        torch.testing.assert_close(await latent(model), await latent(load(), "b"), atol=1e-4, rtol=0)

    async def test_with_a_backend_prompts_of_other_lengths_take_passes_of_their_own(self, folders, draw):
        for how, passes in (({}, 2), ({"attention": "native"}, 4)):
            model = LocalDiffusion.load(folders["one_clip"], steps=2, **how)
            await asyncio.gather(draw(model, "a"), draw(model, "b", "a cat " * 8))
            assert model.statistics.passes == passes

    @pytest.mark.parametrize("backend", ["quick", "sage"])
    def test_one_that_is_not_here_is_refused(self, load, backend):
        with pytest.raises(SettingsError, match=f'diffusion.attention = "{backend}" cannot be used here'):
            load({"attention": backend})


async def test_tiles_change_the_picture_a_little_and_the_latent_not_at_all(load, draw, store):
    model, sides = load({"tiled": True}), []
    model.pipe.vae.decoder.register_forward_pre_hook(lambda module, args: sides.append(args[0].shape[-1]))
    image, plain = await draw(model), await draw(load(), "b")
    assert torch.equal(*(read_latent(store, one.latent) for one in (image, plain)))
    assert (image.width, image.height) == (plain.width, plain.height)
    assert len(sides) > 1
    assert max(sides) < 12


async def test_a_picture_without_room_is_decoded_in_tiles_from_then_on(load, draw, store, caplog):
    model, sides = load(), []

    def refuse_whole(module, args):
        sides.append(args[0].shape[-1])
        if sides[-1] >= 12:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.pipe.vae.decoder.register_forward_pre_hook(refuse_whole)
    short, tiled = await draw(model), await draw(load({"tiled": True}), "b")
    again = await draw(model, "c")
    assert short.digest == again.digest == tiled.digest
    assert sum(side >= 12 for side in sides) == 1
    assert caplog.text.count("in tiles") == 1


async def test_blocks_are_compiled_once_for_any_number_of_images(load, draw, store, monkeypatch):
    from torch._dynamo.utils import counters

    torch.compiler.reset()
    counters.clear()
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call: compile(call, backend="eager"))
    model = load({"compiled": True})
    await draw(model)
    graphs = counters["stats"]["unique_graphs"]
    assert graphs >= 3  # of two kinds of block, and of the decoder
    for count in (2, 3, 5):
        await asyncio.gather(*(draw(model, f"{count}-{i}", seed=i) for i in range(count)))
    assert counters["stats"]["unique_graphs"] == graphs
    assert model.statistics.steps > model.statistics.passes
