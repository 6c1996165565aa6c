"""A schema that every server takes, and JSON out of any text."""

import contextlib
import json
from typing import Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from detailscribe.tools.language.decomposer import ConceptAnswer
from detailscribe.tools.language.structured import portable_schema, read_last, what_is_wrong, without_thoughts

TAKEN = {
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "anyOf",
    "description",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
}
"""Keywords of OpenAI's strict mode, which is the narrowest."""


class Leaf(BaseModel):
    """A part."""

    title: str = Field(default="x", max_length=9)
    kind: Literal["a", "b"] = "a"


class Tree(BaseModel):
    leaves: list[Leaf] = Field(max_length=3)
    best: Leaf | None = None


class Endless(BaseModel):
    below: Optional["Endless"] = None


def keywords(schema: object) -> set[str]:
    """Every keyword of a schema; names of fields are none."""
    if isinstance(schema, list):
        return {word for item in schema for word in keywords(item)}
    if not isinstance(schema, dict):
        return set()
    below = {k: list(v.values()) if k == "properties" else v for k, v in schema.items() if k != "enum"}
    return set(schema) | {word for value in below.values() for word in keywords(value)}


@pytest.mark.parametrize("model", [Tree, ConceptAnswer])
def test_a_strict_schema_has_the_keywords_that_strict_servers_take(model):
    assert keywords(portable_schema(model, strict=True)) <= TAKEN


def test_a_schema_that_is_not_strict_bounds_strings():
    assert keywords(portable_schema(ConceptAnswer, strict=False)) - TAKEN == {"minLength", "maxLength"}


def test_every_field_is_required_and_no_other_allowed():
    schema = portable_schema(Tree, strict=True)
    leaf = schema["properties"]["leaves"]["items"]
    assert (leaf["required"], leaf["additionalProperties"]) == (["title", "kind"], False)
    assert schema["required"] == ["leaves", "best"]
    assert schema["properties"]["best"]["anyOf"][1] == {"type": "null"}


def test_a_field_may_be_called_like_a_keyword():
    assert portable_schema(Leaf, strict=True)["properties"]["title"] == {"type": "string"}


def test_a_schema_without_end_is_refused():
    with pytest.raises(TypeError, match="Endless refers to itself"):
        portable_schema(Endless, strict=True)


def parsed(text: str) -> object:
    return read_last(text, lambda value: value)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()), st.text("ab {}[]\"'`\n"))
def test_an_object_is_found_whatever_stands_around_it(value, around):
    around = "".join(c for c in around if c not in '"{[')
    assert parsed(f"({around}) {json.dumps(value)} {around}") == value


@given(st.text("{}[]\"\\:,a1 /*'"))
def test_any_text_has_a_value_or_none(text):
    with contextlib.suppress(ValueError):
        assert isinstance(parsed(text), dict | list | set | tuple | str | int)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>a</think>b", "b"),
        ("<thinking>a\nb</thinking>\nc", "c"),
        ("a</think>b", "b"),
        ("<think>a", ""),
        ("a < b", "a < b"),
    ],
)
def test_thoughts_are_no_part_of_an_answer(text, left):
    assert without_thoughts(text) == left


def test_what_is_wrong_is_said_in_one_short_line():
    with pytest.raises(ValidationError) as error:
        Tree.model_validate({"leaves": [{"kind": "c\n"}] * 9, "best": 3})
    told = what_is_wrong(error.value)
    assert "\n" not in told
    assert told.startswith("leaves: List should have at most 3 items")
    assert what_is_wrong(ValueError("two\n lines")) == "two lines"
