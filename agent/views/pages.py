"""What every HTML page needs: templates, one script that alone may run, and pictures no larger than they are shown."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...state import ImageRecord
from ...tools.files import Store, picture_in

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent.parent / "templates"

SMALL = 256
"""Pixels; up to this side a picture is embedded as it is everywhere, and enlarged with hard edges."""
CARD = 768
"""Pixels; the longer side of a larger picture on its card."""
THUMBNAIL = 192
"""Pixels; the longer side of a larger picture's thumbnail."""


def filled(name: str, live: Mapping[str, Any] | None = None, **values: Any) -> str:
    """A page of the templates: ``name.html.jinja`` with ``name.js``, if any, inlined, which alone may run.

    ``live`` is what ``detailscribe view`` adds, whose pages follow what happens with ``live.js``.
    """
    from markupsafe import Markup  # not needed to import the package

    files = [TEMPLATES / f"{name}.js", *([TEMPLATES / "live.js"] if live else [])]
    script = "".join(file.read_text(encoding="utf-8") for file in files if file.exists())
    digest = b64encode(sha256(script.encode()).digest()).decode("ascii")
    template = _environment().get_template(f"{name}.html.jinja")
    return template.render(script=Markup(script), script_hash=f"sha256-{digest}", live=live, **values)


@cache
def _environment() -> "Environment":
    """How templates are filled; kept with the templates that it has compiled, which takes longer than to fill one."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@dataclass(frozen=True)
class Picture:
    """One picture in the three sizes of the page, as data URLs."""

    full: str
    """The PNG of the run folder, byte for byte."""
    card: str
    thumbnail: str
    crisp: bool
    """Whether it is so small that enlarging it should keep its pixels visible."""


def is_small(image: ImageRecord) -> bool:
    """Whether it is shown as it is everywhere, enlarged with hard edges."""
    return max(image.width, image.height) <= SMALL


def picture(image: ImageRecord, store: Store) -> Picture:
    """The picture of an image; ``FileNotFoundError`` if it is missing, ``ValueError`` if it leads out of the folder."""
    png = store.read(image.path)
    full = data_url("image/png", png)
    if is_small(image):
        return Picture(full=full, card=full, thumbnail=full, crisp=True)
    card, thumbnail = (data_url("image/jpeg", shrunk(png, side)) for side in (CARD, THUMBNAIL))
    return Picture(full=full, card=card, thumbnail=thumbnail, crisp=False)


def shrunk(data: bytes, side: int) -> bytes:
    """A JPEG of which no side is longer than ``side`` pixels."""
    small, written = picture_in(data), BytesIO()
    small.thumbnail((side, side))
    small.save(written, "JPEG", quality=88)
    return written.getvalue()


def data_url(kind: str, data: bytes) -> str:
    """A file inside a page."""
    return f"data:{kind};base64,{b64encode(data).decode('ascii')}"
