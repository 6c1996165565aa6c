"""What a prompt of the embedded world asks for, and how such prompts are made up."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from .vocabulary import COLOURS, NOUNS, PLACES


@dataclass(frozen=True)
class Wanted:
    """A thing the prompt names."""

    noun: str
    colour: str | None = None
    """None where any colour will do."""


@dataclass(frozen=True)
class Link:
    """A relation between wanted things."""

    relation: str
    members: tuple[int, ...]
    """Indices of the things: subjects in order, then the object where there is one."""


@dataclass(frozen=True)
class Spec:
    """The meaning of one prompt. Every noun occurs once."""

    things: tuple[Wanted, ...]
    links: tuple[Link, ...]
    place: str | None = None
    """A key of ``PLACES``; None where any place will do."""

    def combinations(self) -> set[tuple[str, ...]]:
        """Each relation with the nouns it relates; what is held out from training."""
        return {combination(link.relation, [self.things[i].noun for i in link.members]) for link in self.links}

    @property
    def unseen(self) -> bool:
        """Whether a combination of it was held out from training."""
        return any(_in_share("/".join(c), 5) for c in self.combinations())

    @property
    def held_out(self) -> bool:
        """Whether training must not see this very prompt, in any place: a tenth of all, and the unseen ones."""
        return self.unseen or _in_share(repr((self.things, self.links)), 10)


def combination(relation: str, nouns: Sequence[str]) -> tuple[str, ...]:
    """Relation and nouns, with the order of the nouns dropped where it has no meaning."""
    if relation in ("in a row", "next to"):
        return (relation, *sorted(nouns))
    if relation in ("lifting", "sharing"):
        return (relation, *sorted(nouns[:2]), nouns[2])
    return (relation, *nouns)


def _in_share(text: str, divisor: int) -> bool:
    """Whether a text belongs to one ``divisor``-th of all texts, chosen by hash."""
    return hashlib.sha256(text.encode()).digest()[0] % divisor == 0


_BY_GROUP: dict[str, tuple[str, ...]] = {
    group: tuple(n.name for n in NOUNS.values() if n.group == group)
    for group in ("animal", "vehicle", "container", "building", "holdable", "plant")
}
_LARGE = ("vehicle", "container", "building")
_ANY = ("animal", *_LARGE, "holdable", "plant")

_ROLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "left of": (_ANY, _ANY),
    "right of": (_ANY, _ANY),
    "next to": (_ANY, _ANY),
    "on top of": (("animal", "holdable"), (*_LARGE, "plant")),
    "under": (("animal",), (*_LARGE, "holdable")),
    "inside": (("animal",), ("container",)),
    "in a row": (_ANY, _ANY, _ANY),
    "holding": (("animal",), ("holdable",)),
    "riding": (("animal",), ("vehicle",)),
    "pushing": (("animal",), ("vehicle", "container")),
    "lifting": (("animal",), ("animal",), _LARGE),
    "sharing": (("animal",), ("animal",), ("holdable",)),
}
"""Groups that may take each part of a relation when prompts are made up."""

SIDES = ("left of", "right of", "next to")
_ACTS = ("holding", "riding", "pushing", "inside", "on top of", "under")
_PAIRS = (*SIDES, *_ACTS, "holding", "riding")
_FORMS = (
    ("pair", 0.36),
    ("act and side", 0.2),
    ("two acts", 0.12),
    ("acts side by side", 0.14),
    ("together", 0.12),
    ("row", 0.06),
)


class _Draft:
    """A spec in the making."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.things: list[Wanted] = []
        self.links: list[Link] = []

    def thing(self, groups: Sequence[str]) -> int:
        """Add a thing of one of the groups, each noun at most once; return its index."""
        used = {t.noun for t in self.things}
        group = self._rng.choice(groups)
        noun = self._rng.choice([n for n in _BY_GROUP[group] if n not in used] or [n for n in NOUNS if n not in used])
        colour = self._rng.choice(list(COLOURS)) if NOUNS[noun].coloured and self._rng.random() < 0.85 else None
        self.things.append(Wanted(noun, colour))
        return len(self.things) - 1

    def link(self, relation: str, *given: int) -> tuple[int, ...]:
        """Relate the given things, the missing parts newly added."""
        members = (*given, *(self.thing(groups) for groups in _ROLES[relation][len(given) :]))
        self.links.append(Link(relation, members))
        return members


def random_spec(rng: random.Random) -> Spec:
    """Make up a prompt of two to four things; some cannot be laid out (see ``layout.lay_out``)."""
    draft = _Draft(rng)
    form = rng.choices([name for name, _ in _FORMS], [weight for _, weight in _FORMS])[0]
    if form == "pair":
        draft.link(rng.choice(_PAIRS))
    elif form == "act and side":
        subject, *_ = draft.link(rng.choice(_ACTS))
        draft.link(rng.choice(SIDES), subject)
    elif form == "two acts":
        subject, *_ = draft.link(rng.choice(("riding", "inside", "on top of")))
        if NOUNS[draft.things[subject].noun].group == "animal":
            draft.link("holding", subject)
    elif form == "acts side by side":
        subject, *_ = draft.link(rng.choice(_ACTS[:4]))
        other = draft.thing(("animal",))
        draft.links.append(Link(rng.choice(SIDES), (subject, other)))
        draft.link(rng.choice(_ACTS[:4]), other)
    elif form == "together":
        draft.link(rng.choice(("lifting", "sharing")))
    else:
        draft.link("in a row")
    place = rng.choice(list(PLACES)) if rng.random() < 0.5 else None
    return Spec(tuple(draft.things), tuple(draft.links), place)
