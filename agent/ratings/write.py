"""The page and its key as files."""

import json
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..report.write import filled, write_whole
from .pictures import Format, format_of
from .survey import Item, Survey


@dataclass(frozen=True)
class Written:
    """Where things lie."""

    page: Path
    """For raters; with ``pictures``, where that is a folder."""
    key: Path
    """Not for raters."""
    pictures: Path | None
    """None where the page holds them."""


def write_survey(survey: Survey, page: Path, key: Path, *, beside: bool = False) -> Written:
    """Write both, whole.

    Args:
        survey: What is asked.
        page: The HTML file.
        key: The JSON file.
        beside: Whether the pictures lie in a folder beside the page instead of inside it.
    """
    form = format_of(item.shot.sample.image for item in survey.items)
    folder = page.with_name(f"{page.stem}-pictures") if beside else None
    items = [_told(item, form, folder) for item in survey.items]
    write_whole(page, _html(survey, items, form).encode())
    write_whole(key, survey.key.model_dump_json(indent=1).encode())
    return Written(page, key, folder)


def _told(item: Item, form: Format, folder: Path | None) -> dict[str, object]:
    """All that the page knows of an item."""
    data = form.blinded(item.shot)
    if folder is None:
        source = f"data:image/{form.suffix};base64,{b64encode(data).decode('ascii')}"
    else:
        name = f"{item.id}.{form.suffix}"
        write_whole(folder / name, data)
        source = f"{quote(folder.name)}/{name}"
    return {"id": item.id, "prompt": item.prompt, "checks": item.questions, "picture": source}


def _html(survey: Survey, items: list[dict[str, object]], form: Format) -> str:
    from markupsafe import Markup

    data = {
        "survey": survey.key.survey,
        "seed": survey.seed,
        "criteria": [criterion.model_dump(mode="json") for criterion in survey.criteria],
        "items": items,
    }
    # Inside a script element only these three could be read as markup.
    safe = json.dumps(data).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return filled(
        "rating",
        data=Markup(safe),
        criteria=survey.criteria,
        count=len(items),
        prompts=len({item.prompt for item in survey.items}),
        checks=any(item.questions for item in survey.items),
        crisp=form.crisp,
    )
