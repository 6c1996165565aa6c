"""Prompts that no run decomposed are decomposed for the metrics that need it, each once."""

from collections.abc import Sequence

from detailscribe.state import Entity, Exchange
from detailscribe.tools.errors import PromptError, ReplyError
from detailscribe.tools.metrics import Sample, Score
from detailscribe.tools.metrics.metric import AskingMetric, WithConcepts

from .conftest import concepts_of, noise


class Entities(AskingMetric):
    """How many entities a sample's concepts have."""

    async def rate(self, sample: Sample) -> Score:
        return Score(value=len(sample.concepts.entities))


class Splits:
    """An entity for each word; notes what it was asked."""

    model = "words"

    def __init__(self, *fails: Exception) -> None:
        self.asked: list[str] = []
        self.fails = list(fails)

    async def decompose(self, prompt: str):
        self.asked.append(prompt)
        if self.fails:
            raise self.fails.pop()
        return concepts_of(prompt, *(Entity(id=f"e{n}", name=word) for n, word in enumerate(prompt.split())))


def values(scores: Sequence[Score]) -> list[float | None]:
    return [score.value for score in scores]


async def test_the_runs_own_concepts_go_first_and_each_other_prompt_is_decomposed_once(sample):
    splits = Splits()
    metric = WithConcepts(Entities(), lambda: splits)
    own = sample(noise(1), "a cat", concepts_of("a cat", Entity(id="c", name="cat")))
    samples = [sample(noise(1), "two red foxes"), own, sample(noise(2), "two red foxes"), sample(noise(3), "a cat")]
    assert values(await metric.score_all(samples)) == [3, 1, 3, 2]
    assert values(await metric.score_all(samples)) == [3, 1, 3, 2]
    assert splits.asked == ["a cat", "two red foxes"]


async def test_no_decomposer_is_made_where_none_is_needed(sample):
    def none():
        raise AssertionError("made")

    one = sample(noise(1), "a cat", concepts_of("a cat", Entity(id="c", name="cat")))
    assert values(await WithConcepts(Entities(), none).score_all([one])) == [1]
    assert await WithConcepts(Entities(), none).score_all([]) == []


async def test_what_cannot_be_decomposed_is_missing_with_its_reason(sample):
    splits = Splits(ReplyError("no answer", reason="no answer", raw="", exchanges=()), PromptError("no such words"))
    metric = WithConcepts(Entities(), lambda: splits)
    scores = await metric.score_all([sample(noise(n), prompt) for n, prompt in enumerate(("a", "b", "c"))])
    assert values(scores) == [None, None, 1]
    assert [s.reason for s in scores][:2] == [
        "the prompt cannot be decomposed: no such words",
        "the prompt cannot be decomposed: no answer",
    ]


async def test_a_single_image_can_be_scored(sample):
    one = sample(noise(1))
    assert await WithConcepts(Entities(), Splits).score(one.image, "x y", one.store) == 2


async def test_what_decomposing_cost_is_counted_once(sample):
    asked = Exchange(model="m", prompt="p", reply="r", prompt_tokens=3)

    class Paid(Splits):
        async def decompose(self, prompt: str):
            return (await super().decompose(prompt)).model_copy(update={"exchanges": (asked,)})

    metric = WithConcepts(Entities(), Paid)
    samples = [sample(noise(n), "a red cat") for n in range(2)]
    assert [s.exchanges for s in await metric.score_all(samples)] == [(asked,), ()]
    assert [s.exchanges for s in await metric.score_all(samples)] == [(), ()]
