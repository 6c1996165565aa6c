"""The flat notation of "Generating Fine Details of Entity Interactions" (arXiv 2504.08714).

The paper decomposes a prompt until it is a sum of subject-verb-object triples::

    (concept: a squirrel eats) = (paw hold acorn) + (acorn rest on ground)

Words are split at blanks; ``"double quotes"``, with JSON's escapes, make one word of several and
take the meaning from marks and keywords. A term is one of::

    (acorn)                        an entity, said to be there
    (paw hold acorn)               first word the subject, last word the object, the relation between
    (cat sleep)                    a subject and a relation of one word, without an object
    (cat, dog, bear "in a row")    several subjects
    (contact: paw hold acorn)      an interaction of a named kind,
    (contact h1: paw hold acorn)   and with a named id
    (acorn is brown)               an attribute: exactly three words, ``is`` unquoted
    (acorn number 3)               a count
    (ball_2 named ball)            a noun other than the entity's id with blanks for underscores

A kind that is not named is multi_subject for several subjects, spatial for ``SPATIAL`` relations,
and functional for all else. Entities stand in the order of their first mention. The notation has
no place for checks: a parsed graph has the ``default_checks``.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple, get_args

from pydantic import ValidationError

from .concepts import ConceptGraph, Entity, Interaction, InteractionKind, default_checks

KINDS: tuple[InteractionKind, ...] = get_args(InteractionKind)
KEYWORDS = ("is", "named", "number")
"""Middle words of three that say something of one entity."""
SPATIAL = re.compile("above|behind|below|beside|in|in front of|inside|left of|near|next to|on|on top of|right of|under")
"""Relations that are spatial unless another kind is named."""

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PLAIN = re.compile(r'[^\s()+=:,"]+')
_TOKEN = re.compile(rf"\s*(?:(?P<quoted>{_QUOTED})|(?P<word>{_PLAIN.pattern})|(?P<mark>[()+=:,]))", re.DOTALL)
_HEAD = re.compile(rf'\s*+\(\s*+concept\s*+:\s*+(?:(?P<quoted>{_QUOTED})\s*+|(?P<bare>[^()"]++))\)', re.DOTALL)
"""Nothing in it is matched in two ways, so that a long text takes no longer than its length."""


class NotationError(ValueError):
    """A text is not in the flat notation; the message says what is wrong and where."""

    def __init__(self, problem: str, text: str, position: int) -> None:
        near = text[position : position + 20].strip()
        where = f"at character {position + 1}, near {near!r}" if near else "at the end"
        super().__init__(f"{problem}, {where}")
        self.position = position
        """Where in the text, from 0."""


class Token(NamedTuple):
    """A word or a mark."""

    text: str
    """Of a quoted word, what the quotes hold."""
    kind: str | None
    """quoted, word, or the mark that it is; None at the end of the text."""
    position: int
    """Where it starts, from 0."""


class Reader:
    """Reads the terms of a text from a position on."""

    def __init__(self, text: str, position: int) -> None:
        self.said: dict[str, dict[str, list[str]]] = {}
        """What each entity is said to be, by keyword, in the order of their first mention."""
        self.interactions: list[tuple[InteractionKind | None, str | None, list[str], str, str | None]] = []
        """Kind and id where they are named, subjects, relation, object."""
        self._text, self._tokens = text, list[Token]()
        while (match := _TOKEN.match(text, position)) is not None:
            kind, position = str(match.lastgroup), match.end()
            start = match.start(kind)
            word = unquoted(match[kind], text, start) if kind == "quoted" else match[kind]
            self._tokens.append(Token(word, word if kind == "mark" else kind, start))
        start = len(text) - len(text[position:].lstrip())
        self._tokens.append(Token("", None, start))
        self._end = None if start == len(text) else NotationError("a quote that is never closed", text, start)
        self._tokens.reverse()

    @property
    def next(self) -> Token:
        """The next token, left in place."""
        if len(self._tokens) == 1 and self._end is not None:
            raise self._end
        return self._tokens[-1]

    def expect(self, mark: str) -> Token:
        """Pass over the next token, which must be this mark."""
        if self.next.kind != mark:
            raise self._error(f"expected {mark!r}", self.next)
        return self._tokens.pop()

    def read(self) -> None:
        """``= term + term + ...`` up to the end of the text."""
        self.expect("=")
        self._term()
        while self.next.kind is not None:
            self.expect("+")
            self._term()

    def _error(self, problem: str, token: Token) -> NotationError:
        return NotationError(problem, self._text, token.position)

    def _term(self) -> None:
        self.expect("(")
        kind: InteractionKind | None = None
        id, subjects, words = None, list[str](), self._words()
        if self.next.kind == ":":
            kind = next((kind for kind in KINDS if words and words[0].text == kind), None)
            if kind is None or len(words) > 2:
                place = (*words, self.next)[0]
                raise self._error(f"before ':' stands one of {', '.join(KINDS)}, and an id if wanted", place)
            id = words[1].text if len(words) == 2 else None
            self.expect(":")
            words = self._words()
        while self.next.kind == ",":
            if len(words) != 1:
                place = (*words, self.next)[0]
                raise self._error("before ',' stands one entity; quote it if it has several words", place)
            subjects.append(words[0].text)
            self.expect(",")
            words = self._words()
        end = self.expect(")")
        if not words:
            raise self._error("an entity is missing", end)
        subjects.append(words.pop(0).text)
        declares = not words or (len(words) == 2 and words[0].kind == "word" and words[0].text in KEYWORDS)
        if declares and kind is None and len(subjects) == 1:
            self._declare(subjects[0], *words)
            return
        if not words:
            raise self._error("a relation is missing", end)
        object = words.pop().text if len(words) > 1 else None
        for member in (*subjects, *([] if object is None else [object])):
            self._declare(member)
        self.interactions.append((kind, id, subjects, " ".join(word.text for word in words), object))

    def _declare(self, entity: str, *declared: Token) -> None:
        """Note an entity; ``declared`` are keyword and value, where something is said of it."""
        known = self.said.setdefault(entity, {keyword: [] for keyword in KEYWORDS})
        if declared:
            keyword, value = declared
            values = known[keyword.text]
            if keyword.text != "is" and values:
                raise self._error(f"{keyword.text!r} is said twice of one entity", keyword)
            if keyword.text == "number" and not re.fullmatch("[1-9][0-9]{0,8}", value.text):
                raise self._error("a number is written in digits, from 1", value)
            values.append(value.text)

    def _words(self) -> list[Token]:
        words: list[Token] = []
        while self.next.kind in ("word", "quoted"):
            words.append(self._tokens.pop())
            if not words[-1].text.strip():
                raise self._error("a word that says nothing", words[-1])
        return words


def parse_concepts(text: str) -> ConceptGraph:
    """Read the flat notation, with the default checks; ``NotationError`` says what is wrong and where."""
    head = _HEAD.match(text)
    if head is None:
        raise NotationError("expected '(concept: PROMPT) =' first", text, 0)
    prompt = head["bare"].rstrip() if head["quoted"] is None else unquoted(head["quoted"], text, head.start("quoted"))
    reader = Reader(text, head.end())
    reader.read()
    try:
        entities = tuple(
            Entity(
                id=id,
                name=(*values["named"], _default_name(id))[0],
                attributes=tuple(values["is"]),
                count=int((*values["number"], "1")[0]),
            )
            for id, values in reader.said.items()
        )
        interactions = tuple(
            Interaction(
                id=id or _default_id(number, reader.said),
                kind=kind or _default_kind(len(subjects), relation),
                subjects=tuple(subjects),
                relation=relation,
                object=object,
            )
            for number, (kind, id, subjects, relation, object) in enumerate(reader.interactions, 1)
        )
        checks = default_checks(entities, interactions)
        return ConceptGraph(prompt=prompt, entities=entities, interactions=interactions, checks=checks)
    except ValidationError as error:
        problems = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
        raise NotationError(f"the terms do not make a graph: {problems}", text, 0) from error


def format_concepts(graph: ConceptGraph) -> str:
    """Write the flat notation; read again, its entities and interactions equal those of ``graph``."""
    declared = {e.id: list(_declarations(e)) for e in graph.entities}
    triples = [_triple(i, _default_id(n, declared)) for n, i in enumerate(graph.interactions, 1)]
    mentioned = [id for i in graph.interactions for id in i.members()]
    mentioned += [id for id, terms in declared.items() if terms]
    if list(dict.fromkeys(mentioned)) == list(declared):
        terms = [*triples, *(term for own in declared.values() for term in own)]
    else:
        terms = [*(term for id, own in declared.items() for term in own or [_word(id)]), *triples]
    bare = graph.prompt == graph.prompt.strip() and not re.search(r'[()"]', graph.prompt)
    prompt = graph.prompt if bare else quoted(graph.prompt)
    return f"(concept: {prompt}) = " + " + ".join(f"({term})" for term in terms)


def _declarations(entity: Entity) -> Iterator[str]:
    """The terms that say of an entity what its id does not."""
    if entity.name != _default_name(entity.id):
        yield f"{_word(entity.id)} named {_word(entity.name)}"
    if entity.count != 1:
        yield f"{_word(entity.id)} number {entity.count}"
    for attribute in entity.attributes:
        yield f"{_word(entity.id)} is {_word(attribute)}"


def _triple(interaction: Interaction, default_id: str) -> str:
    """The term of an interaction; kind and id only as far as they are not what a reader would assume."""
    relation, label = interaction.relation, ""
    if interaction.id != default_id:
        label = f"{interaction.kind} {_word(interaction.id)}: "
    elif interaction.kind != _default_kind(len(interaction.subjects), relation):
        label = f"{interaction.kind}: "
    subjects = ", ".join(map(_word, interaction.subjects))
    if interaction.object is None:
        return f"{label}{subjects} {_word(relation)}"
    # Plain words need no quotes before an object, unless they would be a keyword.
    plain = all(map(_PLAIN.fullmatch, relation.split(" "))) and relation not in KEYWORDS
    return f"{label}{subjects} {relation if plain else quoted(relation)} {_word(interaction.object)}"


def _word(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else quoted(text)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def unquoted(word: str, text: str, position: int) -> str:
    """What the quotes of a word hold, which stands at ``position`` of ``text``."""
    try:
        return json.loads(word, strict=False)
    except ValueError as error:
        raise NotationError("an escape that JSON does not know", text, position) from error


def _default_name(id: str) -> str:
    return id.replace("_", " ").strip() or id


def _default_kind(subjects: int, relation: str) -> InteractionKind:
    return "multi_subject" if subjects > 1 else "spatial" if SPATIAL.fullmatch(relation) else "functional"


def _default_id(number: int, entities: Collection[str]) -> str:
    """``i1``, ``i2``, ..., with underscores before it where an entity has that name."""
    id = f"i{number}"
    while id in entities:
        id = f"_{id}"
    return id
