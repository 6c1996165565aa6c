"""Numbers and nouns agree, and lists read as people write them."""

import pytest

from detailscribe.prompts import counted, listed, plural


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("cat", "cats"),
        ("fox", "foxes"),
        ("box", "boxes"),
        ("bench", "benches"),
        ("pony", "ponies"),
        ("toy", "toys"),
        ("mouse", "mice"),
        ("sheep", "sheep"),
        ("oak leaf", "oak leaves"),
    ],
)
def test_a_noun_has_a_plural(noun, many):
    assert plural(noun) == many


@pytest.mark.parametrize(
    ("count", "phrase"), [(0, "no foxes"), (1, "one fox"), (2, "two foxes"), (10, "ten foxes"), (11, "11 foxes")]
)
def test_number_and_noun_agree(count, phrase):
    assert counted(count, "fox") == phrase


@pytest.mark.parametrize(
    ("phrases", "text"),
    [([], ""), (["fox"], "fox"), (["fox", "bear"], "fox and bear"), (["a", "b", "c"], "a, b and c")],
)
def test_phrases_are_listed(phrases, text):
    assert listed(phrases) == text
