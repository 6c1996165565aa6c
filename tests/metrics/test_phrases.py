from detailscribe.prompts import noun_phrases
from detailscribe.state import Entity
from detailscribe.tools.errors import ReplyError
from detailscribe.tools.metrics import Sample
from detailscribe.tools.metrics.local import MOST, BlipVqa

from ..vision.fakes import FakeChat, no_reply
from .conftest import concepts_of


def test_entities_are_named_with_article_number_and_attributes():
    entities = (
        Entity(id="u", name="umbrella"),
        Entity(id="c", name="cat", attributes=("red", "old")),
        Entity(id="o", name="cat", attributes=("orange",)),
        Entity(id="f", name="fox", count=2),
    )
    found = noun_phrases(concepts_of("x", *entities, scene="in the snow"))
    assert found == ("an umbrella", "a red old cat", "an orange cat", "two foxes", "the snow")


async def test_at_most_eight_are_asked_for(store):
    many = concepts_of("x", *(Entity(id=f"e{n}", name=f"thing {n}") for n in range(12)))
    found = await BlipVqa().phrases(Sample(None, "x", store, many))
    assert len(found) == MOST == 8


async def test_a_chat_model_names_those_of_a_prompt(store):
    chat = FakeChat(lambda question: {"phrases": ["a  cat", "a mast", "a cat", *(f"thing {n}" for n in range(9))]})
    found = await BlipVqa(chat=chat).phrases(Sample(None, "A cat sails.", store))
    assert found == ("a cat", "a mast", *(f"thing {n}" for n in range(6)))
    assert "<prompt>\nA cat sails.\n</prompt>" in chat.questions[0].text


async def test_a_reply_that_cannot_be_read_is_a_reason(store):
    chat = FakeChat(no_reply)
    found = await BlipVqa(chat=chat).phrases(Sample(None, "A cat sails.", store))
    assert found == "no noun phrases: timed out after 120 s"
    assert issubclass(ReplyError, Exception)
