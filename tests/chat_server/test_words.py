"""What the server says to metrics and to the builder of prompts; it does so over the wire, schema or none."""

import asyncio

import pytest

from detailscribe.tools.data.builder import Builder, what_is_wrong
from detailscribe.tools.files import Store
from detailscribe.tools.language.demo_server import sentence
from detailscribe.tools.metrics import Sample
from detailscribe.tools.metrics.asking import Rubric, VqaScore
from detailscribe.tools.metrics.local import BlipVqa

from ..agent.fakes import record
from .clients import chat
from .pictures import PROMPT, picture

IMAGE = record("00-00")


@pytest.fixture
def sample(tmp_path):
    def put(name: str, data: bytes, prompt: str = PROMPT) -> Sample:
        store = Store(tmp_path / name)
        store.write(IMAGE.path, data)
        return Sample(IMAGE, prompt, store)

    return put


@pytest.mark.parametrize("scenario", ["functional", "compositional", "multi_subject"])
async def test_a_builder_gets_as_many_prompts_as_it_asks_for(server, scenario):
    builder = Builder(chat(server), scenario)
    built = [record async for record in builder.build(25)]
    assert len({one.prompt for one in built}) == 25
    assert not any(what_is_wrong(one.prompt) for one in built)


def test_a_sentence_names_who_acts_and_what_is_made_up():
    assert sentence("cat and otter, sharing a blanket") == "A cat and an otter are sharing a blanket."
    assert sentence("a spiral made of seashells") == "Seashells form a spiral."


@pytest.mark.parametrize("cannot", [(), ("schemas", "json_mode")])
async def test_a_picture_that_lacks_something_is_rated_lower(server, sample, cannot):
    for ability in cannot:
        setattr(server.can, ability, False)
    right, wrong = sample("right", picture()), sample("wrong", picture(without="umbrella"))
    for metric in (Rubric(chat(server), "interactions"), VqaScore(chat(server))):
        better, worse = (score.value for score in await metric.score_all([right, wrong]))
        assert worse < better


async def test_a_prompt_from_elsewhere_is_refused_and_so_missing(server, sample):
    foreign = sample("right", picture(), "a xylophone")
    for metric in (Rubric(chat(server), "layout"), VqaScore(chat(server))):
        [score] = await metric.score_all([foreign])
        assert score.value is None
    assert isinstance(await BlipVqa(chat=chat(server)).phrases(foreign), str)


async def test_noun_phrases_are_those_of_the_prompt(server, sample):
    found = await asyncio.gather(*(BlipVqa(chat=chat(server)).phrases(sample("right", picture())) for _ in range(2)))
    assert found[0] == found[1]
    assert "a red umbrella" in found[0]
