"""The learned policy: each round the attempt with the best index, until none is worth its cost.

An attempt is a box that costs a price to open and holds a better image, or none. Pandora's rule (Weitzman, "Optimal
Search for the Best Alternative", Econometrica 47, 1979) opens the box with the highest index, and stops when none is
above the best image so far. The policy learns the expected gain over that image. For boxes that hold the whole gain or
nothing, the index is 1 - price / gain, so gain / price orders them.
"""

from collections import Counter
from collections.abc import Mapping
from math import exp, inf
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError

from ...state import Answer, Attempt, ConceptGraph, Decision, Frozen, ImageRecord, Plan, Population, derive_seed
from ...tools.errors import SettingsError, first_problem
from ...tools.files import content_hash
from .guards import success
from .lineage import identities_made, identity, line_of
from .policy import MOST, Parameters, drawing, random_number, refinement, stop

STARTS = (1 / 28, 1 / 14, 1 / 7, 2 / 7, 3 / 7)
"""Start steps of refinements, as fractions of the schedule: 1, 2, 4, 8 and 12 of 28."""


def worth(answers: Mapping[str, Answer]) -> float:
    """Of an image, in (0, 1]: 1 if every check passes, halved for each check that does not."""
    return 0.5 ** sum(answer != "pass" for answer in answers.values())


class Values(Frozen):
    """What ``detailscribe learn`` writes: the weights that predict the gain of an attempt."""

    card: dict[str, str | int | float]
    """What it was fitted to, and how well it predicts."""
    refinement: dict[str, float]
    """Weight of each feature of a refinement; see ``features_of``."""
    drawing: dict[str, float]
    """The same for a new drawing."""

    def gain(self, features: dict[str, float]) -> float:
        """The worth, in [0, 1), that an attempt with these features is expected to add to that of the best image."""
        weights = self.drawing if "own words" in features else self.refinement
        if not weights:  # no run tried this
            return 0.0
        total = sum(weights.get(name, 0.0) * value for name, value in features.items())
        return 1 / (1 + exp(-max(-30.0, min(30.0, total))))


def read_values(file: str) -> tuple[Values, str]:
    """Learned values with a hash of the file; "" for the built-in ones, fitted to runs of the embedded world."""
    path = Path(file) if file else Path(__file__).with_suffix(".json")
    try:
        text = path.read_text("utf-8")
        return Values.model_validate_json(text), content_hash(text)[:8]
    except OSError as error:
        raise SettingsError(f"cannot read the learned values {path}: {error.strerror}") from error
    except ValidationError as error:
        raise SettingsError(f"{path} holds no learned values: {first_problem(error)}") from error


def features_of(population: Population, source: ImageRecord, attempt: Attempt, round: int) -> dict[str, float]:
    """Features of an attempt on ``source`` that predict its gain, as they were before that round."""
    critique, concepts = population.critiques[source.id], population.concepts
    failed = [v for v in critique.verdicts if v.answer == "fail"]
    kinds = Counter(concepts.check(v.check).aspect for v in failed)
    best = max(population.critiques[i.id].passed for i in population.images.values() if i.round < round)
    of_image = {
        "always": 1.0,
        "failed share": len(failed) / max(1, len(critique.verdicts)),
        "presence": kinds["presence"],
        "relation": kinds["relation"],
        "attribute": kinds["attribute"],
        "other": len(failed) - kinds["presence"] - kinds["relation"] - kinds["attribute"],
        "unknown": len(critique.verdicts) - critique.passed - len(failed),
        "doubt": sum(1 - (v.certainty or 0) for v in critique.verdicts if v.answer == "pass"),
        "checks": len(critique.verdicts) / 10,
        "refined": len(line_of(population, source)) - 1,
        "tried": sum(i.parent == source.id and i.round < round for i in population.images.values()),
        "round": round,
        "behind": best - critique.passed,
    }
    if attempt.source is None:
        return of_image | {"own words": float(attempt.prompt == concepts.prompt)}
    start, own = attempt.start_step / source.steps, attempt.operator == "resume" or attempt.seed == source.seed
    by_start = {f"start x {name}": start * value for name, value in of_image.items()}
    return of_image | by_start | {"start squared": start**2, "own noise": float(own)}


class Value(Parameters):
    """Make the attempt with the best learned gain for its cost, on any image so far, until none is worth it.

    The built-in values were learned in the embedded world; ``detailscribe learn`` fits them to runs of your own.
    """

    file: str = ""
    """Learned values, as ``detailscribe learn`` writes them; empty for the built-in ones."""
    images: int = Field(default=1, ge=1, le=MOST)
    """First drawings."""
    price: float = Field(default=0.002, ge=0, le=1)
    """Least expected gain of a full drawing, where 1 is a right image and each wrong check halves it; in proportion
    for a part of a drawing."""
    explore: float = Field(default=0.0, ge=0, le=1)
    """Share of the rounds in which the attempt is chosen at random, for runs to learn from."""

    _values: tuple[Values, str] = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        self._values = read_values(self.file)

    def __repr__(self) -> str:
        parameters = f"images={self.images}, price={self.price}, explore={self.explore}"
        return f"Value({parameters}, values={self._values[1]})"

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.images)

    def judge(self, population: Population) -> list[Decision]:
        first, *others = pending = population.pending()
        if success(population, first):
            return [decision for image in pending if (decision := success(population, image))]
        waiting = [stop(image, "outranked", "the best attempt of the round is made") for image in others]
        return [self._best(population, first), *waiting]

    def _best(self, population: Population, image: ImageRecord) -> Decision:
        round, values = population.round + 1, self._values[0]
        boxes = [
            (values.gain(features_of(population, source, attempt, round)), cost_of(attempt, source), attempt)
            for source, attempt in attempts(population)
        ]
        if not boxes:
            return stop(image, "not_worth_it", "no attempt is left that the budget has room for")
        explores = random_number(population, image, "explore") < self.explore
        at_random = boxes[int(random_number(population, image, "attempt") * len(boxes))]
        gain, cost, attempt = at_random if explores else max(boxes, key=lambda box: box[0] / box[1])
        reason = f"an expected gain of {gain:.1%} for {cost:.2f} of a drawing"
        if not explores and gain < self.price * cost:
            return stop(image, "not_worth_it", f"the best attempt has {reason}")
        return Decision(image=image.id, rule="by_lot" if explores else "best_index", reason=reason, attempts=(attempt,))


def attempts(population: Population) -> list[tuple[ImageRecord, Attempt]]:
    """Every new attempt that the remaining evaluations allow, each with its source.

    Each image that is not a preview is refined with its own noise and with that of a new seed, and drawn again from its
    corrected prompt and from the user's.
    """
    bound, made = population.budget.evaluations, identities_made(population)
    left = inf if bound is None else bound - population.spend.evaluations
    fresh, found = derive_seed(population.seed, "fresh", population.round), list[tuple[ImageRecord, Attempt]]()
    for source in population.images.values():
        if not source.is_whole or source.start_step == source.steps:
            continue
        steps = sorted({round(start * source.steps) for start in STARTS} - {source.steps})
        tries = [
            refinement(population, source, operator="inject", start_step=step, seed=seed)
            for step in (steps if source.latent is not None else ())
            for seed in (source.seed, fresh)
        ]
        tries += [drawing(population, source, seed=fresh, prompt=p) for p in (None, population.concepts.prompt)]
        room = left * (1 - source.start_step / source.steps)
        found += [
            (source, attempt)
            for attempt in tries
            if identity(attempt, source) not in made and source.evaluations * cost_of(attempt, source) <= room
        ]
    return found


def cost_of(attempt: Attempt, source: ImageRecord) -> float:
    """Share of a full drawing that an attempt costs."""
    return 1 - attempt.start_step / source.steps
