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

A kind that is not named is multi_subject for several subjects, spatial for relations such as ``on``,
and functional for all else. Entities stand in the order of their first mention. The notation has
no place for checks: a parsed graph has the ``default_checks``.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple, get_args

from pydantic import ValidationError

from .concepts import ConceptGraph, Entity, Interaction, InteractionKind, default_checks

_KINDS: tuple[InteractionKind, ...] = get_args(InteractionKind)
_KEYWORDS = ("is", "named", "number")
"""Middle words of terms about one entity."""
_SPATIAL = re.compile(
    "above|behind|below|beside|in|in front of|inside|left of|near|next to|on|on top of|right of|under"
)
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PLAIN = re.compile(r'[^\s()+=:,"]+')
_TOKEN = re.compile(rf"\s*(?:(?P<quoted>{_QUOTED})|(?P<word>{_PLAIN.pattern})|(?P<mark>[()+=:,]))", re.DOTALL)
_HEAD = re.compile(rf'\s*+\(\s*+concept\s*+:\s*+(?:(?P<quoted>{_QUOTED})\s*+|(?P<bare>[^()"]++))\)', re.DOTALL)
"""Never backtracks, so that it takes linear time."""


class NotationError(ValueError):
    """A text is not in the flat notation; the message says what is wrong and where."""

    def __init__(self, problem: str, text: str, position: int) -> None:
        near = text[position : position + 20].strip()
        where = f"at character {position + 1}, near {near!r}" if near else "at the end"
        super().__init__(f"{problem}, {where}")
        self.position = position
        """Where in the text, from 0."""


class _Token(NamedTuple):
    text: str
    """Unquoted."""
    kind: str | None
    """quoted, word, or the mark itself; None at the end of the text."""
    start: int
    end: int


class _Reader:
    """Reads the terms of a text from a position on."""

    def __init__(self, text: str, position: int) -> None:
        self.entities: dict[str, dict[str, list[str]]] = {}
        """For each entity, in the order of first mention, its values by keyword."""
        self.interactions: list[tuple[InteractionKind | None, str | None, list[str], str, str | None]] = []
        """Kind and id if given, subjects, relation, object."""
        self._text, self._position = text, position
        self._expect("=")
        self._term()
        while self._next.kind is not None:
            self._expect("+")
            self._term()

    @property
    def _next(self) -> _Token:
        """The next token, which stays unread."""
        match = _TOKEN.match(self._text, self._position)
        if match is not None:
            kind = str(match.lastgroup)
            text, start, end = match[kind], *match.span(kind)
            if kind == "quoted":
                text = _unquoted(text, self._text, start)
            return _Token(text, text if kind == "mark" else kind, start, end)
        end = len(self._text)
        start = end - len(self._text[self._position :].lstrip())
        if start < end:
            raise NotationError("a quote that is never closed", self._text, start)
        return _Token("", None, end, end)

    def _expect(self, *kinds: str) -> _Token:
        """Read the next token, which must be of one of these kinds."""
        token = self._next
        if token.kind not in kinds:
            raise self._error(f"expected {kinds[0]!r}", token)
        self._position = token.end
        return token

    def _error(self, problem: str, token: _Token) -> NotationError:
        return NotationError(problem, self._text, token.start)

    def _term(self) -> None:
        self._expect("(")
        kind: InteractionKind | None = None
        id, subjects, words = None, list[str](), self._words()
        if self._next.kind == ":":
            kind = next((kind for kind in _KINDS if words and words[0].text == kind), None)
            if kind is None or len(words) > 2:
                place = (*words, self._next)[0]
                raise self._error(f"before ':' stands one of {', '.join(_KINDS)}, and an id if wanted", place)
            id = words[1].text if len(words) == 2 else None
            self._expect(":")
            words = self._words()
        while self._next.kind == ",":
            if len(words) != 1:
                place = (*words, self._next)[0]
                raise self._error("before ',' stands one entity; quote it if it has several words", place)
            subjects.append(words[0].text)
            self._expect(",")
            words = self._words()
        end = self._expect(")")
        if not words:
            raise self._error("an entity is missing", end)
        subjects.append(words.pop(0).text)
        declares = not words or (len(words) == 2 and words[0].kind == "word" and words[0].text in _KEYWORDS)
        if declares and kind is None and len(subjects) == 1:
            self._declare(subjects[0], *words)
            return
        if not words:
            raise self._error("a relation is missing", end)
        object = words.pop().text if len(words) > 1 else None
        for member in (*subjects, *([] if object is None else [object])):
            self._declare(member)
        self.interactions.append((kind, id, subjects, " ".join(word.text for word in words), object))

    def _declare(self, entity: str, *declared: _Token) -> None:
        """Add an entity, and the keyword and value that are ``declared`` of it."""
        by_keyword = self.entities.setdefault(entity, {keyword: [] for keyword in _KEYWORDS})
        if declared:
            keyword, value = declared
            values = by_keyword[keyword.text]
            if keyword.text != "is" and values:
                raise self._error(f"{keyword.text!r} is said twice of one entity", keyword)
            if keyword.text == "number" and not re.fullmatch("[1-9][0-9]{0,8}", value.text):
                raise self._error("a number is written in digits, from 1", value)
            values.append(value.text)

    def _words(self) -> list[_Token]:
        words: list[_Token] = []
        while self._next.kind in ("word", "quoted"):
            words.append(self._expect("word", "quoted"))
            if not words[-1].text.strip():
                raise self._error("a word that says nothing", words[-1])
        return words


def parse_concepts(text: str) -> ConceptGraph:
    """Read the flat notation, with the default checks; ``NotationError`` says what is wrong and where."""
    head = _HEAD.match(text)
    if head is None:
        raise NotationError("expected '(concept: PROMPT) =' first", text, 0)
    prompt = head["bare"].rstrip() if head["quoted"] is None else _unquoted(head["quoted"], text, head.start("quoted"))
    reader = _Reader(text, head.end())
    try:
        entities = tuple(
            Entity(
                id=id,
                name=(*values["named"], _default_name(id))[0],
                attributes=tuple(values["is"]),
                count=int((*values["number"], "1")[0]),
            )
            for id, values in reader.entities.items()
        )
        interactions = tuple(
            Interaction(
                id=id or _default_id(number, reader.entities),
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
    prompt = graph.prompt if bare else _quoted(graph.prompt)
    return f"(concept: {prompt}) = " + " + ".join(f"({term})" for term in terms)


def _declarations(entity: Entity) -> Iterator[str]:
    """Terms for all of an entity that does not follow from its id."""
    if entity.name != _default_name(entity.id):
        yield f"{_word(entity.id)} named {_word(entity.name)}"
    if entity.count != 1:
        yield f"{_word(entity.id)} number {entity.count}"
    for attribute in entity.attributes:
        yield f"{_word(entity.id)} is {_word(attribute)}"


def _triple(interaction: Interaction, default_id: str) -> str:
    """The term of an interaction, with kind and id unless they are the default."""
    relation, label = interaction.relation, ""
    if interaction.id != default_id:
        label = f"{interaction.kind} {_word(interaction.id)}: "
    elif interaction.kind != _default_kind(len(interaction.subjects), relation):
        label = f"{interaction.kind}: "
    subjects = ", ".join(map(_word, interaction.subjects))
    if interaction.object is None:
        return f"{label}{subjects} {_word(relation)}"
    # Plain words need no quotes before an object, unless they would be a keyword.
    plain = all(map(_PLAIN.fullmatch, relation.split(" "))) and relation not in _KEYWORDS
    return f"{label}{subjects} {relation if plain else _quoted(relation)} {_word(interaction.object)}"


def _word(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _unquoted(word: str, text: str, position: int) -> str:
    try:
        return json.loads(word, strict=False)
    except ValueError as error:
        raise NotationError("an escape that JSON does not know", text, position) from error


def _default_name(id: str) -> str:
    return id.replace("_", " ").strip() or id


def _default_kind(subjects: int, relation: str) -> InteractionKind:
    return "multi_subject" if subjects > 1 else "spatial" if _SPATIAL.fullmatch(relation) else "functional"


def _default_id(number: int, entities: Collection[str]) -> str:
    """``i1``, ``i2``, ..., with underscores before it where an entity has that name."""
    id = f"i{number}"
    while id in entities:
        id = f"_{id}"
    return id
