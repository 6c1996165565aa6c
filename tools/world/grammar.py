"""Reads prompts of the embedded world: a list of clauses such as ``a fox riding a red bicycle, next to a bear``.

The subject of a relation is the first thing of its clause. After a relation that ``passes_on``, its object is the
subject of what follows at once (``next to a bear holding a balloon``), until a comma or ``and``. A comma or ``and``
before a new thing begins a clause.
"""

import difflib
import re

from ...prompts import plural
from ..errors import PromptError
from .language import SPELLINGS, WORDS, canonical
from .relations import RELATIONS, Relation
from .spec import MOST_THINGS, Link, Spec, Wanted
from .vocabulary import COLOURS, NOUNS, PLACES

EXAMPLES = (
    "a fox riding a red bicycle, next to a bear holding a blue balloon",
    "a cat and a dog lifting a yellow house at night",
    "a rabbit inside a purple basket, to the left of a tree",
)
"""Prompts that work."""

_RELATIONS = {relation.word: relation for relation in RELATIONS.values()}
_LONGEST = 40
"""Letters of an unknown word that are looked up and shown; finding near words takes quadratic time."""
_WHAT_WORKS = (
    f"this works: {' | '.join(EXAMPLES)}; any other prompt needs full-size models: see docs/full-size-models.md"
)


def parse(prompt: str) -> Spec:
    """The meaning of a prompt; ``PromptError`` if it has unknown words, names a thing twice or leaves a relation
    open."""
    words = canonical(prompt)
    foreign = [word for word in re.findall(r"\w+", prompt.lower()) if not word.isascii()]  # not in ``words``
    known = {*NOUNS, *COLOURS, *_RELATIONS, *PLACES, "and", ",", "."}
    if unknown := list(dict.fromkeys(word[:_LONGEST] for word in (*words, *foreign) if word not in known)):
        spellings = {*WORDS, *(w for pattern, _ in SPELLINGS for w in re.findall(r"[a-z]{3,}", pattern))}
        hints: list[str] = []
        for word in unknown[:8]:
            close = difflib.get_close_matches(word, sorted(spellings), n=2, cutoff=0.6)
            hints.append(f"{word!r} (nearest: {', '.join(close)})" if close else repr(word))
        raise PromptError(f"the embedded world does not know {', '.join(hints)}; {_WHAT_WORKS}")
    reader = _Reader()
    for word in words:
        reader.read(word)
    return reader.finish()


class _Reader:
    """Reads canonical words from left to right."""

    def __init__(self) -> None:
        self._things: list[Wanted] = []
        self._links: dict[Link, None] = {}
        """An ordered set."""
        self._place: str | None = None
        self._colour: str | None = None
        """Colour of the next thing."""
        self._subjects: list[int] = []
        """Subjects of the clause."""
        self._actors: list[int] = []
        """Subjects of the next relation."""
        self._relation: Relation | None = None
        """A relation that still waits for its targets."""
        self._targets: list[int] = []
        """The things named after it."""
        self._after_break = True
        self._complete = False
        """Whether the clause has a relation, so that a new thing begins another clause."""

    def read(self, word: str) -> None:
        if word in (",", "and", "."):
            if self._relation is None:
                self._after_break, self._actors = True, self._subjects
                self._complete |= word == "."
        elif word in PLACES:
            if self._place not in (None, word):
                raise _unclear(f"it names two places, {self._place} and {word}")
            self._place = word
        elif word in COLOURS:
            if self._colour not in (None, word):
                raise _unclear(f"it gives one thing two colours, {self._colour} and {word}")
            self._colour = word
        elif word in NOUNS:
            self._name(word)
        else:
            self._relation, self._targets, waiting = _RELATIONS[word], [], self._relation
            if waiting is not None or not self._actors:
                raise _unclear(f"'{self._relation.name}' has no subject")
            self._link(self._relation)

    def finish(self) -> Spec:
        if open_word := self._relation.name if self._relation is not None else self._colour:
            raise _unclear(f"'{open_word}' is followed by nothing it could belong to")
        if not self._things:
            raise _unclear("it names no thing")
        if len(self._things) > MOST_THINGS:
            raise _unclear(f"it names {len(self._things)} things, and the picture has room for {MOST_THINGS}")
        return Spec(tuple(self._things), tuple(self._links), self._place)

    def _name(self, noun: str) -> None:
        index = self._index(noun)
        if self._relation is not None:
            self._targets.append(index)
            self._link(self._relation)
        elif self._complete or not self._after_break:
            self._subjects = self._actors = [index]
            self._complete = False
        elif index in self._subjects:
            raise _twice(noun)
        else:
            self._subjects = self._actors = [*self._subjects, index]
        self._after_break = False

    def _index(self, noun: str) -> int:
        """Index of the thing of that noun, which is added if the prompt has not named it before."""
        colour, self._colour = self._colour, None
        if colour is not None and not NOUNS[noun].coloured:
            raise _unclear(f"a {noun} has its natural colour here, it cannot be {colour}")
        same_noun = [(i, thing.colour) for i, thing in enumerate(self._things) if thing.noun == noun]
        meant = [i for i, own in same_noun if colour in (None, own)]
        if len(meant) > 1 or (same_noun and not meant and None in (own for _, own in same_noun)):
            raise _twice(noun)
        if meant:
            return meant[0]
        self._things.append(Wanted(noun, colour))
        return len(self._things) - 1

    def _link(self, relation: Relation) -> None:
        """Add the links of a relation once all of its targets are named."""
        actors, targets = self._actors, self._targets
        if len(targets) < relation.after:
            return
        if twice := [i for n, i in enumerate(targets) if i in actors or i in targets[:n]]:
            raise _twice(self._things[twice[0]].noun)
        if relation.before == 1:
            self._links |= dict.fromkeys(Link(relation.name, (actor, *targets)) for actor in actors)
        elif len(actors) == relation.before:
            self._links[Link(relation.name, (*actors, *targets))] = None
        else:
            raise _unclear(f"'{relation.name}' takes {relation.before} subjects, not {len(actors)}")
        if relation.passes_on:
            self._actors = [targets[-1]]
        self._relation, self._complete = None, True


def _unclear(why: str) -> PromptError:
    return PromptError(f"the embedded world cannot read this prompt: {why}; {_WHAT_WORKS}")


def _twice(noun: str) -> PromptError:
    return _unclear(f"it names two {plural(noun)}, and those of a picture differ in their colours")
