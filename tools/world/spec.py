"""The meaning of a prompt of the embedded world, and random ones."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from .relations import RELATIONS
from .vocabulary import COLOURS, NOUNS, PLACES, Group


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
    """A key of ``RELATIONS``."""
    members: tuple[int, ...]
    """Indices of the things: subjects in order, then the object, if any."""


@dataclass(frozen=True)
class Spec:
    """The meaning of one prompt. Things of one noun differ in their colours, each of which is given."""

    things: tuple[Wanted, ...]
    links: tuple[Link, ...]
    place: str | None = None
    """A key of ``PLACES``; None where any place will do."""

    def combinations(self) -> set[tuple[str, ...]]:
        """Each relation with its nouns; some are held out from training."""
        return {combination(link.relation, [self.things[i].noun for i in link.members]) for link in self.links}

    @property
    def unseen(self) -> bool:
        """Whether a combination of it was held out from training."""
        return any(_in_share("/".join(c), 5) for c in self.combinations())

    @property
    def held_out(self) -> bool:
        """Whether this prompt, in any place, is held out from training: all unseen ones, and a tenth of the others."""
        return self.unseen or _in_share(repr((self.things, self.links)), 10)


def combination(relation: str, nouns: Sequence[str]) -> tuple[str, ...]:
    """Relation and nouns, with the order of the nouns dropped where it has no meaning."""
    entry = RELATIONS[relation]
    alike = len(nouns) if entry.symmetric else entry.before
    return (relation, *sorted(nouns[:alike]), *nouns[alike:])


def _in_share(text: str, divisor: int) -> bool:
    """Whether a text belongs to one ``divisor``-th of all texts, chosen by hash."""
    return hashlib.sha256(text.encode()).digest()[0] % divisor == 0


MOST_THINGS = 6
"""Of one prompt."""
MOST_LINKS = 5
"""Relations of a prompt of the highest complexity."""
SIDES = ("left of", "right of", "next to")
ASIDE = (*SIDES, "behind", "between")
"""Relations that captions set off by a comma."""
_ACTS = ("holding", "riding", "pushing", "inside", "on top of", "under")
_DEEDS = (*_ACTS, "wearing", "jumping over", "behind")
_THREES = ("lifting", "sharing", "giving", "between", "in a row")
_PAIRS = (*SIDES, *_ACTS, "holding", "riding")
_FORMS = {"pair": 0.36, "act and side": 0.2, "two acts": 0.12, "acts side by side": 0.14, "together": 0.12, "row": 0.06}
"""Probability of each form of random prompt."""
_ALIKE = 0.2
"""Probability that a thing has the noun of another thing, in prompts of a given complexity."""


class _Draft:
    """A random spec that is built relation by relation."""

    def __init__(self, rng: random.Random, alike: float) -> None:
        self._rng = rng
        self._alike = alike
        self.things: list[Wanted] = []
        self.links: list[Link] = []

    def thing(self, groups: Sequence[Group]) -> int:
        """Add a thing of one of the groups; return its index."""
        if self._alike and self._rng.random() < self._alike:
            once = [t for t in self.things if t.colour and NOUNS[t.noun].group in groups]
            if once := [t for t in once if sum(t.noun == other.noun for other in self.things) == 1]:
                first = self._rng.choice(once)
                self.things.append(Wanted(first.noun, self._rng.choice([c for c in COLOURS if c != first.colour])))
                return len(self.things) - 1
        used = {t.noun for t in self.things}
        group = self._rng.choice(groups)
        free = [n for n in NOUNS.values() if n.name not in used]
        noun = self._rng.choice([n for n in free if n.group == group] or free)
        colour = self._rng.choice(list(COLOURS)) if noun.coloured and self._rng.random() < 0.85 else None
        self.things.append(Wanted(noun.name, colour))
        return len(self.things) - 1

    def link(self, relation: str, *given: int) -> int:
        """Relate the given things, and new ones for the missing members; return the index of the first."""
        members = (*given, *(self.thing(groups) for groups in RELATIONS[relation].takes[len(given) :]))
        self.links.append(Link(relation, members))
        return members[0]

    def spec(self, place: str | None) -> Spec:
        """The spec, subject by subject, with things in the order in which a caption names them."""
        links = sorted(self.links, key=lambda link: (link.members[0], link.relation in ASIDE))
        order = list(dict.fromkeys(i for link in links for i in link.members))
        numbered = tuple(Link(link.relation, tuple(map(order.index, link.members))) for link in links)
        return Spec(tuple(self.things[i] for i in order), numbered, place)


def random_spec(rng: random.Random, complexity: int | None = None) -> Spec:
    """A random prompt of ``complexity`` relations, 1 to ``MOST_LINKS``; None: of two to four things in one of
    ``_FORMS``. Some have no layout (see ``layout.lay_out``)."""
    draft = _Draft(rng, 0.0 if complexity is None else _ALIKE)
    if complexity is not None:
        _compose(draft, rng, complexity)
        return draft.spec(rng.choice(list(PLACES)) if rng.random() < 0.5 else None)
    match rng.choices(list(_FORMS), list(_FORMS.values()))[0]:
        case "pair":
            draft.link(rng.choice(_PAIRS))
        case "act and side":
            subject = draft.link(rng.choice(_ACTS))
            draft.link(rng.choice(SIDES), subject)
        case "two acts":
            subject = draft.link(rng.choice(("riding", "inside", "on top of")))
            if NOUNS[draft.things[subject].noun].group == "animal":
                draft.link("holding", subject)
        case "acts side by side":
            subject = draft.link(rng.choice(_ACTS[:4]))
            other = draft.thing(("animal",))
            draft.links.append(Link(rng.choice(SIDES), (subject, other)))
            draft.link(rng.choice(_ACTS[:4]), other)
        case "together":
            draft.link(rng.choice(("lifting", "sharing")))
        case _:
            draft.link("in a row")
    place = rng.choice(list(PLACES)) if rng.random() < 0.5 else None
    return Spec(tuple(draft.things), tuple(draft.links), place)


def _compose(draft: _Draft, rng: random.Random, count: int) -> None:
    """Add ``count`` relations: animals that do one or two things, each beside the one before. As in ConceptMix (arXiv
    2408.14339), complexity is the number of concepts that a prompt binds."""
    actor: int | None = None
    while (left := count - len(draft.links)) > 0:
        given = () if actor is None else (actor,)
        if actor is None and left < MOST_LINKS and rng.random() < 0.2:
            actor = draft.link(rng.choice(_THREES))
        elif actor is None and count == 1:
            draft.link(rng.choice((*SIDES, *_DEEDS)))
        elif left > 1 and rng.random() < 0.2:
            actor = draft.link(rng.choice(("riding", "inside", "on top of")), *(given or (draft.thing(("animal",)),)))
            draft.link(rng.choice(("holding", "wearing")), actor)
        else:
            actor = draft.link(rng.choice(_DEEDS), *(given or (draft.thing(("animal",)),)))
        if (left := count - len(draft.links)) > 0:
            other = draft.thing(("animal",) if left > 1 else RELATIONS["next to"].takes[1])
            draft.links.append(Link(rng.choice(SIDES), (actor or 0, other)))
            actor = other
