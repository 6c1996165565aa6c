"""Scores images by metrics, and keeps the scores as a file that other tools read, one row an image and metric."""

import math
from collections.abc import Callable, Mapping, Sequence
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
from ..records.notes import Note, read_notes
from .collect import Shot, Skipped

if TYPE_CHECKING:
    from PIL.Image import Image

    from ...tools.metrics.local import Lpips

_CHUNK = 256
"""Images that a metric is given at once."""
_SUFFIXES = (".parquet", ".csv", ".jsonl")


class Measurement(Frozen):
    """What one metric says of one image."""

    method: str
    scenario: str = ""
    """Empty where nothing is known of it."""
    subclass: str = ""
    """Empty where nothing is known of it."""
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
    """Why it is missing; only then."""
    note: str = ""
    """What the metric says beside its number."""
    checklist: str = ""
    """That of ``Shot``: whether the loop saw the benchmark's questions; empty where the run has no image."""


@typed
async def measure(
    shots: Sequence[Shot],
    metrics: Mapping[str, BatchMetric],
    *,
    skipped: Sequence[Skipped] = (),
    on_progress: Callable[[str, int, int], None] = lambda metric, done, total: None,
) -> list[Measurement]:
    """One measurement of each shot by each metric, metric by metric, and a missing one for each run without an image;
    of shots that are rivals, the highest of each run alone.

    ``on_progress`` is called with the metric, images measured and images to measure. ``ModelError`` if a metric's model
    cannot be used at all.
    """
    found: list[Measurement] = []
    for name, metric in metrics.items():
        on_progress(name, 0, len(shots))
        highest: dict[tuple[str, str], Measurement] = {}
        for start in range(0, len(shots), _CHUNK):
            chunk = shots[start : start + _CHUNK]
            scores = await metric.score_all([shot.sample for shot in chunk])
            for shot, score in zip(chunk, scores, strict=True):
                made, run = _measurement(shot, metric=name, **score.model_dump()), (shot.method, shot.run)
                if not shot.rivals:
                    found.append(made)
                elif run not in highest or _height(made) > _height(highest[run]):
                    highest[run] = made
            on_progress(name, start + len(chunk), len(shots))
        found += highest.values()
        for lost in skipped:
            about: dict[str, Any] = {"method": lost.method, "scenario": lost.scenario, "run": lost.place}
            found.append(Measurement(**about, metric=name, reason=f"no image: {lost.reason}"))
    return found


def noted(shots: Sequence[Shot]) -> list[Measurement]:
    """The share of checks that pass where the verdicts that people corrected stand for the critic's, as the metric
    ``people``; only of images on which they corrected any.
    """
    found, notes = list[Measurement](), dict[Path, dict[str, Note]]()
    for shot in shots:
        folder, image = shot.sample.store.root, shot.sample.image.id
        if folder not in notes:
            notes[folder] = read_notes(folder)
        said = notes[folder]
        if shot.critique is not None and image in said and said[image].verdicts:
            answers = shot.critique.answers()
            answers |= {check: answer for check, answer in said[image].verdicts.items() if check in answers}
            value = sum(answer == "pass" for answer in answers.values()) / len(answers)
            found.append(_measurement(shot, metric="people", value=value))
    return found


def preserved(shots: Sequence[Shot], lpips: Path | None = None) -> list[Measurement]:
    """What each refinement keeps of its source: ``kept``, the share of the checks that passed and pass still;
    ``outside_changed``, the mean difference of pixels, 0 to 1, outside of what was wrong; and ``lpips`` (arXiv
    1801.03924) between the two, where the file of its weights is given."""
    from ...tools.metrics.local import Lpips

    network, found = None if lpips is None else Lpips(lpips), list[Measurement]()
    for shot in shots:
        if shot.before is None or shot.critique is None:
            continue
        (source, looked), store = shot.before, shot.sample.store
        values = {"kept": kept(looked.answers(), shot.critique.answers())}
        try:
            values |= changes(source, looked, shot.sample.image, store, network)
        except (OSError, ValueError) as error:
            found.append(_measurement(shot, metric="outside_changed", reason=f"no picture to compare with: {error}"))
        missing = {"kept": "nothing passed before", "outside_changed": "the critic said of nothing where it is wrong"}
        missing["lpips"] = "the pictures are of different sizes, or smaller than AlexNet can read"
        for metric, value in values.items():
            found.append(
                _measurement(shot, metric=metric, value=value, reason=missing[metric] if value is None else None)
            )
    return found


def kept(before: Mapping[str, Answer], after: Mapping[str, Answer]) -> float | None:
    """Of the checks that passed before, the share that pass after, in [0, 1]; None where none passed."""
    passed = [check for check, answer in before.items() if answer == "pass"]
    return sum(after.get(check) == "pass" for check in passed) / len(passed) if passed else None


def changed_outside(before: "Image", after: "Image", faults: Sequence[Box]) -> float | None:
    """Mean difference of pixels, in [0, 1], outside of what was wrong; None if that is nowhere, or sizes differ."""
    import numpy as np

    if not faults or before.size != after.size:
        return None
    outside = np.asarray(mask_of(Region(boxes=tuple(faults)), before.size)) == 0
    apart = np.abs(np.asarray(before.convert("RGB"), float) - np.asarray(after.convert("RGB"), float)) / 255
    return float(apart[outside].mean()) if outside.any() else None


def changes(
    source: ImageRecord, looked: Critique, image: ImageRecord, store: Store, network: "Lpips | None" = None
) -> dict[str, float | None]:
    """What a refinement changes: ``outside_changed`` and, where there is a network, ``lpips``.

    ``OSError`` or ``ValueError`` if there is no picture to compare with.
    """
    before, after = (store.picture(one.path) for one in (source, image))
    found = {"outside_changed": changed_outside(before, after, looked.faults)}
    return found if network is None else found | {"lpips": network.distance(before, after)}


def _measurement(shot: Shot, **said: Any) -> Measurement:
    about = {part: getattr(shot, part) for part in ("method", "scenario", "subclass", "run", "seed", "checklist")}
    return Measurement(image=shot.sample.image.id, prompt=shot.sample.prompt, **about, **said)


def _height(measurement: Measurement) -> float:
    return -math.inf if measurement.value is None else measurement.value


def require_output(path: Path) -> None:
    """Refuse, before anything is measured, a file that could not be written or is of no known format."""
    if path.suffix not in _SUFFIXES:
        raise SettingsError(f"{path} should end in {', '.join(_SUFFIXES)}")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise SettingsError("parquet needs pyarrow: pip install 'detailscribe[parquet]', or name a .csv")
    require_writable(path)


def write_measurements(measurements: Sequence[Measurement], path: Path) -> None:
    """Write them in the format that the suffix names, whole or not at all; ``SettingsError`` if that cannot be done."""
    from pandas import DataFrame

    require_output(path)
    types = {name: "string" for name in Measurement.model_fields} | {"value": "float64", "seed": "Int64"}
    frame = DataFrame([one.model_dump() for one in measurements], columns=list(types)).astype(types)
    if path.suffix == ".parquet":
        data = frame.to_parquet(index=False)
    elif path.suffix == ".csv":
        data = frame.to_csv(index=False, lineterminator="\r\n").encode()
    else:
        data = "".join(f"{one.model_dump_json()}\n" for one in measurements).encode()
    try:
        write_whole(path, data)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error


def read_measurements(path: Path) -> list[Measurement]:
    """The measurements in a file of ``write_measurements``; ``SettingsError`` if it holds something else."""
    if path.suffix not in _SUFFIXES:
        raise SettingsError(f"{path} should be a file of `detailscribe evaluate --out`: {', '.join(_SUFFIXES)}")
    try:
        rows = ({"prompt": row.prompt} | row.others for row in read_rows(path))
        return [Measurement.model_validate({k: v for k, v in row.items() if v not in ("", None)}) for row in rows]
    except (ValidationError, SettingsError) as error:
        why = first_problem(error) if isinstance(error, ValidationError) else error
        raise SettingsError(f"{path} is no file of `detailscribe evaluate --out`: {why}") from error
