"""The page of a survey as an HTML file, with pictures that hold pixels alone, all of one size and format; its key."""

import json
from base64 import b64encode
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from ...state import ImageRecord
from ...tools.errors import SettingsError
from ...tools.files import write_whole
from ..views.pages import filled
from .survey import Survey, pixels_of

LARGEST = 768
"""Pixels; no side is longer, so that a page of 300 pictures stays below 100 MB."""
SMALL = 256
"""Pixels; up to this side pictures stay PNG, and are enlarged with hard edges."""


def write_survey(survey: Survey, page: Path, key: Path, *, beside: bool = False) -> Path | None:
    """Write both, each whole.

    Args:
        survey: What is asked.
        page: The HTML file.
        key: The JSON file.
        beside: Whether the pictures lie in a folder beside the page instead of inside it.

    Returns:
        The folder of the pictures; None where the page holds them.

    Raises:
        SettingsError: page and key are one file, or a file cannot be written.
    """
    from markupsafe import Markup

    folder = page.with_name(f"{page.stem}-pictures") if beside else None
    if page.resolve() == key.resolve():
        raise SettingsError(
            f"--key {key} is the page itself: the key needs a file of its own, apart from what raters see"
        )
    side = common_side(item.shot.sample.image for item in survey.items)
    suffix = "png" if side <= SMALL else "jpeg"
    try:
        items: list[dict[str, object]] = []
        for item in survey.items:
            data = _bare(pixels_of(item.shot), side, suffix)
            source = f"data:image/{suffix};base64,{b64encode(data).decode('ascii')}"
            if folder is not None:
                write_whole(folder / f"{item.id}.{suffix}", data)
                source = f"{quote(folder.name)}/{item.id}.{suffix}"
            items.append({"id": item.id, "prompt": item.prompt, "checks": item.questions, "picture": source})
        criteria = [criterion.model_dump(mode="json") for criterion in survey.criteria]
        data = json.dumps({"survey": survey.key.survey, "seed": survey.seed, "criteria": criteria, "items": items})
        # Inside a script element only these three could be read as markup.
        safe = data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
        html = filled(
            "rating",
            data=Markup(safe),
            criteria=survey.criteria,
            count=len(items),
            prompts=len({item.prompt for item in survey.items}),
            checks=any(item.questions for item in survey.items),
            crisp=side <= SMALL,
        )
        write_whole(page, html.encode())
        write_whole(key, survey.key.model_dump_json(indent=1).encode())
    except OSError as error:
        raise SettingsError(f"cannot write the survey: {error}") from error
    return folder


def common_side(images: Iterable[ImageRecord]) -> int:
    """Longer side in pixels of all pictures of a page: that of the smallest one, since a size can reveal its model."""
    return min(LARGEST, *(max(image.width, image.height) for image in images), LARGEST)


def _bare(picture: Image.Image, side: int, suffix: str) -> bytes:
    """The pixels without anything else that their file said."""
    bare = Image.frombytes("RGB", picture.size, picture.tobytes())
    scale = side / max(bare.size)
    if scale != 1:
        bare = bare.resize((max(round(bare.width * scale), 1), max(round(bare.height * scale), 1)))
    written = BytesIO()
    bare.save(written, suffix.upper(), quality=85)
    return written.getvalue()
