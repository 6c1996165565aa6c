"""An exchange is what was said to a model, what it answered, and what that cost."""

import pytest
from pydantic import ValidationError

from detailscribe.state import Check, ConceptGraph, Entity, Exchange


@pytest.mark.parametrize("cost", [{"prompt_tokens": 1}, {"reply_tokens": 1}, {"seconds": 0.1}, {"money": 0.1}])
def test_what_comes_from_the_cache_costs_nothing(cost):
    assert not Exchange(model="m", prompt="?", reply="yes", **cost).cached
    assert Exchange(model="m", prompt="?", reply="yes", cached=True).cached
    with pytest.raises(ValidationError, match="costs nothing"):
        Exchange(model="m", prompt="?", reply="yes", cached=True, **cost)


def test_concepts_keep_what_was_asked_to_make_them():
    said = Exchange(model="m", prompt="a cat", reply="{}", prompt_tokens=3)
    cat, check = Entity(id="cat", name="cat"), Check(id="c", question="?", aspect="presence", about="cat")
    concepts = ConceptGraph(prompt="a cat", entities=(cat,), checks=(check,), exchanges=(said,))
    assert ConceptGraph.model_validate_json(concepts.model_dump_json()).exchanges == (said,)
