"""Scores images by metrics, and saves the scores as a file with a row for each image and metric."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ...state import Answer, Box, Critique, Frozen, ImageRecord, Region
from ...tools.data import read_rows
from ...tools.diffusion.job import mask_of
from ...tools.errors import SettingsError, first_problem, typed
from ...tools.files import Store, require_writable, write_whole
from ...tools.metrics import BatchMetric
from ..records.notes import read_notes
from .collect import Shot, Skipped

if TYPE_CHECKING:
    from PIL.Image import Image

    from ...tools.metrics.local import Lpips

_CHUNK = 256
"""Images that a metric scores at once."""
_SUFFIXES = (".parquet", ".csv", ".jsonl")
_NOT_MEASURED = {
    "kept": "nothing passed before",
    "outside_changed": "the critic said of nothing where it is wrong",
    "lpips": "the pictures are of different sizes, or smaller than AlexNet can read",
}


class Measurement(Frozen):
    """The score of one image by one metric."""

    method: str
    scenario: str = ""
    """Empty where unknown."""
    subclass: str = ""
    """Empty where unknown."""
    run: str
    """Id of the run; its folder where it has no image."""
    image: str = ""
    """Empty where the run has none."""
    prompt: str = ""
    """Empty where the run has no image."""
    seed: int | None = None
    """Of the run."""
    metric: str
    value: float | None = None
    """None where it is missing."""
    reason: str | None = None
    """Why it is missing; None where it is not."""
    note: str = ""
    """The metric's comment on the value."""
    checklist: str = ""
    """As in ``Shot``: whether the loop saw the benchmark's questions; empty where the run has no image."""


@typed
async def measure(
    shots: Sequence[Shot],
    metrics: Mapping[str, BatchMetric],
    *,
    skipped: Sequence[Skipped] = (),
    on_progress: Callable[[str, int, int], None] = lambda metric, done, total: None,
) -> list[Measurement]:
    """A measurement of each shot by each metric, and a missing one for each run without an image; of rivals, only the
    highest of each run. ``ModelError`` if a metric's model cannot be used at all.

    ``on_progress`` is called with the metric, and the numbers of measured and of all images.
    """
    measured = list[Measurement]()
    for name, metric in metrics.items():
        on_progress(name, 0, len(shots))
        rivals = defaultdict[tuple[str, str], list[Measurement]](list)
        for start in range(0, len(shots), _CHUNK):
            chunk = shots[start : start + _CHUNK]
            scores = await metric.score_all([shot.sample for shot in chunk])
            for shot, score in zip(chunk, scores, strict=True):
                group = rivals[shot.method, shot.run] if shot.rivals else measured
                group.append(_measurement(shot, metric=name, **score.model_dump()))
            on_progress(name, start + len(chunk), len(shots))
        measured += [max(own, key=lambda m: -math.inf if m.value is None else m.value) for own in rivals.values()]
        for run in skipped:
            about: dict[str, Any] = {"method": run.method, "scenario": run.scenario, "run": run.place}
            measured.append(Measurement(**about, metric=name, reason=f"no image: {run.reason}"))
    return measured


def corrected(shots: Sequence[Shot]) -> list[Measurement]:
    """The metric ``people``: the share of checks that pass after people's corrections of the critic's answers; only for
    images with such corrections."""
    measured, notes_in = list[Measurement](), cache(read_notes)
    for shot in shots:
        note = notes_in(shot.sample.store.root).get(shot.sample.image.id)
        if shot.critique is not None and note is not None and note.verdicts:
            answers = shot.critique.answers()
            answers |= {check: answer for check, answer in note.verdicts.items() if check in answers}
            value = sum(answer == "pass" for answer in answers.values()) / len(answers)
            measured.append(_measurement(shot, metric="people", value=value))
    return measured


def preserved(shots: Sequence[Shot], lpips: Path | None = None) -> list[Measurement]:
    """What each refinement keeps of its source: ``kept``, the share of the passed checks that still pass;
    ``outside_changed``, the mean pixel difference, 0 to 1, outside of what was wrong; and ``lpips`` (arXiv 1801.03924)
    between the two, where the file of its weights is given."""
    from ...tools.metrics.local import Lpips

    network, measured = None if lpips is None else Lpips(lpips), list[Measurement]()
    for shot in shots:
        if shot.before is None or shot.critique is None:
            continue
        source, critique = shot.before
        values = {"kept": kept(critique.answers(), shot.critique.answers())}
        try:
            values |= changes(source, critique, shot.sample.image, shot.sample.store, network)
        except (OSError, ValueError) as error:
            measured.append(_measurement(shot, metric="outside_changed", reason=f"no picture to compare with: {error}"))
        for metric, value in values.items():
            reason = _NOT_MEASURED[metric] if value is None else None
            measured.append(_measurement(shot, metric=metric, value=value, reason=reason))
    return measured


def kept(before: Mapping[str, Answer], after: Mapping[str, Answer]) -> float | None:
    """Of the checks that passed before, the share that pass after, in [0, 1]; None where none passed."""
    passed = [check for check, answer in before.items() if answer == "pass"]
    return sum(after.get(check) == "pass" for check in passed) / len(passed) if passed else None


def changed_outside(before: "Image", after: "Image", faults: Sequence[Box]) -> float | None:
    """Mean pixel difference, in [0, 1], outside of the faults; None without faults, or if the sizes differ."""
    import numpy as np

    if not faults or before.size != after.size:
        return None
    outside = np.asarray(mask_of(Region(boxes=tuple(faults)), before.size)) == 0
    difference = np.abs(np.asarray(before.convert("RGB"), float) - np.asarray(after.convert("RGB"), float)) / 255
    return float(difference[outside].mean()) if outside.any() else None


def changes(
    source: ImageRecord, critique: Critique, image: ImageRecord, store: Store, network: "Lpips | None" = None
) -> dict[str, float | None]:
    """What a refinement changes of a source with this critique: ``outside_changed`` and, with a network, ``lpips``.

    ``OSError`` or ``ValueError`` if there is no picture to compare with.
    """
    before, after = (store.picture(record.path) for record in (source, image))
    values = {"outside_changed": changed_outside(before, after, critique.faults)}
    return values if network is None else values | {"lpips": network.distance(before, after)}


def _measurement(shot: Shot, **score: Any) -> Measurement:
    about = {name: getattr(shot, name) for name in ("method", "scenario", "subclass", "run", "seed", "checklist")}
    return Measurement(image=shot.sample.image.id, prompt=shot.sample.prompt, **about, **score)


def require_output(path: Path) -> None:
    """Raise ``SettingsError`` for a file that cannot be written or has no known format."""
    if path.suffix not in _SUFFIXES:
        raise SettingsError(f"{path} should end in {', '.join(_SUFFIXES)}")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise SettingsError("parquet needs pyarrow: pip install 'detailscribe[parquet]', or name a .csv")
    require_writable(path)


def write_measurements(measurements: Sequence[Measurement], path: Path) -> None:
    """Write them in the format of the suffix; ``SettingsError`` if that fails."""
    from pandas import DataFrame

    require_output(path)
    types = {name: "string" for name in Measurement.model_fields} | {"value": "float64", "seed": "Int64"}
    frame = DataFrame([m.model_dump() for m in measurements], columns=list(types)).astype(types)
    if path.suffix == ".parquet":
        data = frame.to_parquet(index=False)
    elif path.suffix == ".csv":
        data = frame.to_csv(index=False, lineterminator="\r\n").encode()
    else:
        data = "".join(f"{m.model_dump_json()}\n" for m in measurements).encode()
    try:
        write_whole(path, data)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error


def read_measurements(path: Path) -> list[Measurement]:
    """The measurements in a file of ``write_measurements``; ``SettingsError`` if it is none."""
    if path.suffix not in _SUFFIXES:
        raise SettingsError(f"{path} should be a file of `detailscribe evaluate --out`: {', '.join(_SUFFIXES)}")
    try:
        rows = ({"prompt": row.prompt} | row.others for row in read_rows(path))
        return [Measurement.model_validate({k: v for k, v in row.items() if v not in ("", None)}) for row in rows]
    except (ValidationError, SettingsError) as error:
        why = first_problem(error) if isinstance(error, ValidationError) else error
        raise SettingsError(f"{path} is no file of `detailscribe evaluate --out`: {why}") from error
