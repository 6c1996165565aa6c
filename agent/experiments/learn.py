"""Fits the policy ``value`` to recorded runs: how likely each attempt is to give a picture that passes every check."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from ...state import ImageRecord, Population
from ...tools.errors import SettingsError
from ..policies.value import OF_DRAWING, OF_REFINEMENT, Values, attempts_on, known_of
from ..records.reader import EVENTS, RecordedRun, read_run

LEAST = 40
"""Attempts, without which nothing is learned."""
_RIDGE = 1.0
"""Pull of the weights towards 0, so that few runs do not make certain of anything."""

Known = dict[str, float]


@dataclass(frozen=True)
class _Example:
    """One attempt that was carried out."""

    prompt: str
    known: Known
    """What was known before it."""
    passes: bool
    """Whether every check passes on the image that came."""
    before: list[Known]
    """What could be tried next on the image that it went on from."""
    after: list[Known]
    """The same on the image that came."""


def learn(folder: Path) -> Values:
    """Learn from every run in a folder that was looked at to its end; critics and models should be one and the same.

    The gain of an attempt is a picture that passes every check, or else what the image that came adds to the chance of
    the next attempt: a second fit, in which that of the first one stands for the chance. One prompt in five is left out
    first, to say in the card how well the values foretell what they were not fitted to.

    Raises:
        SettingsError: the runs hold fewer than ``LEAST`` attempts after the first drawings, or only one outcome.
    """
    runs = [read_run(trace.parent) for trace in sorted(folder.glob(f"**/{EVENTS}"))]
    examples = [example for run in runs for example in _examples(run)]
    if len(examples) < LEAST or len({e.passes for e in examples}) < 2:
        raise SettingsError(
            f"{folder} holds {len(examples)} attempts after first drawings, and at least {LEAST} are needed, some of "
            "which pass every check: record runs with --policy value -p explore=1"
        )
    prompts = sorted({e.prompt for e in examples})
    held_out = set(prompts[::5])
    trial = _fitted([e for e in examples if e.prompt not in held_out])
    tested = [e for e in examples if e.prompt in held_out]
    card: dict[str, str | int | float] = {
        "runs": len(runs),
        "prompts": len(prompts),
        "attempts": len(examples),
        "passes": round(float(np.mean([e.passes for e in examples])), 3),
        "models": ", ".join(sorted({image.model for run in runs for image in run.images.values()})),
        "held-out attempts": len(tested),
        "held-out area under the curve": round(_area([(trial.chance(e.known), e.passes) for e in tested]), 3),
    }
    return _fitted(examples, card)


def _examples(run: RecordedRun) -> Iterable[_Example]:
    """Every attempt after the first drawings; ``known_of`` counts only what was made before its round."""
    if not run.rounds:
        return
    seen = run.population(run.rounds[-1])
    for image in seen.images.values():
        if image.parent is not None and image.is_whole and image.operator != "edit":
            source = seen.images[image.parent]
            yield _Example(
                run.prompt,
                known_of(seen, source, image.attempt(), image.round),
                seen.critiques[image.id].all_pass,
                _next(seen, source, image.round),
                _next(seen, image, image.round + 1),
            )


def _next(seen: Population, source: ImageRecord, round: int) -> list[Known]:
    return [known_of(seen, source, attempt, round) for attempt in attempts_on(seen, source, fresh=0)]


def _fitted(examples: Sequence[_Example], card: Mapping[str, Any] = {}) -> Values:
    first = _fit(examples, [float(e.passes) for e in examples], card)

    def best(options: Iterable[Known]) -> float:
        return max(map(first.chance, options), default=0.0)

    gains = [1.0 if e.passes else max(0.0, best(e.after) - best(e.before)) for e in examples]
    return _fit(examples, gains, card)


def _fit(examples: Sequence[_Example], gains: Sequence[float], card: Mapping[str, Any]) -> Values:
    def weights(names: Sequence[str], drawing: bool) -> dict[str, float]:
        of_kind = [(e.known, g) for e, g in zip(examples, gains, strict=True) if ("own words" in e.known) == drawing]
        x = np.array([[known[name] for name in names] for known, _ in of_kind]).reshape(-1, len(names))
        return dict(zip(names, _logistic(x, np.array([gain for _, gain in of_kind])), strict=True))

    return Values(card=dict(card), refinement=weights(OF_REFINEMENT, False), drawing=weights(OF_DRAWING, True))


def _logistic(x: "np.ndarray[Any, Any]", y: "np.ndarray[Any, Any]") -> list[float]:
    """Weights of a logistic regression on outcomes in [0, 1], with a ridge on features of one scale."""
    scale = np.where(x.std(0) > 1e-9, x.std(0), 1.0) if len(x) else 1.0

    def loss(w: "np.ndarray[Any, Any]") -> tuple[float, "np.ndarray[Any, Any]"]:
        z = (x / scale) @ w
        slope = (x / scale).T @ (expit(z) - y) + _RIDGE * w
        return float(np.logaddexp(0, z).sum() - y @ z + _RIDGE * (w @ w) / 2), slope

    return (minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x / scale).round(4).tolist()


def _area(found: Sequence[tuple[float, bool]]) -> float:
    """How often an attempt that passes was given the greater chance than one that does not; 0.5 is none the wiser."""
    from scipy.stats import rankdata

    ranks, passes = rankdata([chance for chance, _ in found]), np.array([passed for _, passed in found], dtype=bool)
    good, bad = int(passes.sum()), int((~passes).sum())
    return float((ranks[passes].sum() - good * (good + 1) / 2) / (good * bad)) if good and bad else 0.5
