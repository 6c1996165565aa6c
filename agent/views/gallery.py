"""Many runs as one HTML page: a table and a gallery to sort and filter, with pictures in files beside it."""

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
"""The row of a run that cannot be read, without folder and reason."""


def write_collection(folder: Path, out: Path | None = None) -> Path:
    """Write a page of every run in ``folder``, and ``thumbnails`` beside it; return its path, by default
    ``report.html`` in ``folder``. A run that cannot be read is a row that says so.

    ``TraceError`` if there is no run, or the page or a picture cannot be written, such as through a link that leads out
    of the page's folder.
    """
    runs = runs_in(folder)
    if not runs:
        raise TraceError(f"there is no run in {folder}: name a run folder, or one that holds run folders")
    page = out or folder / REPORT
    beside = Store(page.parent)
    try:
        rows = [row_of(run, relpath(run, beside.root), partial(_thumbnail, Store(run), beside)) for run in runs]
        html = collection_page(folder.resolve().name, rows)
        return beside.path(beside.write(page.name, html.encode()))
    except (OSError, ValueError) as error:
        raise TraceError(f"the page {page} cannot be written: {error}") from error


def collection_page(title: str, rows: list[dict[str, Any]], live: dict[str, Any] | None = None) -> str:
    """The page of these rows; ``live`` as in ``filled``."""
    return filled("collection", live, title=title, rows=rows, money=any(row["money"] for row in rows))


def row_of(folder: Path, place: str, thumbnail: Callable[[ImageRecord], str | None]) -> dict[str, Any]:
    """The values of one run, at ``place``; rows are sorted by ``share``, which is -1 without a critique."""
    try:
        run = read_run(folder)
    except SettingsError as error:
        return UNREADABLE | {"folder": place, "link": quote(place), "prompt": str(error)}
    critique, image = run.best_critique, run.best or next(iter(run.images.values()), None)
    source = thumbnail(image) if image else None
    outcome = "all pass" if critique is not None and critique.all_pass else "some fail"
    checks = marks(run.concepts, critique, None) if run.concepts else ()
    return {
        "folder": place,
        "link": quote(f"{place}/{REPORT}" if (folder / REPORT).exists() else f"{place}/"),
        "prompt": run.prompt,
        "state": outcome if run.status == "finished" else run.status,
        # ``Adaptive`` of ``Adaptive(images=2)``.
        "policy": re.split(r"[(<\s]", run.started.policy.strip(), maxsplit=1)[0] or run.started.policy[:40],
        "stop": run.stop or (run.error.error if run.error else ""),
        "passed": critique.passed if critique else 0,
        "checks": len(critique.verdicts) if critique else 0,
        "share": critique.score if critique and critique.verdicts else -1.0,
        "fails": [mark.check.question for mark in checks if mark.state == "fail"],
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
    """The tags of a run in its batch, if any, such as ``scenario=spatial seed=3``."""
    for above in (folder.parent, folder.parent.parent):
        if (path := above / RESULTS).is_file():
            stamp = path.stat()
            return _tags_in(path, stamp.st_mtime_ns + stamp.st_size).get(folder.resolve(), "")
    return ""


@lru_cache(8)
def _tags_in(path: Path, stamp: int) -> dict[Path, str]:
    """The tags by run folder; ``stamp`` changes with the file."""
    tags = dict[Path, str]()
    for line in read_lines(path):
        try:
            row = Row.model_validate_json(line)
        except ValidationError:  # of an experiment, or of another version
            continue
        if row.run is not None:
            tags[(path.parent / row.run).resolve()] = " ".join(f"{name}={value}" for name, value in row.tags.items())
    return tags


def _thumbnail(store: Store, beside: Store, image: ImageRecord) -> str | None:
    """The small picture of an image, named by the hash of its contents so that the next report reuses it; None where
    it cannot be read."""
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
