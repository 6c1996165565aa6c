"""What a model is shown: the pixels alone."""

import io

from PIL import Image

from detailscribe.tools.diffusion.job import png_bytes
from detailscribe.tools.vision.questions import read_picture


def opened(picture):
    return Image.open(io.BytesIO(picture.png))


async def test_pixels_stay_as_they_are_and_the_record_of_their_making_is_not_shown(store, image):
    plain = await read_picture(store, image)
    store.write(image.path, png_bytes(Image.new("RGB", (8, 8), "red"), image))
    signed = await read_picture(store, image)
    assert opened(signed).getpixel((3, 3)) == (255, 0, 0)
    assert opened(signed).info == {}
    assert signed.sha256 == plain.sha256
    assert signed.reference == image.path
