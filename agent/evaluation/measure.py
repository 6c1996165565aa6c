"""Puts metrics to images."""

from collections.abc import Callable, Mapping, Sequence

from ...state import Frozen
from ...tools.metrics import BatchMetric
from .collect import Shot, Skipped

OnProgress = Callable[[str, int, int], None]
"""Called with the metric, images measured and images to measure."""

_CHUNK = 256
"""Images that a metric is given at once."""
NO_IMAGE = "no image"
"""Begins the reason of what a run without an image leaves missing."""


class Measurement(Frozen):
    """What one metric says of one image."""

    method: str
    scenario: str
    """Empty where nothing is known of it."""
    subclass: str
    """Empty where nothing is known of it."""
    run: str
    image: str
    """Empty where the run has none."""
    prompt: str
    seed: int | None
    """Of the run."""
    metric: str
    value: float | None
    """None where it is missing."""
    reason: str | None
    """Why it is missing; only then."""
    note: str = ""
    """What the metric says beside its number."""


async def measure(
    shots: Sequence[Shot],
    metrics: Mapping[str, BatchMetric],
    *,
    skipped: Sequence[Skipped] = (),
    on_progress: OnProgress = lambda metric, done, total: None,
) -> list[Measurement]:
    """One measurement of each shot by each metric, metric by metric, and a missing one for each run without an image.

    Raises:
        ModelError: a metric's model cannot be used at all.
    """
    found: list[Measurement] = []
    for name, metric in metrics.items():
        on_progress(name, 0, len(shots))
        for start in range(0, len(shots), _CHUNK):
            found += await _measured(shots[start : start + _CHUNK], name, metric)
            on_progress(name, min(start + _CHUNK, len(shots)), len(shots))
        found += [_lost(run, name) for run in skipped]
    return found


async def _measured(shots: Sequence[Shot], name: str, metric: BatchMetric) -> list[Measurement]:
    scores = await metric.score_all([shot.sample for shot in shots])
    return [
        Measurement(
            method=shot.method,
            scenario=shot.scenario,
            subclass=shot.subclass,
            run=shot.run,
            image=shot.sample.image.id,
            prompt=shot.sample.prompt,
            seed=shot.seed,
            metric=name,
            value=score.value,
            reason=score.reason,
            note=score.note,
        )
        for shot, score in zip(shots, scores, strict=True)
    ]


def _lost(run: Skipped, metric: str) -> Measurement:
    return Measurement(
        method=run.method,
        scenario=run.scenario,
        subclass="",
        run=run.place,
        image="",
        prompt="",
        seed=None,
        metric=metric,
        value=None,
        reason=f"{NO_IMAGE}: {run.reason}",
    )
