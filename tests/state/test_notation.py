"""The paper's flat notation is read, written, and read again as the same concepts."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detailscribe.state import ConceptGraph, Entity, Interaction, NotationError, format_concepts, parse_concepts

PAPER = "(concept: a squirrel eats) = (paw hold acorn) + (acorn rest on ground)"

KINDS = st.sampled_from(["functional", "contact", "spatial", "multi_subject"])
AWKWARD = st.sampled_from(
    ["is", "number", "named", "concept", "i1", "_i1", "a_b", "a b", "left of", "on", "(", '"', "\\"]
)
WORDS = AWKWARD | st.text(min_size=1, max_size=6).map(str.strip).filter(bool)


@st.composite
def graphs(draw) -> ConceptGraph:
    ids = draw(st.lists(WORDS, min_size=1, max_size=4, unique=True))
    entities = [
        Entity(
            id=id,
            name=draw(WORDS | st.just(id)),
            attributes=tuple(draw(st.lists(WORDS, max_size=2))),
            count=draw(st.integers(1, 12)),
        )
        for id in ids
    ]
    others = draw(st.lists(WORDS.filter(lambda w: w not in ids), max_size=4, unique=True))
    interactions = [
        Interaction(
            id=id,
            kind=draw(KINDS),
            subjects=tuple(draw(st.lists(st.sampled_from(ids), min_size=1, max_size=3, unique=True))),
            relation=draw(WORDS),
            object=draw(st.none() | st.sampled_from(ids)),
        )
        for id in others
    ]
    prompt = draw(st.text(min_size=1, max_size=30))
    return ConceptGraph(prompt=prompt, entities=tuple(entities), interactions=tuple(interactions))


def test_the_papers_own_line_is_read():
    graph = parse_concepts(PAPER)
    assert graph.prompt == "a squirrel eats"
    assert [e.name for e in graph.entities] == ["paw", "acorn", "ground"]
    assert [(i.subjects, i.relation, i.object) for i in graph.interactions] == [
        (("paw",), "hold", "acorn"),
        (("acorn",), "rest on", "ground"),
    ]


def test_the_papers_own_line_is_written():
    assert format_concepts(parse_concepts(PAPER)) == PAPER


@pytest.mark.parametrize(
    "terms",
    [
        '(a "is" b)',
        "(a is on b)",
        '(a "left of")',
        "(a left of b)",
        '("a cat" hold "(b)")',
        "(a hold b) + (b number 2) + (b is red)",
        "(b) + (a) + (a hold b)",
        "(contact: a on b)",
        "(i1 hold b)",
    ],
)
def test_terms_are_written_as_they_were_read(terms):
    text = f"(concept: x) = {terms}"
    assert format_concepts(parse_concepts(text)) == text


@given(graphs())
def test_what_is_written_is_read_again_as_the_same_concepts(graph):
    again = parse_concepts(format_concepts(graph))
    assert (again.prompt, again.entities, again.interactions) == (graph.prompt, graph.entities, graph.interactions)


@given(graphs())
def test_writing_is_stable(graph):
    text = format_concepts(graph)
    assert format_concepts(parse_concepts(text)) == text


def test_a_parsed_graph_asks_for_each_of_its_concepts():
    graph = parse_concepts(PAPER)
    assert {c.about for c in graph.checks} == {"paw", "acorn", "ground", "i1", "i2"}


@pytest.mark.parametrize(
    ("term", "entity"),
    [
        ("(leaf)", Entity(id="leaf", name="leaf")),
        ("(leaf is brown)", Entity(id="leaf", name="leaf", attributes=("brown",))),
        ('(leaf is "dark brown") + (leaf is wet)', Entity(id="leaf", name="leaf", attributes=("dark brown", "wet"))),
        ("(leaf number 3)", Entity(id="leaf", name="leaf", count=3)),
        ("(leaf_2 named leaf)", Entity(id="leaf_2", name="leaf")),
        ("(oak_leaf)", Entity(id="oak_leaf", name="oak leaf")),
        ('("oak leaf")', Entity(id="oak leaf", name="oak leaf")),
    ],
)
def test_an_entity_is_declared(term, entity):
    graph = parse_concepts(f"(concept: x) = {term}")
    assert graph.entities == (entity,)
    assert graph.interactions == ()


@pytest.mark.parametrize(
    ("term", "interaction"),
    [
        ("(a sleep)", ("functional", ("a",), "sleep", None)),
        ("(a on b)", ("spatial", ("a",), "on", "b")),
        ("(contact: a on b)", ("contact", ("a",), "on", "b")),
        ('(a, b, c "in a row")', ("multi_subject", ("a", "b", "c"), "in a row", None)),
        ("(a, b lift together c)", ("multi_subject", ("a", "b"), "lift together", "c")),
        ("(a is on b)", ("functional", ("a",), "is on", "b")),
        ('(a "is" b)', ("functional", ("a",), "is", "b")),
    ],
)
def test_an_interaction_is_read(term, interaction):
    (read,) = parse_concepts(f"(concept: x) = {term}").interactions
    assert (read.kind, read.subjects, read.relation, read.object) == interaction


def test_a_named_interaction_keeps_its_name():
    assert parse_concepts("(concept: x) = (contact grip: a hold b)").interactions[0].id == "grip"


def test_an_interaction_without_a_name_never_takes_an_entitys():
    assert [i.id for i in parse_concepts("(concept: x) = (i1 hold _i1) + (i1 on b)").interactions] == ["__i1", "i2"]


def test_blanks_and_line_breaks_do_not_matter():
    spread = "\n ( concept :  a squirrel eats )=(paw hold acorn)\n  +\n( acorn  rest   on ground )\n"
    assert parse_concepts(spread) == parse_concepts(PAPER)


@pytest.mark.parametrize(
    ("text", "problem", "position"),
    [
        ("", "expected '\\(concept", 0),
        ("(paw hold acorn)", "expected '\\(concept", 0),
        ("(concept: x) (a b c)", "expected '='", 13),
        ("(concept: x) =", "expected '\\('", 14),
        ("(concept: x) = (a b c", "expected '\\)'", 21),
        ("(concept: x) = (a b c) (d e f)", "expected '\\+'", 23),
        ("(concept: x) = (a b c) +", "expected '\\('", 24),
        ("(concept: x) = (a b (c))", "expected '\\)'", 20),
        ("(concept: x) = ()", "an entity is missing", 16),
        ("(concept: x) = (a, b)", "a relation is missing", 20),
        ("(concept: x) = (contact: a)", "a relation is missing", 26),
        ("(concept: x) = (a b, c d)", "before ','", 16),
        ("(concept: x) = (cause: a b c)", "before ':'", 16),
        ("(concept: x) = (: a b c)", "before ':'", 16),
        ('(concept: x) = (a "b c)', "never closed", 18),
        ('(concept: x) = (a "\\q" c)', "JSON", 18),
        ('(concept: x) = (a "" c)', "says nothing", 18),
        ("(concept: x) = (a number many)", "digits", 25),
        ("(concept: x) = (a number 0)", "digits", 25),
        ("(concept: x) = (a number 2) + (a number 3)", "said twice", 33),
    ],
)
def test_an_error_says_what_is_wrong_and_where(text, problem, position):
    with pytest.raises(NotationError, match=problem) as caught:
        parse_concepts(text)
    assert caught.value.position == position


@pytest.mark.parametrize(
    "terms", ["(a, a lift b)", "(contact a: a hold b)", "(contact h: a on b) + (contact h: b on a)"]
)
def test_terms_that_make_no_graph_are_a_notation_error(terms):
    with pytest.raises(NotationError, match="do not make a graph"):
        parse_concepts(f"(concept: x) = {terms}")


@given(st.text(alphabet='(concept:) =+ab,"\\ isnumber1', max_size=40).map(lambda rest: f"(concept: x) = {rest}"))
def test_whatever_the_text_the_error_is_a_notation_error(text):
    with suppress(NotationError):
        parse_concepts(text)
