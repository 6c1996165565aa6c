"""Many runs as one page: a table and gallery to sort and filter, with its pictures as files beside it."""

import re
from dataclasses import dataclass
from hashlib import sha256
from os.path import relpath
from pathlib import Path
from urllib.parse import quote

from ...state import ImageRecord
from ..traces.events import TraceError
from ..traces.reader import EVENTS, RecordedRun, read_run
from .pictures import SMALL, THUMBNAIL, shrunk
from .words import duration
from .write import filled, write_whole

PICTURES = "thumbnails"
"""The folder beside the page."""


@dataclass(frozen=True)
class Thumbnail:
    """The best image of a run, small."""

    source: str
    """URL, relative to the page."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    crisp: bool
    """Whether it is so small that enlarging it should keep its pixels visible."""


@dataclass(frozen=True)
class Row:
    """One run."""

    folder: str
    """Relative to the page."""
    link: str
    """URL of its report, or of its folder where there is no report."""
    prompt: str
    """Why it cannot be read, where it cannot."""
    state: str
    """all pass, some fail, failed, unfinished or unreadable; what the page is filtered by."""
    policy: str
    """Name of its class."""
    stop: str
    passed: int
    checks: int
    images: int
    rounds: int
    evaluations: int
    seconds: float
    """Of model time."""
    time: str
    """The same in words."""
    money: float
    thumbnail: Thumbnail | None

    @property
    def share(self) -> float:
        """Of checks passed, in [0, 1]; what the page sorts by. -1 where nothing was looked at."""
        return self.passed / self.checks if self.checks else -1.0


def runs_in(folder: Path) -> list[Path]:
    """Every run folder in a folder, at any depth, in the order of their names."""
    return sorted(path.parent for path in folder.rglob(EVENTS))


def write_collection(folder: Path, out: Path | None = None) -> Path:
    """Write a page of every run in ``folder`` and return its path; a run that cannot be read is a row that says so.

    Args:
        folder: Of the runs.
        out: The file to write, with ``thumbnails`` beside it; ``report.html`` in ``folder`` unless given.

    Raises:
        TraceError: there is no run in the folder.
    """
    found = runs_in(folder)
    if not found:
        raise TraceError(f"there is no run in {folder}: name a run folder, or one that holds run folders")
    page = out or folder / "report.html"
    rows = [_row(run, page.parent) for run in found]
    html = filled(
        "collection",
        title=folder.resolve().name,
        rows=rows,
        states=sorted({r.state for r in rows}),
        policies=sorted({r.policy for r in rows}),
        money=any(r.money for r in rows),
    )
    return write_whole(page, html.encode())


def _row(folder: Path, beside: Path) -> Row:
    place = relpath(folder, beside)
    try:
        run = read_run(folder)
    except TraceError as error:
        return Row(place, quote(place), str(error), "unreadable", "", "", 0, 0, 0, 0, 0, 0.0, "", 0.0, None)
    look = run.critiques.get(run.best.id) if run.best else None
    report = folder / "report.html"
    return Row(
        folder=place,
        link=quote(f"{place}/report.html" if report.exists() else f"{place}/"),
        prompt=run.prompt,
        state=_state(run, look is not None and look.all_pass),
        policy=_class_name(run.started.policy),
        stop=run.stop or (run.error.error if run.error else ""),
        passed=look.passed if look else 0,
        checks=len(look.verdicts) if look else 0,
        images=len(run.images),
        rounds=max((i.round for i in run.images.values()), default=0),
        evaluations=run.spend.evaluations,
        seconds=run.spend.seconds,
        time=duration(run.spend.seconds),
        money=run.spend.money,
        thumbnail=_thumbnail(run, run.best or next(iter(run.images.values()), None), beside),
    )


def _state(run: RecordedRun, all_pass: bool) -> str:
    if run.status != "finished":
        return run.status
    return "all pass" if all_pass else "some fail"


def _class_name(policy: str) -> str:
    """``Adaptive`` of ``Adaptive(images=2)``."""
    return re.split(r"[(<\s]", policy.strip(), maxsplit=1)[0] or policy[:40]


def _thumbnail(run: RecordedRun, image: ImageRecord | None, beside: Path) -> Thumbnail | None:
    """Written under the hash of what it shows, so that a second report writes no picture again."""
    if image is None or not run.path(image.id).exists():
        return None
    png = run.path(image.id).read_bytes()
    crisp = max(image.width, image.height) <= SMALL
    path = beside / PICTURES / f"{sha256(png).hexdigest()[:24]}.{'png' if crisp else 'jpg'}"
    if not path.exists():
        write_whole(path, png if crisp else shrunk(png, 2 * THUMBNAIL))
    return Thumbnail(f"{PICTURES}/{path.name}", image.width, image.height, crisp)
