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

import re
from collections.abc import Collection, Iterable, Iterator

from pydantic import ValidationError

from .concepts import ConceptGraph, Entity, Interaction, InteractionKind
from .default_checks import default_checks
from .notation_terms import KEYWORDS, Term, read_terms
from .notation_tokens import QUOTED, NotationError, Token, Tokens, is_plain, quote, unquote

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

_HEAD = re.compile(rf'\s*\(\s*concept\s*:\s*(?:(?P<quoted>{QUOTED})|(?P<bare>[^()"]+?))\s*\)', re.DOTALL)


def parse_concepts(text: str) -> ConceptGraph:
    """Read the flat notation; the checks are the default ones.

    Raises:
        NotationError: it says what is wrong and where.
    """
    head = _HEAD.match(text)
    if head is None:
        raise NotationError("expected '(concept: PROMPT) =' first", text, 0)
    prompt = head["bare"] if head["quoted"] is None else unquote(head["quoted"], text, head.start("quoted"))
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
        return f"{_label(interaction, default_id)}{subjects} {_word(interaction.relation)}"
    return f"{_label(interaction, default_id)}{subjects} {_relation(interaction.relation)} {_word(interaction.object)}"


def _label(interaction: Interaction, default_id: str) -> str:
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
