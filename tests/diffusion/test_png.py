"""A picture carries how it was made, and gives it back."""

import json

import pytest
from PIL import Image

from detailscribe.tools.diffusion.job import pixel_digest, read_record

HOSTILE = 'a "cat"\n<script>, 猫 — Steps: 3'


async def test_the_record_comes_back(model, store, draw):
    image = await draw(model, prompt=HOSTILE, keep_steps=(2,))
    assert read_record(store.path(image.path)) == image
    with Image.open(store.path(image.path)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (144, 144))
        assert json.loads(picture.info["detailscribe"])["prompt"] == HOSTILE


async def test_the_settings_are_where_viewers_look(model, store, draw):
    image = await draw(model)
    other = await draw(model, "b", "a red cat", source=image, operator="inject", start_step=3)
    name, _, content = model.model.partition("@")
    with Image.open(store.path(image.path)) as picture:
        assert picture.info["parameters"] == (
            "a cat\nSteps: 6, Sampler: Euler, CFG scale: 4.5, Seed: 5, Size: 144x144, "
            f"Model hash: {content}, Model: {name}"
        )
    with Image.open(store.path(other.path)) as picture:
        assert picture.info["parameters"].endswith("Operator: inject, Start step: 3, Source: a")


async def test_the_digest_is_that_of_the_pixels_whatever_file_holds_them(model, store, draw, tmp_path):
    image = await draw(model)
    with Image.open(store.path(image.path)) as picture:
        picture.convert("RGB").save(tmp_path / "copy.bmp")
        assert pixel_digest(picture) == image.digest
        picture.putpixel((0, 0), (1, 2, 3))
        assert pixel_digest(picture) != image.digest
        assert pixel_digest(picture.convert("L")) != image.digest
    with Image.open(tmp_path / "copy.bmp") as copy:
        assert pixel_digest(copy) == image.digest
    assert pixel_digest(Image.new("L", (2, 3))) != pixel_digest(Image.new("L", (3, 2)))


def test_a_picture_of_others_has_no_record(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "plain.png")
    with pytest.raises(ValueError, match="does not say"):
        read_record(tmp_path / "plain.png")
