"""Fits the policy ``value`` to recorded runs: how much each attempt adds to the best image so far."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import mannwhitneyu

from ...state import Answer
from ...tools.errors import SettingsError
from ..policies.value import Values, features_of, worth
from ..records.reader import RecordedRun, read_run, runs_in
from .rows import rows_by_run

LEAST = 40
"""Attempts that it takes to learn from."""
_RIDGE = 1.0
"""Pull of the weights towards 0, so that few runs do not make any weight extreme."""

Card = dict[str, str | int | float]


class _TrainingExample(NamedTuple):
    """One attempt that was carried out."""

    prompt: str
    features: dict[str, float]
    """See ``features_of``."""
    gain: float
    """What it added to the worth of the best image, in [0, 1]."""


def learn(folder: Path) -> Values:
    """Learn from all runs in a folder whose last round has critiques; all should share one critic and one model.

    The worth of an image follows from the independent judge where the runs belong to an experiment that has one. Else
    it follows from the critic, and what the critic overlooks counts as a gain. The card reports how well values fitted
    to four prompts in five predict the gains on the fifth. ``SettingsError`` if the runs hold fewer than ``LEAST``
    attempts, or none that gained.
    """
    runs = [read_run(run) for run in runs_in(folder)]
    judged = {path: row for path, row in rows_by_run(runs).items() if row.judge is not None}
    answers = {path: {i.id: i.judge for i in row.images if i.judge is not None} for path, row in judged.items()}
    examples = [example for run in runs for example in _examples(run, answers.get(run.folder, {}))]
    if len(examples) < LEAST or not any(e.gain for e in examples):
        raise SettingsError(
            f"{folder} holds {len(examples)} attempts after first drawings, and at least {LEAST} are needed, some of "
            "which gain something: record runs with --policy value -p explore=1"
        )
    prompts = sorted({e.prompt for e in examples})
    held_out = set(prompts[::5])
    trial = _fitted([e for e in examples if e.prompt not in held_out], {})
    tested = [e for e in examples if e.prompt in held_out]
    gained, not_gained = (
        [trial.gain(e.features) for e in tested if (e.gain > 0) is wanted] for wanted in (True, False)
    )
    pairs = len(gained) * len(not_gained)
    area = float(mannwhitneyu(gained, not_gained).statistic) / pairs if pairs else 0.5
    card: Card = {
        "judged by": ", ".join(sorted({str(row.judge) for row in judged.values()})) or "the critic",
        "runs": len(runs),
        "prompts": len(prompts),
        "attempts": len(examples),
        "mean gain": round(float(np.mean([e.gain for e in examples])), 4),
        "models": ", ".join(sorted({image.model for run in runs for image in run.images.values()})),
        "held-out attempts": len(tested),
        "held-out area under the curve": round(area, 3),
    }
    return _fitted(examples, card)


def _examples(run: RecordedRun, judged: Mapping[str, Mapping[str, Answer]]) -> Iterator[_TrainingExample]:
    """Every attempt after the first drawings, with its features before its round; ``judged`` by image id."""
    if not run.rounds:
        return
    population = run.population(run.rounds[-1])
    images = population.images.values()
    worths = {id: worth(judged.get(id, critique.answers())) for id, critique in population.critiques.items()}
    for image in images:
        if image.parent is not None and image.is_whole and image.operator != "edit":
            best = max(worths[i.id] for i in images if i.round < image.round)
            features = features_of(population, population.images[image.parent], image.attempt(), image.round)
            yield _TrainingExample(run.prompt, features, max(0.0, worths[image.id] - best))


def _fitted(examples: Sequence[_TrainingExample], card: Card) -> Values:
    """Values with the weights of a logistic regression on gains in [0, 1], with a ridge on features of one scale."""

    def weights(drawing: bool) -> dict[str, float]:
        of_kind = [e for e in examples if ("own words" in e.features) == drawing]
        if not of_kind:
            return {}
        x = np.array([list(e.features.values()) for e in of_kind])
        y = np.array([e.gain for e in of_kind])
        scale = np.where(x.std(0) > 1e-9, x.std(0), 1.0)

        def loss(w: "np.ndarray[Any, Any]") -> tuple[float, "np.ndarray[Any, Any]"]:
            z = (x / scale) @ w
            slope = (x / scale).T @ (expit(z) - y) + _RIDGE * w
            return float(np.logaddexp(0, z).sum() - y @ z + _RIDGE * (w @ w) / 2), slope

        fitted = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x / scale
        return dict(zip(of_kind[0].features, fitted.round(4).tolist(), strict=True))

    return Values(card=card, refinement=weights(False), drawing=weights(True))
