"""A picture carries how it was made, and gives it back."""

import json

import pytest
from PIL import Image

from detailscribe.tools.diffusion.png import read_record
from detailscribe.tools.roles import GenerateRequest, RedenoiseRequest

HOSTILE = 'a "cat"\n<script>, 猫 — Steps: 3'


async def test_the_record_comes_back(model, store):
    [image] = await model.generate([GenerateRequest("a", 0, HOSTILE, 5, keep_steps=(2,))], store)
    assert read_record(store.path(image.path)) == image
    with Image.open(store.path(image.path)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (144, 144))
        assert json.loads(picture.info["detailscribe"])["prompt"] == HOSTILE


async def test_the_settings_are_where_viewers_look(model, store):
    [image] = await model.generate([GenerateRequest("a", 0, "a cat", 5)], store)
    [other] = await model.redenoise([RedenoiseRequest("b", 1, "a red cat", image, "inject", 3, 5)], store)
    name, _, content = model.model.partition("@")
    with Image.open(store.path(image.path)) as picture:
        assert picture.info["parameters"] == (
            "a cat\nSteps: 6, Sampler: Euler, CFG scale: 4.5, Seed: 5, Size: 144x144, "
            f"Model hash: {content}, Model: {name}"
        )
    with Image.open(store.path(other.path)) as picture:
        assert picture.info["parameters"].endswith("Operator: inject, Start step: 3, Source: a")


def test_a_picture_of_others_has_no_record(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "plain.png")
    with pytest.raises(ValueError, match="does not say"):
        read_record(tmp_path / "plain.png")
