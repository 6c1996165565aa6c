"""Many runs as one page: a table and gallery to sort and filter, with its pictures as files beside it."""

import re
from collections.abc import Callable
from functools import lru_cache, partial
from hashlib import sha256
from os.path import relpath
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from ...state import ImageRecord
from ...tools.errors import SettingsError
from ...tools.files import Store, read_lines
from ..records.events import TraceError
from ..records.reader import REPORT, read_run, runs_in
from ..records.rows import RESULTS, Row
from .pages import THUMBNAIL, filled, is_small, shrunk
from .words import duration, marks

PICTURES = "thumbnails"
"""The folder beside the page."""
UNREADABLE: dict[str, Any] = {
    **{"state": "unreadable", "policy": "", "stop": "", "time": "", "share": -1.0, "thumbnail": None, "tags": ""},
    **{"fails": [], "rules": []},
    **dict.fromkeys(("passed", "checks", "images", "rounds", "evaluations", "seconds", "money"), 0),
}
"""The row of a run that cannot be read, but for its folder and the reason."""


def write_collection(folder: Path, out: Path | None = None) -> Path:
    """Write a page of every run in ``folder`` and return its path; a run that cannot be read is a row that says so.

    ``out`` is by default ``report.html`` in ``folder``; ``thumbnails`` lie beside it. ``TraceError`` if there is no
    run, or the page or a picture cannot be written, such as through a link that leads out of the page's folder.
    """
    found = runs_in(folder)
    if not found:
        raise TraceError(f"there is no run in {folder}: name a run folder, or one that holds run folders")
    page = out or folder / REPORT
    beside = Store(page.parent)
    try:
        rows = [row_of(run, relpath(run, beside.root), partial(_thumbnail, Store(run), beside)) for run in found]
        html = collection_page(folder.resolve().name, rows)
        return beside.path(beside.write(page.name, html.encode()))
    except (OSError, ValueError) as error:
        raise TraceError(f"the page {page} cannot be written: {error}") from error


def collection_page(title: str, rows: list[dict[str, Any]], live: dict[str, Any] | None = None) -> str:
    """The page of rows; ``live`` as ``filled`` takes it."""
    return filled("collection", live, title=title, rows=rows, money=any(row["money"] for row in rows))


def row_of(folder: Path, place: str, thumbnail: Callable[[ImageRecord], str | None]) -> dict[str, Any]:
    """What the template shows of one run, which lies at ``place``; ``share`` is what it sorts by, -1 where nothing was
    looked at."""
    try:
        run = read_run(folder)
    except SettingsError as error:
        return UNREADABLE | {"folder": place, "link": quote(place), "prompt": str(error)}
    look, image = run.best_critique, run.best or next(iter(run.images.values()), None)
    source = thumbnail(image) if image else None
    passes = look is not None and look.all_pass
    found = marks(run.concepts, look, None) if run.concepts else ()
    return {
        "folder": place,
        "link": quote(f"{place}/{REPORT}" if (folder / REPORT).exists() else f"{place}/"),
        "prompt": run.prompt,
        "state": run.status if run.status != "finished" else "all pass" if passes else "some fail",
        # ``Adaptive`` of ``Adaptive(images=2)``.
        "policy": re.split(r"[(<\s]", run.started.policy.strip(), maxsplit=1)[0] or run.started.policy[:40],
        "stop": run.stop or (run.error.error if run.error else ""),
        "passed": look.passed if look else 0,
        "checks": len(look.verdicts) if look else 0,
        "share": look.score if look and look.verdicts else -1.0,
        "fails": [mark.check.question for mark in found if mark.state == "fail"],
        "rules": sorted({decision.rule for decision in run.decisions.values()}),
        "images": len(run.images),
        "rounds": max((i.round for i in run.images.values()), default=0),
        "evaluations": run.spend.evaluations,
        "seconds": run.spend.seconds,
        "time": duration(run.spend.seconds),
        "money": run.spend.money,
        "thumbnail": source and image and {"source": source, "image": image, "crisp": is_small(image)},
        "tags": _tags(folder),
    }


def _tags(folder: Path) -> str:
    """What the batch of a run says of it, such as ``scenario=spatial seed=3``; empty where it is of none."""
    for above in (folder.parent, folder.parent.parent):
        if (path := above / RESULTS).is_file():
            stamp = path.stat()
            return _tags_in(path, stamp.st_mtime_ns + stamp.st_size).get(folder.resolve(), "")
    return ""


@lru_cache(8)
def _tags_in(path: Path, stamp: int) -> dict[Path, str]:
    """By run folder, as the file is at that time; of lines that are rows."""
    found = dict[Path, str]()
    for line in read_lines(path):
        try:
            row = Row.model_validate_json(line)
        except ValidationError:  # that of an experiment, or of another version
            continue
        if row.run is not None:
            found[(path.parent / row.run).resolve()] = " ".join(f"{name}={value}" for name, value in row.tags.items())
    return found


def _thumbnail(store: Store, beside: Store, image: ImageRecord) -> str | None:
    """The best image, small, under the hash of what it shows, which a second report finds; None without it."""
    crisp = is_small(image)
    try:
        png = store.read(image.path)
    except (OSError, ValueError):
        return None
    source = f"{PICTURES}/{sha256(png).hexdigest()[:24]}.{'png' if crisp else 'jpg'}"
    if not beside.path(source).exists():
        try:
            small = png if crisp else shrunk(png, 2 * THUMBNAIL)
        except ValueError:
            return None
        beside.write(source, small)
    return source
