"""From what a network sees to answers: probability, evidence and verdict for every check of a concept graph.

Critic and judge share this: one geometric definition of each relation, one rule for every kind of question.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...state import Check, ConceptGraph, Entity, Verdict, fail_dependents
from .language import describe, whereabouts
from .relations import holds
from .scene import Scene, Thing
from .spec import Spec
from .vocabulary import COLOURS, NOUNS, PLACES

_HALF = 0.5
_MOST_PLACES = 4
"""Sightings of one noun that are considered for a relation."""


@dataclass(frozen=True)
class Sighting:
    """A thing that may be in the picture."""

    thing: Thing
    """With its likeliest colour."""
    probability: float
    """In [0, 1]."""
    colours: Mapping[str, float]
    """Probability by colour; empty for things of a natural colour."""


@dataclass(frozen=True)
class Sights:
    """What may be in one picture."""

    things: Mapping[str, tuple[Sighting, ...]]
    """By noun, the likeliest first."""
    places: Mapping[str, float]
    """Probability by place."""
    strange: float
    """Probability that some cell shows what belongs to no whole thing."""

    def strangers(self, spec: Spec) -> list[Sighting]:
        """Sightings of nouns that the spec does not name, or, where it names two of a noun, in no colour of them."""
        strange: list[Sighting] = []
        for noun, found in self.things.items():
            colours = [w.colour for w in spec.things if w.noun == noun]
            if not colours:
                strange += found
            elif len(colours) > 1:
                other = ((s, s.probability * (1 - sum(s.colours.get(c or "", 0.0) for c in colours))) for s in found)
                strange += [replace(s, probability=max(0.0, likely)) for s, likely in other]
        return strange

    def of(self, entity: Entity) -> Sequence[Sighting]:
        """Sightings of an entity, the likeliest first: of its noun, and of its colour too where that is in its id."""
        found = self.things[entity.name]
        own = next((colour for colour in entity.attributes if entity.id == f"{colour} {entity.name}"), None)
        if own is None:
            return found
        of_colour = (
            replace(s, thing=replace(s.thing, colour=own), probability=s.probability * s.colours.get(own, 0.0))
            for s in found
        )
        return sorted(of_colour, key=lambda s: -s.probability)


def settle(concepts: ConceptGraph, spec: Spec, seen: Sights) -> tuple[Verdict, ...]:
    """A verdict for each check, in the order of the concepts; a check whose parent failed fails with it."""
    own: dict[str, Verdict] = {}
    for check in concepts.checks:
        likely = min(1.0, max(0.0, probability(check, concepts, spec, seen)))
        boxes = tuple(one.thing.box for found in sighted(check, concepts, spec, seen).values() for one in found)
        own[check.id] = Verdict.by_probability(check.id, likely, evidence(check, concepts, spec, seen), boxes)
    return fail_dependents(concepts, own)


def probability(check: Check, concepts: ConceptGraph, spec: Spec, seen: Sights) -> float:
    """P(yes) for one check, in [0, 1], as if its parents had passed."""
    match check.aspect:
        case "scene":
            return 1.0 if spec.place is None else seen.places[spec.place]
        case "nothing_else":  # duplicates of what is wanted have a check of their own
            return (1 - seen.strange) * math.prod(1 - s.probability for s in seen.strangers(spec))
        case "relation":
            link = spec.links[[i.id for i in concepts.interactions].index(str(check.about))]
            likely = (seen.of(concepts.entities[i])[:_MOST_PLACES] for i in link.members)
            fits = (one for one in itertools.product(*likely) if holds(link.relation, [s.thing for s in one]))
            return max((math.prod(s.probability for s in one) for one in fits), default=0.0)
        case _:
            entity = concepts.entity(str(check.about))
            found = seen.of(entity)
    if check.aspect == "presence":
        return 1 - math.prod(1 - s.probability for s in found)
    if check.aspect == "attribute":
        return found[0].colours.get(entity.attributes[0], 0.0) if found else 0.0
    return _exactly(entity.count, [s.probability for s in found])


def _exactly(count: int, probabilities: list[float]) -> float:
    """P(just so many of independent sightings are real)."""
    totals = [1.0]
    for p in probabilities:
        totals = [no * (1 - p) + yes * p for no, yes in zip([*totals, 0.0], [0.0, *totals], strict=True)]
    return totals[count] if count < len(totals) else 0.0


def sighted(check: Check, concepts: ConceptGraph, spec: Spec, seen: Sights) -> dict[str, list[Sighting]]:
    """What a check is about and is likelier there than not, by the id of its entity, or by noun where it is none."""
    if check.aspect == "scene":
        return {}
    if check.aspect == "nothing_else":
        strangers = dict[str, list[Sighting]]()
        for one in seen.strangers(spec):
            if one.probability > _HALF:
                strangers.setdefault(one.thing.noun, []).append(one)
        return strangers
    about = str(check.about)
    ids = concepts.interaction(about).members() if check.aspect == "relation" else (about,)
    return {id: [s for s in seen.of(concepts.entity(id)) if s.probability > _HALF] for id in ids}


def evidence(check: Check, concepts: ConceptGraph, spec: Spec, seen: Sights) -> str:
    """What speaks for or against the check, in words."""
    found = sighted(check, concepts, spec, seen)
    if check.aspect == "scene":
        return f"the place looks like: {PLACES[max(seen.places, key=lambda p: seen.places[p])].phrase}"
    if check.aspect == "nothing_else":
        pieces = ["a piece of something"] if seen.strange > _HALF else []
        others = [*(_where(sightings[0]) for sightings in found.values()), *pieces]
        return f"also seen: {'; '.join(others)}" if others else "nothing else is seen"
    return "; ".join(
        " and ".join(map(_where, sightings)) if sightings else f"no {id} is seen" for id, sightings in found.items()
    )


def _where(sighting: Sighting) -> str:
    return f"{describe(sighting.thing)} {whereabouts(sighting.thing)}"


def exact_sights(scene: Scene, strange: bool) -> Sights:
    """What is truly in a scene, and whether a fragment of something else is, as a network that never errs would see
    it."""

    def sighting(thing: Thing) -> Sighting:
        return Sighting(thing, 1.0, {c: float(c == thing.colour) for c in COLOURS} if thing.colour else {})

    return Sights(
        {noun: tuple(sighting(t) for t in scene.things if t.noun == noun) for noun in NOUNS},
        {place: float(place == scene.place) for place in PLACES},
        float(strange),
    )
