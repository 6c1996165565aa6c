"""From a network's readings to answers: probabilities of every check of a concept graph.

Critic and judge share this: one geometric definition of each relation, one rule for every kind of question.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter

import torch

from ...state import Check, ConceptGraph
from .captions import describe, whereabouts
from .detectors import Readings
from .relations import holds
from .scene import Scene, Thing
from .spec import Spec
from .vocabulary import COLOURS, GRID, NOUNS, PLACES

_FAINT = 0.02
"""Sightings less likely than this are not looked into."""
_MOST_PLACES = 4
"""Sightings of one noun that are considered for a relation."""


@dataclass(frozen=True)
class Sighting:
    """A thing that may be in the picture."""

    thing: Thing
    """With its likeliest colour."""
    probability: float
    colours: Mapping[str, float]
    """Probability by colour; empty for things of a natural colour."""


@dataclass(frozen=True)
class Sights:
    """What may be in one picture."""

    things: Mapping[str, tuple[Sighting, ...]]
    """By noun, the likeliest first."""
    places: Mapping[str, float]
    """Probability by backdrop."""
    strange: float
    """Probability that some cell shows what belongs to no whole thing."""


def sights(readings: Readings) -> list[Sights]:
    """One for each picture."""
    nouns = readings.nouns.float().sigmoid()
    colours = readings.colours.float().softmax(1)
    places = readings.places.float().softmax(1)
    strange = readings.strange.float().sigmoid().flatten(1).max(1).values
    return [
        Sights(
            {noun: _sightings(noun, nouns[n, i], colours[n]) for i, noun in enumerate(NOUNS)},
            dict(zip(PLACES, places[n].tolist(), strict=True)),
            float(strange[n]),
        )
        for n in range(len(nouns))
    ]


def exact_sights(scene: Scene, strange: bool) -> Sights:
    """What is truly in a scene, as a network that never errs would see it.

    Args:
        scene: The truth.
        strange: Whether a fragment of something else is in the picture.
    """

    def sighting(thing: Thing) -> Sighting:
        return Sighting(thing, 1.0, {c: float(c == thing.colour) for c in COLOURS} if thing.colour else {})

    return Sights(
        {noun: tuple(sighting(t) for t in scene.things if t.noun == noun) for noun in NOUNS},
        {place: float(place == scene.place) for place in PLACES},
        float(strange),
    )


def _sightings(noun: str, likely: torch.Tensor, colours: torch.Tensor) -> tuple[Sighting, ...]:
    kind, found = NOUNS[noun], list[Sighting]()
    for y, x in (likely > _FAINT).nonzero().tolist():
        if x + kind.width > GRID or y + kind.height > GRID:
            continue
        shares: dict[str, float] = dict(zip(COLOURS, colours[:, y, x].tolist(), strict=True)) if kind.coloured else {}
        colour = max(shares, key=shares.__getitem__) if shares else None
        found.append(Sighting(Thing(noun, colour, x, y), float(likely[y, x]), shares))
    return tuple(sorted(found, key=attrgetter("probability"), reverse=True))


def probability(check: Check, concepts: ConceptGraph, spec: Spec, seen: Sights) -> float:
    """P(yes) for one check, in [0, 1], as if its parents had passed."""
    if check.aspect == "scene":
        return 1.0 if spec.place is None else seen.places[spec.place]
    if check.aspect == "nothing_else":
        return _nothing_else(spec, seen)
    if check.aspect == "relation":
        index = [i.id for i in concepts.interactions].index(str(check.about))
        link = spec.links[index]
        return _relation(link.relation, [seen.things[spec.things[i].noun] for i in link.members])
    entity = concepts.entity(str(check.about))
    found = seen.things[entity.name]
    if check.aspect == "presence":
        return 1 - math.prod(1 - s.probability for s in found)
    if check.aspect == "attribute":
        return found[0].colours.get(entity.attributes[0], 0.0) if found else 0.0
    return _exactly(entity.count, [s.probability for s in found])


def _relation(relation: str, candidates: list[tuple[Sighting, ...]]) -> float:
    """Of the likeliest sightings that stand so."""
    fits = (
        math.prod(s.probability for s in chosen)
        for chosen in itertools.product(*(c[:_MOST_PLACES] for c in candidates))
        if holds(relation, [s.thing for s in chosen])
    )
    return max(fits, default=0.0)


def _exactly(count: int, probabilities: list[float]) -> float:
    """P(just so many of independent sightings are real)."""
    totals = [1.0]
    for p in probabilities:
        totals = [
            (totals[n] * (1 - p) if n < len(totals) else 0.0) + (totals[n - 1] * p if n else 0.0)
            for n in range(len(totals) + 1)
        ]
    return totals[count] if count < len(totals) else 0.0


def _nothing_else(spec: Spec, seen: Sights) -> float:
    """No fragment, and no thing that was not asked for; duplicates of wanted things have their own check."""
    wanted = {w.noun for w in spec.things}
    strangers = (s.probability for noun, found in seen.things.items() if noun not in wanted for s in found)
    return (1 - seen.strange) * math.prod(1 - p for p in strangers)


def evidence(check: Check, concepts: ConceptGraph, spec: Spec, seen: Sights) -> str:
    """What speaks for or against the check, in words."""
    if check.aspect == "scene":
        place = max(seen.places, key=lambda p: seen.places[p])
        return f"the place looks like: {PLACES[place]}"
    if check.aspect == "nothing_else":
        wanted = {w.noun for w in spec.things}
        strangers = [
            _where(f[0]) for noun, f in seen.things.items() if noun not in wanted and f and f[0].probability > 0.5
        ]
        pieces = ["a piece of something"] if seen.strange > 0.5 else []
        return f"also seen: {'; '.join(strangers + pieces)}" if strangers or pieces else "nothing else is seen"
    about = str(check.about)
    nouns = concepts.interaction(about).members() if check.aspect == "relation" else (about,)
    names = {entity.id: entity.name for entity in concepts.entities}
    found = [(names[n], [s for s in seen.things[names[n]] if s.probability > 0.5]) for n in nouns]
    return "; ".join(" and ".join(_where(s) for s in f) if f else f"no {name} is seen" for name, f in found)


def _where(sighting: Sighting) -> str:
    return f"{describe(sighting.thing)} {whereabouts(sighting.thing)}"
