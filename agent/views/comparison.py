"""Pairs of runs or images side by side, as one self-contained HTML page."""

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
    """The page of one or more pairs; ``TraceError`` if a run has no such image, ``FileNotFoundError`` if a picture is
    missing."""
    return filled("comparison", pairs=[_pair(*pair) for pair in pairs])


def _pair(first: Shown, second: Shown) -> dict[str, Any]:
    sides = [_side(run, _image(run, id)) for run, id in (first, second)]
    rows: dict[str, list[CheckMark | None]] = {}
    for n, side in enumerate(sides):
        for mark in side["marks"]:
            rows.setdefault(mark.check.question, [None, None])[n] = mark
    states = {question: {mark.state if mark else "missing" for mark in pair} for question, pair in rows.items()}
    checks = [(question, pair, len(states[question]) > 1) for question, pair in rows.items()]
    checks.sort(key=lambda row: not row[2])  # those that differ first
    theirs = dict(spend_rows(second[0].spend))
    return {
        "sides": sides,
        "checks": checks,
        "prompt": differences(sides[0]["image"].prompt, sides[1]["image"].prompt),
        "costs": [(label, amount, theirs.get(label, "-")) for label, amount in spend_rows(first[0].spend)],
    }


def _image(run: RecordedRun, id: str) -> ImageRecord:
    image = run.images.get(id) if id else run.best or next(iter(run.images.values()), None)
    if image is None:
        raise TraceError(f"the run {run.run} has no image {id or 'yet'}")
    return image


def _side(run: RecordedRun, image: ImageRecord) -> dict[str, Any]:
    """An image with its checks, and the decisions about it and its ancestors."""
    critique = run.critiques.get(image.id)
    return {
        "run": run,
        "image": image,
        "picture": picture(image, Store(run.folder)),
        "looked": critique,
        "marks": marks(run.concepts, critique, None) if run.concepts else (),
        "decisions": [run.decisions[i.id] for i in run.line(image) if i.id in run.decisions],
    }
