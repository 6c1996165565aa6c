"""A drawing that stops early shows what it would become, and goes on as if it had not stopped."""

import asyncio

import pytest
import torch
from PIL import Image

from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.diffusion.png import read_record
from detailscribe.tools.errors import MissingLatentError, SettingsError
from detailscribe.tools.roles import GenerateRequest, RedenoiseRequest

STEPS = 6
PROMPT = "a cat holding a blue boat"


def drawing(id: str, stop: int | None = None, **more) -> GenerateRequest:
    return GenerateRequest(id, 0, PROMPT, 11, stop_step=stop, **more)


def going_on(id: str, preview, stop: int | None = None) -> RedenoiseRequest:
    return RedenoiseRequest(id, 1, PROMPT, preview, "resume", preview.stop_step, preview.seed, stop_step=stop)


@pytest.mark.parametrize("stops", [(1,), (5,), (1, 2, 4)])
async def test_to_stop_and_go_on_is_not_to_have_stopped(folder, store, stops):
    model = LocalDiffusion.load(folder, steps=STEPS)
    [whole] = await model.generate([drawing("whole")], store)
    [image] = await model.generate([drawing("part-0", stops[0])], store)
    spent = image.evaluations
    for number, stop in enumerate([*stops[1:], None], 1):
        [image] = await model.redenoise([going_on(f"part-{number}", image, stop)], store)
        spent += image.evaluations
    assert torch.equal(read_latent(store, image.latent), read_latent(store, whole.latent))
    assert spent == whole.evaluations
    assert (image.stop_step, image.spared) == (None, 0)


async def test_a_preview_is_the_prediction_of_the_last_step(model, store):
    """x_0 is where the straight line from x_k to x_{k+1} ends."""
    [whole] = await model.generate([drawing("whole", keep_steps=(2, 3))], store)
    [preview] = await model.generate([drawing("preview", 3)], store)
    before, after = (read_latent(store, whole.trajectory[k]).double() for k in (2, 3))
    sigmas = model.schedule.sigmas.double()
    velocity = (after - before) / (sigmas[3] - sigmas[2])
    torch.testing.assert_close(
        read_latent(store, preview.latent).double(), before - sigmas[2] * velocity, atol=1e-4, rtol=0
    )
    assert torch.equal(read_latent(store, preview.trajectory[3]), after.float())


async def test_a_previews_record_says_what_was_spared(model, store):
    [preview] = await model.generate([drawing("a", 2, keep_steps=(1, 5))], store)
    assert (preview.stop_step, preview.steps, preview.evaluations, preview.spared) == (2, STEPS, 4, 8)
    assert sorted(preview.trajectory) == [1, 2]
    assert read_record(store.path(preview.path)) == preview
    with Image.open(store.path(preview.path)) as picture:
        assert picture.size == (144, 144)


async def test_progress_counts_the_steps_to_the_stop(model, store):
    told = list[tuple[str, int, int]]()
    await model.generate([drawing("a", 2)], store, lambda *part: told.append(part))
    assert told == [("a", 1, 2), ("a", 2, 2)]


async def test_previews_and_whole_images_share_the_model(model, store):
    whole, preview = await asyncio.gather(
        model.generate([drawing("a")], store), model.generate([drawing("b", 2)], store)
    )
    assert (whole[0].evaluations, preview[0].evaluations) == (12, 4)
    assert model.statistics.passes == STEPS


async def test_to_stop_at_the_last_step_is_to_go_to_the_end(model, store):
    [image] = await model.generate([drawing("a", STEPS)], store)
    assert (image.stop_step, image.trajectory) == (None, {})


async def test_a_preview_cannot_be_resumed_where_it_has_not_been(model, store):
    [preview] = await model.generate([drawing("a", 2)], store)
    request = RedenoiseRequest("b", 1, PROMPT, preview, "resume", 3, 11)
    with pytest.raises(MissingLatentError, match=r"kept: 2"):
        await model.redenoise([request], store)


@pytest.mark.parametrize("stop", [-1, 0, STEPS + 1])
async def test_a_stop_outside_the_schedule_is_refused(model, store, stop):
    with pytest.raises(SettingsError, match="cannot stop at"):
        await model.generate([drawing("a", stop)], store)


async def test_a_stop_has_to_come_after_the_start(model, store):
    [preview] = await model.generate([drawing("a", 2)], store)
    with pytest.raises(SettingsError, match="starts at step 2 of 6 and cannot stop at 2"):
        await model.redenoise([going_on("b", preview, 2)], store)
