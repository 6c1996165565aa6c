"""Reads prompts of the embedded world: a list of clauses such as ``a fox riding a red bicycle, next to a bear``.

A relation's subject is the thing that the clause began with. A relation to a side or a stack makes
its object the subject of what follows at once (``next to a bear holding a balloon``); after a comma
or ``and`` the clause's own subject is meant again. A comma or ``and`` before a new thing begins a clause.
"""

import difflib
import re

from ...prompts import plural
from ..errors import PromptError
from .language import PLACE_WORDS, RELATION_WORDS, SPELLINGS, WORDS, canonical
from .spec import Link, Spec, Wanted
from .vocabulary import COLOURS, NOUNS

EXAMPLES = (
    "a fox riding a red bicycle, next to a bear holding a blue balloon",
    "a cat and a dog lifting a yellow house at night",
    "a rabbit inside a purple basket, to the left of a tree",
)
"""Prompts that work."""

_RELATIONS = {word: relation for relation, word in RELATION_WORDS.items()}
_TOGETHER = ("lifting", "sharing")
_PASSES_ON = ("left of", "right of", "next to", "on top of", "under")
_FOREIGN = re.compile(r"\w*[^\W\x00-\x7f]\w*")
"""Words with letters that no canonical word has."""
_HOW_ELSE = 'any other prompt needs full-size models: see "Your own models" in the README'


def parse(prompt: str) -> Spec:
    """The meaning of a prompt.

    Raises:
        PromptError: it has words the world does not know, names a thing twice, or leaves a relation open.
    """
    words = canonical(prompt)
    _require_known_words([*words, *_FOREIGN.findall(prompt.lower())])
    reader = _Reader()
    for word in words:
        reader.read(word)
    return reader.finish()


class _Reader:
    """Reads canonical words from left to right."""

    def __init__(self) -> None:
        self._things: list[Wanted] = []
        self._links: list[Link] = []
        self._place: str | None = None
        self._colour: str | None = None
        self._subjects: list[int] = []
        """Of the clause."""
        self._actors: list[int] = []
        """What a relation would take as its subjects now."""
        self._relation: str | None = None
        self._after_break = True
        self._complete = False
        """Whether the clause has a relation, so that a new thing begins another."""

    def read(self, word: str) -> None:
        if word in (",", "and", "."):
            self._break(word)
        elif word in PLACE_WORDS:
            self._place = self._agree(self._place, word)
        elif word in COLOURS:
            self._colour = self._one_colour(word)
        elif word in NOUNS:
            self._name(word)
        else:
            self._relate(_RELATIONS[word])

    def finish(self) -> Spec:
        if self._relation is not None or self._colour is not None:
            raise _unclear(f"'{self._relation or self._colour}' is followed by nothing it could belong to")
        if not self._things:
            raise _unclear("it names no thing")
        if len(self._things) > 4:
            raise _unclear(f"it names {len(self._things)} things, and the picture has room for four")
        return Spec(tuple(self._things), tuple(dict.fromkeys(self._links)), self._place)

    def _break(self, word: str) -> None:
        if self._relation is None:
            self._after_break = True
            self._actors = self._subjects
            self._complete |= word == "."

    def _name(self, noun: str) -> None:
        index = self._index(noun)
        if self._relation is not None:
            self._link(self._relation, index)
        elif self._complete or not self._after_break:
            self._subjects = self._actors = [index]
            self._complete = False
        elif index in self._subjects:
            raise _twice(noun)
        else:
            self._subjects = self._actors = [*self._subjects, index]
        self._after_break = False

    def _relate(self, relation: str) -> None:
        if self._relation is not None or not self._actors:
            raise _unclear(f"'{relation}' has no subject")
        if relation == "in a row":
            self._links.append(Link(relation, tuple(self._together(relation, 3))))
            self._complete = True
        else:
            self._relation = relation

    def _link(self, relation: str, target: int) -> None:
        if target in self._actors:
            raise _twice(self._things[target].noun)
        if relation in _TOGETHER:
            self._links.append(Link(relation, (*self._together(relation, 2), target)))
        else:
            self._links += [Link(relation, (actor, target)) for actor in self._actors]
        if relation in _PASSES_ON:
            self._actors = [target]
        self._relation, self._complete = None, True

    def _together(self, relation: str, count: int) -> list[int]:
        if len(self._actors) != count:
            raise _unclear(f"'{relation}' takes {count} subjects, not {len(self._actors)}")
        return self._actors

    def _index(self, noun: str) -> int:
        colour, self._colour = self._colour, None
        if colour is not None and not NOUNS[noun].coloured:
            raise _unclear(f"a {noun} has its natural colour here, it cannot be {colour}")
        for index, known in enumerate(self._things):
            if known.noun == noun:
                if colour not in (None, known.colour):
                    raise _twice(noun)
                return index
        self._things.append(Wanted(noun, colour))
        return len(self._things) - 1

    def _one_colour(self, colour: str) -> str:
        if self._colour not in (None, colour):
            raise _unclear(f"it gives one thing two colours, {self._colour} and {colour}")
        return colour

    def _agree(self, before: str | None, place: str) -> str:
        if before not in (None, place):
            raise _unclear(f"it names two places, {before} and {place}")
        return place


def _require_known_words(words: list[str]) -> None:
    known = {*NOUNS, *COLOURS, *_RELATIONS, *PLACE_WORDS, "and", ",", "."}
    unknown = list(dict.fromkeys(word for word in words if word not in known))
    if unknown:
        hints = [f"{word!r}{_nearest(word)}" for word in unknown[:8]]
        raise PromptError(f"the embedded world does not know {', '.join(hints)}; {_what_works()}")


def _nearest(word: str) -> str:
    spellings = {w for pattern, _ in SPELLINGS for w in re.findall(r"[a-z]{3,}", pattern)}
    close = difflib.get_close_matches(word, sorted({*NOUNS, *COLOURS, *spellings} | set(WORDS)), n=2, cutoff=0.6)
    return f" (nearest: {', '.join(close)})" if close else ""


def _unclear(why: str) -> PromptError:
    return PromptError(f"the embedded world cannot read this prompt: {why}; {_what_works()}")


def _twice(noun: str) -> PromptError:
    return _unclear(f"it names two {plural(noun)}, and a picture has one of each thing")


def _what_works() -> str:
    return f"this works: {' | '.join(EXAMPLES)}; {_HOW_ELSE}"
