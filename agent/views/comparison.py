"""Runs or images side by side, one pair or many, as one page that needs nothing else."""

from collections.abc import Sequence
from typing import Any

from ...state import ImageRecord
from ...tools.files import Store
from ..records.events import TraceError
from ..records.reader import RecordedRun
from .pages import filled, picture
from .words import CheckMark, differences, marks, spend_rows

Shown = tuple[RecordedRun, str]
"""A run, and the id of one of its images, or empty for the best."""


def compare_page(pairs: Sequence[tuple[Shown, Shown]]) -> str:
    """The page of one or more pairs; of many the pictures are no larger than they are shown.

    ``TraceError`` if a run has no such image, or none at all; ``FileNotFoundError`` if a picture is missing.
    """
    return filled("comparison", pairs=[_pair(*pair) for pair in pairs])


def _pair(first: Shown, second: Shown) -> dict[str, Any]:
    sides = [_side(run, _image(run, id)) for run, id in (first, second)]
    rows: dict[str, list[CheckMark | None]] = {}
    for n, side in enumerate(sides):
        for mark in side["marks"]:
            rows.setdefault(mark.check.question, [None, None])[n] = mark
    checks = [(question, pair, _state(pair[0]) != _state(pair[1])) for question, pair in rows.items()]
    checks.sort(key=lambda row: not row[2])  # those that differ first
    theirs = dict(spend_rows(second[0].spend))
    return {
        "sides": sides,
        "checks": checks,
        "prompt": differences(sides[0]["image"].prompt, sides[1]["image"].prompt),
        "costs": [(label, amount, theirs.get(label, "-")) for label, amount in spend_rows(first[0].spend)],
    }


def _state(mark: CheckMark | None) -> str:
    return "missing" if mark is None else mark.state


def _image(run: RecordedRun, id: str) -> ImageRecord:
    found = run.images.get(id) if id else run.best or next(iter(run.images.values()), None)
    if found is None:
        raise TraceError(f"the run {run.run} has no image {id}" if id else f"the run {run.run} has no image yet")
    return found


def _side(run: RecordedRun, image: ImageRecord) -> dict[str, Any]:
    """One half: the image, its checks, and the decisions of the line that it comes from."""
    look = run.critiques.get(image.id)
    return {
        "run": run,
        "image": image,
        "picture": picture(image, Store(run.folder)),
        "looked": look,
        "marks": marks(run.concepts, look, None) if run.concepts else (),
        "decisions": [run.decisions[i.id] for i in run.line(image) if i.id in run.decisions],
    }
