"""Pictures as data URLs, each no larger than the place where it is shown."""

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO

from ...state import ImageRecord
from ...tools.store import Store

SMALL = 256
"""Pixels; up to this side a picture is embedded as it is everywhere, and enlarged with hard edges."""
CARD = 768
"""Pixels; the longer side of a larger picture on its card."""
THUMBNAIL = 192
"""Pixels; the longer side of a larger picture's thumbnail."""


@dataclass(frozen=True)
class Picture:
    """One picture in the three sizes of the page, as data URLs."""

    full: str
    """The PNG of the run folder, byte for byte."""
    card: str
    thumbnail: str
    crisp: bool
    """Whether it is so small that enlarging it should keep its pixels visible."""


def picture(image: ImageRecord, store: Store) -> Picture:
    """The picture of an image; ``FileNotFoundError`` if its file is gone."""
    png = store.read(image.path)
    full = _data_url("image/png", png)
    if max(image.width, image.height) <= SMALL:
        return Picture(full=full, card=full, thumbnail=full, crisp=True)
    return Picture(full=full, card=_jpeg(png, CARD), thumbnail=_jpeg(png, THUMBNAIL), crisp=False)


def shrunk(png: bytes, side: int) -> bytes:
    """A JPEG of which no side is longer than ``side`` pixels."""
    from PIL import Image  # not needed to import the package

    with Image.open(BytesIO(png)) as opened:
        small = opened.convert("RGB")
    small.thumbnail((side, side))
    written = BytesIO()
    small.save(written, "JPEG", quality=88)
    return written.getvalue()


def _jpeg(png: bytes, side: int) -> str:
    return _data_url("image/jpeg", shrunk(png, side))


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode('ascii')}"
