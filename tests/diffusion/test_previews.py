"""A drawing that stops early shows what it would become, and goes on as if it had not stopped."""

import asyncio

import pytest
import torch
from PIL import Image

from detailscribe.tools.diffusion import LocalDiffusion, job
from detailscribe.tools.diffusion.job import read_record
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.errors import MissingLatentError, SettingsError

STEPS = 6
PROMPT = "a cat holding a blue boat"


@pytest.fixture
def part(draw):
    """A drawing that may stop early, or a preview continued."""

    def drawn(model, id, stop=None, source=None, **more):
        start = {} if source is None else {"source": source, "start_step": source.stop_step}
        return draw(model, id, PROMPT, 11, stop_step=stop, **start | more)

    return drawn


@pytest.mark.parametrize("stops", [(1,), (5,), (1, 2, 4)])
async def test_to_stop_and_go_on_is_not_to_have_stopped(folder, store, stops, part):
    model = LocalDiffusion.load(folder, steps=STEPS)
    whole = await part(model, "whole")
    image = await part(model, "part-0", stops[0])
    spent = image.evaluations
    for number, stop in enumerate([*stops[1:], None], 1):
        image = await part(model, f"part-{number}", stop, image)
        spent += image.evaluations
    assert torch.equal(read_latent(store, image.latent), read_latent(store, whole.latent))
    assert spent == whole.evaluations
    assert (image.stop_step, image.spared) == (None, 0)


async def test_a_preview_is_the_prediction_of_the_last_step(model, store, part):
    """x_0 is where the straight line from x_k to x_{k+1} ends."""
    whole = await part(model, "whole", keep_steps=(2, 3))
    preview = await part(model, "preview", 3)
    before, after = (read_latent(store, whole.trajectory[k]).double() for k in (2, 3))
    sigmas = model.schedule.sigmas.double()
    velocity = (after - before) / (sigmas[3] - sigmas[2])
    torch.testing.assert_close(
        read_latent(store, preview.latent).double(), before - sigmas[2] * velocity, atol=1e-4, rtol=0
    )
    assert torch.equal(read_latent(store, preview.trajectory[3]), after.float())


async def test_a_previews_record_says_what_was_spared(model, store, part):
    preview = await part(model, "a", 2, keep_steps=(1, 5))
    assert (preview.stop_step, preview.steps, preview.evaluations, preview.spared) == (2, STEPS, 4, 8)
    assert sorted(preview.trajectory) == [1, 2]
    assert read_record(store.path(preview.path)) == preview
    with Image.open(store.path(preview.path)) as picture:
        assert picture.size == (144, 144)


async def test_progress_counts_the_steps_to_the_stop(model, part):
    told = list[tuple[str, int, int]]()
    await part(model, "a", 2, progress=lambda *step: told.append(step))
    assert told == [("a", 1, 2), ("a", 2, 2)]


async def test_previews_and_whole_images_share_the_model(model, part):
    whole, preview = await asyncio.gather(part(model, "a"), part(model, "b", 2))
    assert (whole.evaluations, preview.evaluations) == (12, 4)
    assert model.statistics.passes == STEPS


async def test_whoever_watches_sees_an_image_on_its_way_and_the_same_image_in_the_end(folder, store, part, monkeypatch):
    monkeypatch.setattr(job, "PREVIEW_PAUSE", 0)
    model, seen = LocalDiffusion.load(folder, steps=STEPS), []

    def look(*_):
        for path in sorted((store.root / "previews").glob("*.png")):
            with Image.open(path) as picture:
                seen.append((path.name, picture.width / picture.height, picture.tobytes()))

    alone = await part(model, "a", progress=look)
    assert seen == []
    assert not (store.root / "previews").exists()
    (store.root / "previews").mkdir()
    assert (await part(model, "a", progress=look)).digest == alone.digest
    assert {shown[:2] for shown in seen} == {("a.png", 1)}
    assert len({pixels for _, _, pixels in seen}) == STEPS - 1


async def test_to_stop_at_the_last_step_is_to_go_to_the_end(model, part):
    image = await part(model, "a", STEPS)
    assert (image.stop_step, image.trajectory) == (None, {})


async def test_a_preview_cannot_be_resumed_where_it_has_not_been(model, part):
    preview = await part(model, "a", 2)
    with pytest.raises(MissingLatentError, match=r"kept: 2"):
        await part(model, "b", source=preview, start_step=3)


async def test_a_stop_outside_the_schedule_is_refused(model, part):
    with pytest.raises(SettingsError, match="cannot stop at"):
        await part(model, "a", STEPS + 1)
