"""The pixels of an image, as a chat model is shown them."""

import io

from PIL import Image

from ...state import ImageRecord
from ..language.question import Picture
from ..store import Store

LONGEST_SIDE = 1024
"""Pixels. Larger images are scaled down: servers do so themselves, to about this size, and bill what they are sent."""


def read_picture(store: Store, image: ImageRecord) -> Picture:
    """The image from the store as PNG, at most ``LONGEST_SIDE`` in either direction, never enlarged.

    The file is written anew: the one in the store carries the record of its making, and one picture
    should have one hash, whatever it was made by.

    Raises:
        FileNotFoundError: the store does not hold it.
    """
    with Image.open(io.BytesIO(store.read(image.path))) as file:
        picture = file.convert("RGB")
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return Picture(png=buffer.getvalue(), reference=image.path)
