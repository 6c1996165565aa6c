"""Pictures that tell nothing but what they show: pixels alone, all of one size and format."""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from ...state import ImageRecord
from ...tools.metrics.pictures import read_pixels
from ..evaluation import Shot

LARGEST = 768
"""Pixels; no side is longer, so that a page of 300 pictures stays below 100 MB."""
SMALL = 256
"""Pixels; up to this side pictures stay PNG, and are enlarged with hard edges."""


@dataclass(frozen=True)
class Format:
    """What all pictures of a page have in common."""

    side: int
    """Of the longer side, in pixels; that of the smallest picture, since a size can tell the model that drew it."""

    @property
    def suffix(self) -> str:
        """``png`` or ``jpeg``, for names of files and of the type."""
        return "png" if self.side <= SMALL else "jpeg"

    @property
    def crisp(self) -> bool:
        """Whether enlarging should keep the pixels visible."""
        return self.side <= SMALL

    def blinded(self, shot: Shot) -> bytes:
        """The picture without anything that its file said; ``FileNotFoundError`` if it is gone."""
        read = read_pixels(shot.sample)
        bare = Image.frombytes("RGB", read.size, read.tobytes())
        scale = self.side / max(bare.size)
        if scale != 1:
            bare = bare.resize((max(round(bare.width * scale), 1), max(round(bare.height * scale), 1)))
        written = BytesIO()
        bare.save(written, self.suffix.upper(), quality=85)
        return written.getvalue()


def format_of(images: Iterable[ImageRecord]) -> Format:
    """The one in which the least has to be made smaller."""
    return Format(min(LARGEST, *(max(image.width, image.height) for image in images), LARGEST))
