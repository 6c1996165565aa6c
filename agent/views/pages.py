"""Renders HTML pages from templates, each with one script that may run, and scales their pictures."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...state import ImageRecord
from ...tools.files import Store, picture_file, picture_in

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent.parent / "templates"

SMALL = 256
"""Pixels; a picture up to this side is never scaled down, and enlarged with hard edges."""
CARD = 768
"""Pixels; the longer side of a larger picture on its card."""
THUMBNAIL = 192
"""Pixels; the longer side of a larger picture's thumbnail."""


def filled(name: str, live: Mapping[str, Any] | None = None, **values: Any) -> str:
    """A page from ``name.html.jinja``, with ``name.js``, if any, inlined as the one script that may run.

    ``live`` are the values of ``detailscribe view``, whose pages also run ``live.js``.
    """
    from markupsafe import Markup  # not needed to import the package

    files = [TEMPLATES / f"{name}.js", *([TEMPLATES / "live.js"] if live else [])]
    script = "".join(file.read_text(encoding="utf-8") for file in files if file.exists())
    digest = b64encode(sha256(script.encode()).digest()).decode("ascii")
    template = _environment().get_template(f"{name}.html.jinja")
    return template.render(script=Markup(script), script_hash=f"sha256-{digest}", live=live, **values)


@cache
def _environment() -> "Environment":
    """Cached, since compiling a template takes longer than rendering it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@dataclass(frozen=True)
class Picture:
    """A picture in the three sizes of a page, as URLs."""

    full: str
    """The PNG of the run folder, byte for byte."""
    card: str
    thumbnail: str
    crisp: bool
    """Whether it is enlarged with hard edges, as a small picture is."""


def is_small(image: ImageRecord) -> bool:
    """Whether a picture is too small to be scaled down."""
    return max(image.width, image.height) <= SMALL


def picture(image: ImageRecord, store: Store) -> Picture:
    """The picture of an image as data URLs; ``FileNotFoundError`` if it is missing, ``ValueError`` if it leads out of
    the folder."""
    png = store.read(image.path)
    full = data_url("image/png", png)
    if is_small(image):
        return Picture(full=full, card=full, thumbnail=full, crisp=True)
    card, thumbnail = (data_url("image/jpeg", shrunk(png, side)) for side in (CARD, THUMBNAIL))
    return Picture(full=full, card=card, thumbnail=thumbnail, crisp=False)


def shrunk(data: bytes, side: int) -> bytes:
    """A JPEG of which no side is longer than ``side`` pixels."""
    small = picture_in(data)
    small.thumbnail((side, side))
    return picture_file(small, "JPEG", quality=88)


def data_url(kind: str, data: bytes) -> str:
    """A file as a data URL."""
    return f"data:{kind};base64,{b64encode(data).decode('ascii')}"
