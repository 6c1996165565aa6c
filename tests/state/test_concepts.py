"""No concept graph with a hole, a double or a circle can be built."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from detailscribe.state import Check, ConceptGraph, Entity, Interaction

CAT = Entity(id="cat", name="cat")
BOX = Entity(id="box", name="box")
SITS = Interaction(id="sits", kind="spatial", subjects=("cat",), relation="in", object="box")


def graph(*checks: Check, entities=(CAT, BOX), interactions=(SITS,)) -> ConceptGraph:
    return ConceptGraph(prompt="a cat in a box", entities=entities, interactions=interactions, checks=checks)


def check(id: str, *depends_on: str) -> Check:
    return Check(id=id, question="?", aspect="presence", about="cat", depends_on=depends_on)


def has_circle(edges: dict[str, set[str]]) -> bool:
    """Whether walking from some node along its edges comes back to it; by exhaustion."""
    for start in edges:
        reached, frontier = set(), set(edges[start])
        while frontier:
            reached |= frontier
            frontier = {b for a in frontier for b in edges[a]} - reached
        if start in reached:
            return True
    return False


@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.sets(st.integers(0, n - 1)), min_size=n, max_size=n)))
def test_checks_build_a_graph_exactly_when_no_circle_is_among_them(edges):
    named = {str(i): {str(j) for j in targets} for i, targets in enumerate(edges)}
    checks = [check(id, *sorted(parents)) for id, parents in named.items()]
    if has_circle(named):
        with pytest.raises(ValidationError, match="circle"):
            graph(*checks)
    else:
        order = [c.id for c in graph(*checks).checks_in_order()]
        assert sorted(order) == sorted(named)
        assert all(order.index(parent) < order.index(id) for id, parents in named.items() for parent in parents)


@given(st.lists(st.sampled_from("abc"), max_size=3), st.sets(st.sampled_from("abcd"), max_size=2))
def test_an_interaction_never_dangles(known, used):
    entities = (CAT, *(Entity(id=id, name=id) for id in dict.fromkeys(known)))
    interaction = Interaction(id="i", kind="contact", subjects=("cat", *sorted(used)), relation="touch")
    if used <= set(known):
        assert graph(entities=entities, interactions=(interaction,)).interaction("i") == interaction
    else:
        with pytest.raises(ValidationError, match="refers to what does not exist"):
            graph(entities=entities, interactions=(interaction,))


def test_a_check_depends_only_on_checks_of_its_graph():
    with pytest.raises(ValidationError, match="does not exist: gone"):
        graph(check("a", "gone"))


@pytest.mark.parametrize("entities", [(CAT, CAT), (CAT, BOX, Entity(id="sits", name="seat"))])
def test_an_id_is_used_once_among_entities_and_interactions(entities):
    with pytest.raises(ValidationError, match="used twice"):
        graph(entities=entities)


def test_a_check_id_is_used_once():
    with pytest.raises(ValidationError, match="used twice: a"):
        graph(check("a"), check("a"))


def test_a_subject_takes_part_once():
    with pytest.raises(ValidationError, match="used twice: cat"):
        Interaction(id="i", kind="multi_subject", subjects=("cat", "cat"), relation="lift", object="box")


@pytest.mark.parametrize(
    ("aspect", "about"),
    [
        ("presence", "sits"),
        ("attribute", None),
        ("count", "nobody"),
        ("relation", "cat"),
        ("scene", "cat"),
        ("nothing_else", "sits"),
    ],
)
def test_a_check_is_about_what_its_aspect_can_be_asked_of(aspect, about):
    with pytest.raises(ValidationError, match=f"asks for the {aspect}"):
        graph(Check(id="c", question="?", aspect=aspect, about=about))


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_an_entity_has_a_name(blank):
    with pytest.raises(ValidationError):
        Entity(id="cat", name=blank)
    with pytest.raises(ValidationError):
        Entity(id="cat", name="cat", attributes=(blank,))


def test_a_graph_needs_an_entity():
    with pytest.raises(ValidationError):
        graph(entities=(), interactions=())


def test_a_misspelt_field_is_an_error():
    with pytest.raises(ValidationError, match="colour"):
        Entity(id="cat", name="cat", colour="red")


def test_what_is_not_there_is_a_key_error_that_names_it():
    for look_up in (graph().entity, graph().interaction, graph().check):
        with pytest.raises(KeyError, match="dog"):
            look_up("dog")


def test_a_graph_survives_json():
    whole = graph(check("a"), check("b", "a"))
    assert ConceptGraph.model_validate_json(whole.model_dump_json()) == whole
