"""Pixels of samples, and their hash."""

import io
from hashlib import sha256

from PIL import Image

from .metric import Sample


def read_pixels(sample: Sample) -> Image.Image:
    """The picture of a sample, RGB; ``FileNotFoundError`` if its store does not hold it."""
    with Image.open(io.BytesIO(sample.store.read(sample.image.path))) as file:
        return file.convert("RGB")


def pixel_hash(picture: Image.Image) -> str:
    """Hash of what a picture shows, in hexadecimal; what else its file says does not count."""
    return sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()
