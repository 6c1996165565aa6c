"""What a model is shown: the pixels alone, scaled down only where they are too many."""

import io

import pytest
from PIL import Image

from detailscribe.tools.diffusion.png import png_bytes
from detailscribe.tools.vision.picture import LONGEST_SIDE, read_picture

from .conftest import put


def opened(picture):
    return Image.open(io.BytesIO(picture.png))


@pytest.mark.parametrize(
    ("size", "shown"),
    [((8, 8), (8, 8)), ((1024, 600), (1024, 600)), ((2048, 1024), (1024, 512)), ((1000, 3000), (341, 1024))],
)
def test_only_large_images_are_scaled(store, size, shown):
    picture = opened(read_picture(store, put(store, "00-00", size)))
    assert picture.format == "PNG"
    assert picture.size == shown
    assert max(shown) <= LONGEST_SIDE


def test_pixels_stay_as_they_are_and_the_record_of_their_making_is_not_shown(store, image):
    plain = read_picture(store, image)
    store.write(image.path, png_bytes(Image.new("RGB", (8, 8), "red"), image))
    signed = read_picture(store, image)
    assert opened(signed).getpixel((3, 3)) == (255, 0, 0)
    assert opened(signed).info == {}
    assert signed.sha256 == plain.sha256
    assert signed.reference == image.path
