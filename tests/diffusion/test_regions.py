"""A refinement changes its region alone, and a region of everything changes nothing about a refinement."""

import pytest
import torch

from detailscribe.state import Attempt, Region
from detailscribe.tools.diffusion.latents import read_latent

STEPS = 6
WHOLE = Region(boxes=((0.0, 0.0, 1.0, 1.0),))
LEFT = Region(boxes=((0.0, 0.0, 0.4, 1.0),), margin=0.1, release=0)


async def refined(draw, model, source, id, operator, **more):
    lineage = {"source": source, "operator": operator, "start_step": 2}
    return await draw(model, id, "a red dog", 9, **lineage | more)


@pytest.mark.parametrize("operator", ["inject", "resume"])
async def test_the_whole_picture_as_region_is_the_plain_operator(model, draw, store, operator):
    source = await draw(model, keep_steps=(2,))
    plain = await refined(draw, model, source, "plain", operator)
    whole = await refined(draw, model, source, "whole", operator, region=WHOLE)
    assert store.read(plain.latent) == store.read(whole.latent)
    assert (plain.digest, plain.region, whole.region) == (whole.digest, None, WHOLE)
    assert whole.attempt().region == WHOLE


@pytest.mark.parametrize("operator", ["inject", "resume"])
async def test_everything_outside_stays_that_of_the_source(model, draw, store, operator):
    source = await draw(model, keep_steps=(2,))
    image = await refined(draw, model, source, "part", operator, region=LEFT, keep_steps=(3, 5))
    before, after = read_latent(store, source.latent), read_latent(store, image.latent)
    middle = before.shape[-1] // 2
    assert torch.equal(after[..., middle:], before[..., middle:])
    assert not torch.equal(after[..., :middle], before[..., :middle])
    plain = await refined(draw, model, source, "plain", operator, keep_steps=(2,))
    start = read_latent(store, plain.trajectory[2])
    for step in (3, 5):  # the source there has the noise that it started with, at the level of the step
        share = float(model.schedule.sigmas[step] / model.schedule.sigmas[2])
        x_k, expected = read_latent(store, image.trajectory[step]), before + share * (start - before)
        assert torch.allclose(x_k[..., middle:], expected[..., middle:], atol=1e-5)


@pytest.mark.parametrize(("release", "last"), [(0, 6), (0.2, 5), (0.5, 3)])
async def test_it_is_released_for_the_last_steps(model, draw, store, release, last):
    source = await draw(model)
    region = LEFT.model_copy(update={"release": release})
    steps = tuple(range(3, STEPS + 1))
    image = await refined(draw, model, source, "part", "inject", region=region, keep_steps=steps)
    other = await refined(draw, model, source, "held", "inject", region=LEFT, keep_steps=steps)
    right = [torch.equal(*(read_latent(store, one.trajectory[k])[..., 6:] for one in (image, other))) for k in steps]
    assert right == [k <= last for k in steps]


async def test_a_preview_of_a_region_shows_the_source_outside(model, draw, store):
    source = await draw(model)
    image = await refined(draw, model, source, "part", "inject", region=LEFT, stop_step=4)
    before, after = read_latent(store, source.latent), read_latent(store, image.latent)
    assert torch.equal(after[..., 9:], before[..., 9:])


def test_the_margin_grows_every_box_inside_the_picture():
    assert Region(boxes=((0.2, 0.5, 0.4, 0.9),), margin=0.25).grown == ((0, 0.25, 0.65, 1),)
    for wrong in (
        {"boxes": ()},
        {"boxes": ((0.5, 0, 0.5, 1),)},
        {"boxes": ((0, 0, 1, 1.2),)},
        {"boxes": ((1, 0, 0, 1),)},
    ):
        with pytest.raises(ValueError, match=r"boxes|box|less than or equal"):
            Region(**wrong)
    with pytest.raises(ValueError, match="nothing to keep outside"):
        Attempt(region=WHOLE)
