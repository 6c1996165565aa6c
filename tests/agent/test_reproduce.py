"""Any image is made again from its record, with its ancestors where their latents are gone."""

import shutil

import pytest
from PIL import Image

from detailscribe.agent import Adaptive, Single, reproduce, run
from detailscribe.agent.runs.reproduce import difference
from detailscribe.agent.settings.presets import EMBEDDED_DIFFUSION
from detailscribe.state import Budget
from detailscribe.tools.errors import SettingsError

from .fakes import PROMPT, FakeDiffusion, roles

SCRIPT = {"00-00": "red holding", "01-00": "red", "02-00": "red holding"}


@pytest.fixture
def done(tmp_path):
    policy = Adaptive(images=1, operator="resume")
    chosen = roles(SCRIPT, diffusion=FakeDiffusion(writes_latents=True))
    return run(PROMPT, out=tmp_path / "run", policy=policy, seed=7, budget=Budget(rounds=2), **chosen)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_drawing_is_made_again_as_it_was(done, tmp_path):
    before, diffusion = files(done.folder), FakeDiffusion(writes_latents=True)
    again = reproduce(done.folder, "00-00", diffusion=diffusion, out=tmp_path / "again")
    assert again.difference.identical
    assert (again.made, again.model_then, again.model_now) == (("00-00",), "fake@0", "fake@0")
    assert again.path == tmp_path / "again" / "images" / "00-00.png"
    [request] = diffusion.requests
    assert (request.prompt, request.seed, request.steps, request.guidance) == (PROMPT, 7, 28, 4.5)
    assert files(done.folder) == before


def test_a_refinement_starts_from_what_its_source_left(done):
    diffusion = FakeDiffusion(writes_latents=True)
    again = reproduce(done.folder, "01-00", diffusion=diffusion)
    assert (again.made, again.path) == (("01-00",), None)
    [request], record = diffusion.requests, done.result.images[1]
    assert (request.source, request.operator, request.start_step) == (
        "00-00",
        record.operator,
        record.start_step,
    )


def test_where_latents_are_gone_the_lineage_is_made_again(done):
    shutil.rmtree(done.folder / "latents")
    diffusion = FakeDiffusion(writes_latents=True)
    again = reproduce(done.folder, "02-00", diffusion=diffusion)
    assert again.difference.identical
    assert list(again.made) == [image.id for image in done.result.images]
    assert [request.id for request in diffusion.requests] == list(again.made)
    first, second, third = diffusion.requests
    assert second.start_step in first.keep_steps
    assert third.start_step in second.keep_steps or third.start_step in first.keep_steps


def test_a_changed_model_is_named_and_its_difference_measured(done):
    class Darker(FakeDiffusion):
        async def draw(self, attempt, store, *, source=None, progress=None):
            made = await super().draw(attempt, store, source=source, progress=progress)
            Image.new("RGB", (8, 8), (7, 89, 20)).save(store.path(made.path))
            return made

    again = reproduce(done.folder, "00-00", diffusion=Darker("fake@1", writes_latents=True))
    assert (again.model_then, again.model_now) == ("fake@0", "fake@1")
    assert (again.difference.largest, again.difference.identical) == (10, False)
    assert again.difference.psnr == pytest.approx(32.902, abs=0.001)  # 10 log10(255^2 / (100 / 3))


def test_pictures_of_two_sizes_cannot_be_compared(tmp_path):
    for name, size in (("a", (8, 8)), ("b", (8, 16))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    with pytest.raises(SettingsError, match="another size: 8x16 instead of 8x8"):
        difference(tmp_path / "a.png", tmp_path / "b.png")


def test_an_image_that_is_not_there_is_one_clear_error(done):
    with pytest.raises(SettingsError, match="has no image '09-00'; it has 00-00, 01-00, 02-00"):
        reproduce(done.folder, "09-00")
    (done.folder / "images" / "00-00.png").unlink()
    with pytest.raises(SettingsError, match=r"00-00\.png cannot be compared with"):
        reproduce(done.folder, "00-00")


def test_the_embedded_model_makes_its_images_again_without_their_latents(tmp_path):
    from detailscribe.tools.diffusion import LocalDiffusion

    diffusion = LocalDiffusion.load(EMBEDDED_DIFFUSION, steps=4)
    chosen = roles(lambda image: "red", diffusion=diffusion)
    done = run(PROMPT, out=tmp_path / "run", policy=Single(start_step=1), **chosen)
    shutil.rmtree(done.folder / "latents")
    again = reproduce(done.folder, "01-00", diffusion=diffusion)
    assert again.made == ("00-00", "01-00")
    assert again.difference.largest <= 2
