"""Fits the policy ``value`` to recorded runs: how much each attempt adds to the best picture so far."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import mannwhitneyu

from ...tools.errors import SettingsError
from ..policies.value import Values, known_of, worth
from ..records.reader import RecordedRun, read_run, runs_in
from .rows import JUDGED, Row, read_rows

LEAST = 40
"""Attempts, without which nothing is learned."""
_RIDGE = 1.0
"""Pull of the weights towards 0, so that few runs do not make certain of anything."""

Card = dict[str, str | int | float]


@dataclass(frozen=True)
class _Example:
    """One attempt that was carried out."""

    prompt: str
    known: dict[str, float]
    """What was known before it."""
    gain: float
    """What it added to the worth of the best image, in [0, 1]."""


def learn(folder: Path) -> Values:
    """Learn from every run in a folder that was looked at to its end; critics and models should be one and the same.

    What an image is worth is the word of the independent judge where the runs are an experiment's that has one, else
    the critic's, which takes for a gain what it misses. One prompt in five is left out first, to say in the card how
    well the values foretell what they were not fitted to. ``SettingsError`` if the runs hold fewer than ``LEAST``
    attempts, or none that gained.
    """
    runs = [read_run(run) for run in runs_in(folder)]
    results = {run.folder.parent.parent for run in runs}
    judged = {path / str(row.folder): row for path in results for row in read_rows(path / JUDGED) if row.is_judged}
    examples = [example for run in runs for example in _examples(run, judged.get(run.folder))]
    if len(examples) < LEAST or not any(e.gain for e in examples):
        raise SettingsError(
            f"{folder} holds {len(examples)} attempts after first drawings, and at least {LEAST} are needed, some of "
            "which gain something: record runs with --policy value -p explore=1"
        )
    prompts = sorted({e.prompt for e in examples})
    held_out = set(prompts[::5])
    trial = _fitted([e for e in examples if e.prompt not in held_out], {})
    tested = [e for e in examples if e.prompt in held_out]
    card: Card = {
        "judged by": ", ".join(sorted({row.judge or "" for row in judged.values()})) or "the critic",
        "runs": len(runs),
        "prompts": len(prompts),
        "attempts": len(examples),
        "mean gain": round(float(np.mean([e.gain for e in examples])), 4),
        "models": ", ".join(sorted({image.model for run in runs for image in run.images.values()})),
        "held-out attempts": len(tested),
        "held-out area under the curve": round(_area([(trial.gain(e.known), e.gain > 0) for e in tested]), 3),
    }
    return _fitted(examples, card)


def _examples(run: RecordedRun, judged: Row | None) -> Iterable[_Example]:
    """Every attempt after the first drawings, with what was there before its round."""
    if not run.rounds:
        return
    seen = run.population(run.rounds[-1])
    said = {id: look.answers() for id, look in seen.critiques.items()}
    said |= {image.id: image.judge for image in (judged.images if judged else ()) if image.judge is not None}
    for image in seen.images.values():
        if image.parent is not None and image.is_whole and image.operator != "edit":
            best = max(worth(said[i.id]) for i in seen.images.values() if i.round < image.round)
            known = known_of(seen, seen.images[image.parent], image.attempt(), image.round)
            yield _Example(run.prompt, known, max(0.0, worth(said[image.id]) - best))


def _fitted(examples: Sequence[_Example], card: Card) -> Values:
    def weights(drawing: bool) -> dict[str, float]:
        of_kind = [e for e in examples if ("own words" in e.known) == drawing]
        if not of_kind:
            return {}
        x = np.array([list(e.known.values()) for e in of_kind])
        return dict(zip(of_kind[0].known, _logistic(x, np.array([e.gain for e in of_kind])), strict=True))

    return Values(card=card, refinement=weights(False), drawing=weights(True))


def _logistic(x: "np.ndarray[Any, Any]", y: "np.ndarray[Any, Any]") -> list[float]:
    """Weights of a logistic regression on outcomes in [0, 1], with a ridge on features of one scale."""
    scale = np.where(x.std(0) > 1e-9, x.std(0), 1.0)

    def loss(w: "np.ndarray[Any, Any]") -> tuple[float, "np.ndarray[Any, Any]"]:
        z = (x / scale) @ w
        slope = (x / scale).T @ (expit(z) - y) + _RIDGE * w
        return float(np.logaddexp(0, z).sum() - y @ z + _RIDGE * (w @ w) / 2), slope

    return (minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x / scale).round(4).tolist()


def _area(found: Sequence[tuple[float, bool]]) -> float:
    """How often more was expected of an attempt that gained than of one that did not; 0.5 is none the wiser."""
    good, bad = ([expected for expected, gained in found if gained is wanted] for wanted in (True, False))
    pairs = len(good) * len(bad)
    return float(mannwhitneyu(good, bad).statistic) / pairs if pairs else 0.5
