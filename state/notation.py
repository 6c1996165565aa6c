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

A kind that is not named is multi_subject for several subjects, spatial for ``SPATIAL_RELATIONS``,
and functional for all else. Entities stand in the order of their first mention. The notation has
no place for checks: a parsed graph has the ``default_checks``.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, get_args

from pydantic import ValidationError

from .concepts import ConceptGraph, Entity, Interaction, InteractionKind, default_checks

QUOTED = r'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(rf'\s*(?:(?P<quoted>{QUOTED})|(?P<word>[^\s()+=:,"]+)|(?P<mark>[()+=:,]))', re.DOTALL)
_PLAIN = re.compile(r'[^\s()+=:,"]+')


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
    """quoted, word or mark; None at the end of the text."""
    position: int
    """Where it starts, from 0."""

    @property
    def is_word(self) -> bool:
        """Whether it is a word, quoted or not."""
        return self.kind in ("word", "quoted")

    def is_mark(self, mark: str) -> bool:
        """Whether it is this mark, and not a quoted one."""
        return self.kind == "mark" and self.text == mark

    def is_keyword(self, words: Collection[str]) -> bool:
        """Whether it is one of these words, and not a quoted one."""
        return self.kind == "word" and self.text in words


def is_plain(text: str) -> bool:
    """Whether a word needs no quotes."""
    return _PLAIN.fullmatch(text) is not None


def quote(text: str) -> str:
    """One quoted word."""
    return json.dumps(text, ensure_ascii=False)


def unquote(quoted: str, text: str, position: int) -> str:
    """What the quotes hold; they stand at ``position`` of ``text``."""
    try:
        return json.loads(quoted, strict=False)
    except ValueError as error:
        raise NotationError("an escape that JSON does not know", text, position) from error


class Tokens:
    """The tokens of a text from a position on."""

    def __init__(self, text: str, position: int) -> None:
        self._text = text
        self._position = position

    def peek(self) -> Token:
        """The next token, left in place."""
        return self._scan()[0]

    def take(self) -> Token:
        """The next token."""
        token, self._position = self._scan()
        return token

    def expect(self, mark: str) -> None:
        """Pass over the next token, which must be this mark."""
        token = self.take()
        if not token.is_mark(mark):
            raise self.error(f"expected {mark!r}", token)

    def error(self, problem: str, token: Token) -> NotationError:
        """An error at a token's place."""
        return NotationError(problem, self._text, token.position)

    def _scan(self) -> tuple[Token, int]:
        match = _TOKEN.match(self._text, self._position)
        if match is None:
            return self._end()
        kind = str(match.lastgroup)
        start = match.start(kind)
        word = unquote(match[kind], self._text, start) if kind == "quoted" else match[kind]
        return Token(word, kind, start), match.end()

    def _end(self) -> tuple[Token, int]:
        rest = self._text[self._position :].lstrip()
        start = len(self._text) - len(rest)
        if rest:
            raise NotationError("a quote that is never closed", self._text, start)
        return Token("", None, start), start


KINDS: tuple[InteractionKind, ...] = get_args(InteractionKind)
KEYWORDS = ("is", "named", "number")
"""Middle words of three that say something of one entity."""


class Term(NamedTuple):
    """The parts of one term."""

    kind: InteractionKind | None
    """Where it is named."""
    id: str | None
    """Where it is named."""
    subjects: list[Token]
    """At least one."""
    words: list[Token]
    """What follows the subjects."""

    @property
    def is_about_one_entity(self) -> bool:
        """Whether it is no interaction."""
        if self.kind is not None or len(self.subjects) > 1:
            return False
        return not self.words or (len(self.words) == 2 and self.words[0].is_keyword(KEYWORDS))

    @property
    def relation(self) -> str:
        """Of an interaction."""
        return " ".join(w.text for w in self.words[:-1] or self.words)

    @property
    def object(self) -> Token | None:
        """Of an interaction that has one."""
        return self.words[-1] if len(self.words) > 1 else None

    def members(self) -> list[Token]:
        """Every entity that is mentioned."""
        alone = self.is_about_one_entity or self.object is None
        return self.subjects if alone else [*self.subjects, *self.words[-1:]]


def read_terms(tokens: Tokens) -> list[Term]:
    """``term + term + ...`` up to the end of the text."""
    terms = [_read_term(tokens)]
    while tokens.peek().kind is not None:
        tokens.expect("+")
        terms.append(_read_term(tokens))
    return terms


def _read_term(tokens: Tokens) -> Term:
    tokens.expect("(")
    words = _read_words(tokens)
    kind: InteractionKind | None = None
    id: str | None = None
    if tokens.peek().is_mark(":"):
        kind, id = _label(words, tokens)
        tokens.take()
        words = _read_words(tokens)
    subjects: list[Token] = []
    while tokens.peek().is_mark(","):
        subjects.append(_only(words, tokens))
        tokens.take()
        words = _read_words(tokens)
    end = tokens.peek()
    tokens.expect(")")
    if not words:
        raise tokens.error("an entity is missing", end)
    term = Term(kind, id, [*subjects, words[0]], words[1:])
    if not term.words and not term.is_about_one_entity:
        raise tokens.error("a relation is missing", end)
    return term


def _read_words(tokens: Tokens) -> list[Token]:
    words: list[Token] = []
    while tokens.peek().is_word:
        words.append(tokens.take())
        if not words[-1].text.strip():
            raise tokens.error("a word that says nothing", words[-1])
    return words


def _label(words: list[Token], tokens: Tokens) -> tuple[InteractionKind, str | None]:
    for kind in KINDS:
        if len(words) in (1, 2) and words[0].text == kind:
            return kind, words[1].text if len(words) == 2 else None
    place = words[0] if words else tokens.peek()
    raise tokens.error(f"before ':' stands one of {', '.join(KINDS)}, and an id if wanted", place)


def _only(words: list[Token], tokens: Tokens) -> Token:
    if len(words) != 1:
        raise tokens.error("before ',' stands one entity; quote it if it has several words", (*words, tokens.peek())[0])
    return words[0]


SPATIAL_RELATIONS = frozenset(
    {
        "above",
        "behind",
        "below",
        "beside",
        "in",
        "in front of",
        "inside",
        "left of",
        "near",
        "next to",
        "on",
        "on top of",
        "right of",
        "under",
    }
)
"""Relations that are spatial unless another kind is named."""

_HEAD = re.compile(rf'\s*+\(\s*+concept\s*+:\s*+(?:(?P<quoted>{QUOTED})\s*+|(?P<bare>[^()"]++))\)', re.DOTALL)
"""Nothing in it is matched in two ways, so that a long text takes no longer than its length."""


def parse_concepts(text: str) -> ConceptGraph:
    """Read the flat notation; the checks are the default ones.

    Raises:
        NotationError: it says what is wrong and where.
    """
    head = _HEAD.match(text)
    if head is None:
        raise NotationError("expected '(concept: PROMPT) =' first", text, 0)
    prompt = head["bare"].rstrip() if head["quoted"] is None else unquote(head["quoted"], text, head.start("quoted"))
    tokens = Tokens(text, head.end())
    tokens.expect("=")
    terms = read_terms(tokens)
    try:
        entities = tuple(_entities(terms, tokens))
        interactions = tuple(_interactions(terms, {e.id for e in entities}))
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
    prompt = graph.prompt if bare else quote(graph.prompt)
    return f"(concept: {prompt}) = " + " + ".join(f"({term})" for term in terms)


def _entities(terms: Iterable[Term], tokens: Tokens) -> Iterator[Entity]:
    """Entities in the order of their first mention, with all that is said of them."""
    said: dict[str, dict[str, list[str]]] = {}
    for term in terms:
        for member in term.members():
            said.setdefault(member.text, {keyword: [] for keyword in KEYWORDS})
        if term.is_about_one_entity and term.words:
            keyword, value = term.words
            values = said[term.subjects[0].text][keyword.text]
            _require_sayable(keyword, value, values, tokens)
            values.append(value.text)
    for id, values in said.items():
        name = values["named"][0] if values["named"] else _default_name(id)
        count = int(values["number"][0]) if values["number"] else 1
        yield Entity(id=id, name=name, attributes=tuple(values["is"]), count=count)


def _require_sayable(keyword: Token, value: Token, said: Collection[str], tokens: Tokens) -> None:
    if keyword.text != "is" and said:
        raise tokens.error(f"{keyword.text!r} is said twice of one entity", keyword)
    if keyword.text == "number" and not re.fullmatch("[1-9][0-9]{0,8}", value.text):
        raise tokens.error("a number is written in digits, from 1", value)


def _interactions(terms: Iterable[Term], entities: Collection[str]) -> Iterator[Interaction]:
    for number, term in enumerate((t for t in terms if not t.is_about_one_entity), 1):
        yield Interaction(
            id=term.id or _default_id(number, entities),
            kind=term.kind or _default_kind(len(term.subjects), term.relation),
            subjects=tuple(s.text for s in term.subjects),
            relation=term.relation,
            object=None if term.object is None else term.object.text,
        )


def _declarations(entity: Entity) -> Iterator[str]:
    """The terms that say of an entity what its id does not."""
    if entity.name != _default_name(entity.id):
        yield f"{_word(entity.id)} named {_word(entity.name)}"
    if entity.count != 1:
        yield f"{_word(entity.id)} number {entity.count}"
    for attribute in entity.attributes:
        yield f"{_word(entity.id)} is {_word(attribute)}"


def _triple(interaction: Interaction, default_id: str) -> str:
    subjects = ", ".join(_word(id) for id in interaction.subjects)
    if interaction.object is None:
        return f"{_kind_and_id(interaction, default_id)}{subjects} {_word(interaction.relation)}"
    relation = _relation(interaction.relation)
    return f"{_kind_and_id(interaction, default_id)}{subjects} {relation} {_word(interaction.object)}"


def _kind_and_id(interaction: Interaction, default_id: str) -> str:
    """Kind and id, as far as they are not what a reader would assume."""
    if interaction.id != default_id:
        return f"{interaction.kind} {_word(interaction.id)}: "
    assumed = _default_kind(len(interaction.subjects), interaction.relation)
    return "" if interaction.kind == assumed else f"{interaction.kind}: "


def _relation(relation: str) -> str:
    """A relation before an object: plain words need no quotes, unless they would be a keyword."""
    plain = all(is_plain(word) for word in relation.split(" ")) and relation not in KEYWORDS
    return relation if plain else quote(relation)


def _word(text: str) -> str:
    return text if is_plain(text) else quote(text)


def _default_name(id: str) -> str:
    return id.replace("_", " ").strip() or id


def _default_kind(subjects: int, relation: str) -> InteractionKind:
    if subjects > 1:
        return "multi_subject"
    return "spatial" if relation in SPATIAL_RELATIONS else "functional"


def _default_id(number: int, entities: Collection[str]) -> str:
    """``i1``, ``i2``, ..., with underscores before it where an entity has that name."""
    id = f"i{number}"
    while id in entities:
        id = f"_{id}"
    return id
