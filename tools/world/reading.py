"""Probability, evidence and verdict for every check of a concept graph, from what a network sees; critic and judge
share this."""

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
"""Detections of one noun that are tried for a relation."""


@dataclass(frozen=True)
class Detection:
    """A thing that may be in the picture."""

    thing: Thing
    """With its likeliest colour."""
    probability: float
    """In [0, 1]."""
    colours: Mapping[str, float]
    """Probability by colour; empty for things of a natural colour."""


@dataclass(frozen=True)
class Detections:
    """What may be in one picture."""

    things: Mapping[str, tuple[Detection, ...]]
    """By noun, the likeliest first."""
    places: Mapping[str, float]
    """Probability by place."""
    strange: float
    """Probability that some cell shows what belongs to no whole thing."""

    def unexpected(self, spec: Spec) -> list[Detection]:
        """Detections of nouns that the spec does not name, or, where it names two of a noun, in neither of their
        colours."""
        unexpected: list[Detection] = []
        for noun, detections in self.things.items():
            colours = [w.colour for w in spec.things if w.noun == noun]
            if not colours:
                unexpected += detections
            elif len(colours) > 1:
                for s in detections:
                    other = 1 - sum(s.colours.get(c or "", 0.0) for c in colours)
                    unexpected.append(replace(s, probability=max(0.0, s.probability * other)))
        return unexpected

    def of(self, entity: Entity) -> Sequence[Detection]:
        """Detections of an entity, the likeliest first: of its noun, and of its colour too where its id has it."""
        detections = self.things[entity.name]
        own = next((colour for colour in entity.attributes if entity.id == f"{colour} {entity.name}"), None)
        if own is None:
            return detections
        of_colour = (
            replace(s, thing=replace(s.thing, colour=own), probability=s.probability * s.colours.get(own, 0.0))
            for s in detections
        )
        return sorted(of_colour, key=lambda s: -s.probability)


def settle(concepts: ConceptGraph, spec: Spec, seen: Detections) -> tuple[Verdict, ...]:
    """A verdict for each check, in the order of the concepts; a check fails where one that it depends on failed."""
    own: dict[str, Verdict] = {}
    for check in concepts.checks:
        likely = min(1.0, max(0.0, probability(check, concepts, spec, seen)))
        boxes = tuple(s.thing.box for some in detected(check, concepts, spec, seen).values() for s in some)
        own[check.id] = Verdict.by_probability(check.id, likely, evidence(check, concepts, spec, seen), boxes)
    return fail_dependents(concepts, own)


def probability(check: Check, concepts: ConceptGraph, spec: Spec, seen: Detections) -> float:
    """P(yes) for one check, in [0, 1], as if its parents had passed."""
    if check.aspect == "scene":
        return 1.0 if spec.place is None else seen.places[spec.place]
    if check.aspect == "nothing_else":  # duplicates of what is wanted have a check of their own
        return (1 - seen.strange) * math.prod(1 - s.probability for s in seen.unexpected(spec))
    if check.aspect == "relation":
        link = spec.links[[i.id for i in concepts.interactions].index(str(check.about))]
        members = (seen.of(concepts.entities[i])[:_MOST_PLACES] for i in link.members)
        fits = (some for some in itertools.product(*members) if holds(link.relation, [s.thing for s in some]))
        return max((math.prod(s.probability for s in some) for some in fits), default=0.0)
    entity = concepts.entity(str(check.about))
    detections = seen.of(entity)
    if check.aspect == "presence":
        return 1 - math.prod(1 - s.probability for s in detections)
    if check.aspect == "attribute":
        return detections[0].colours.get(entity.attributes[0], 0.0) if detections else 0.0
    totals = [1.0]  # P(so many are real) by number, as detections are independent
    for p in (s.probability for s in detections):
        totals = [no * (1 - p) + yes * p for no, yes in zip([*totals, 0.0], [0.0, *totals], strict=True)]
    return totals[entity.count] if entity.count < len(totals) else 0.0


def detected(check: Check, concepts: ConceptGraph, spec: Spec, seen: Detections) -> dict[str, list[Detection]]:
    """What a check is about, as far as it is probably there: by id of the entity, or by noun for other things."""
    if check.aspect == "scene":
        return {}
    if check.aspect == "nothing_else":
        unexpected = dict[str, list[Detection]]()
        for detection in seen.unexpected(spec):
            if detection.probability > _HALF:
                unexpected.setdefault(detection.thing.noun, []).append(detection)
        return unexpected
    about = str(check.about)
    ids = concepts.interaction(about).members() if check.aspect == "relation" else (about,)
    return {id: [s for s in seen.of(concepts.entity(id)) if s.probability > _HALF] for id in ids}


def evidence(check: Check, concepts: ConceptGraph, spec: Spec, seen: Detections) -> str:
    """What speaks for or against the check, in words."""
    by_id = detected(check, concepts, spec, seen)
    if check.aspect == "scene":
        return f"the place looks like: {PLACES[max(seen.places, key=lambda p: seen.places[p])].phrase}"
    if check.aspect == "nothing_else":
        pieces = ["a piece of something"] if seen.strange > _HALF else []
        others = [*(_where(detections[0]) for detections in by_id.values()), *pieces]
        return f"also seen: {'; '.join(others)}" if others else "nothing else is seen"
    return "; ".join(" and ".join(map(_where, some)) if some else f"no {id} is seen" for id, some in by_id.items())


def _where(detection: Detection) -> str:
    return f"{describe(detection.thing)} {whereabouts(detection.thing)}"


def exact_detections(scene: Scene, strange: bool) -> Detections:
    """A scene as a network that never errs would see it; ``strange``: a fragment of something else is in it."""

    def detection(thing: Thing) -> Detection:
        return Detection(thing, 1.0, {c: float(c == thing.colour) for c in COLOURS} if thing.colour else {})

    return Detections(
        {noun: tuple(detection(t) for t in scene.things if t.noun == noun) for noun in NOUNS},
        {place: float(place == scene.place) for place in PLACES},
        float(strange),
    )
