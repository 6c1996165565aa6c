"""Images that lead together are compared pair by pair, within the budget, and the answer is recorded."""

from dataclasses import dataclass, field

import pytest

from detailscribe.agent import BestOfN, arun, read_events
from detailscribe.state import Budget, Comparison, Exchange, pair_name

from .fakes import ScriptedCritic, population, record, roles

IMAGES = [record(f"00-0{n}") for n in range(3)]


@dataclass
class ComparingCritic(ScriptedCritic):
    """Prefers images in the order of a ranking; what is not ranked is equal."""

    ranking: str = ""
    asked: list = field(default_factory=list)

    async def compare(self, first, second, concepts, store):
        self.asked.append((first.id, second.id))
        ranked = [id for id in self.ranking.split() if id in (first.id, second.id)]
        exchange = Exchange(model="m", prompt="p", reply="r", prompt_tokens=10)
        return Comparison(
            first=first.id,
            second=second.id,
            better=ranked[0] if len(ranked) == 2 else None,
            reason="as ranked",
            exchanges=(exchange,),
        )


async def best(critic, folder, n=4, **given):
    chosen = roles({}, critic=critic)
    return await arun("a cat", policy=BestOfN(n=n), out=folder / "run", **chosen, **given)


async def test_the_winner_of_the_comparisons_is_the_best_image(tmp_path):
    critic = ComparingCritic({"00-01": "red"}, ranking="00-02 00-03 00-00")
    run = await best(critic, tmp_path)
    assert critic.asked == [("00-00", "00-02"), ("00-02", "00-03")]
    assert (run.best.record.id, run.stop) == ("00-02", "best_of_n")
    assert [(c.first, c.second, c.better) for c in run.result.comparisons] == [
        ("00-00", "00-02", "00-02"),
        ("00-02", "00-03", "00-02"),
    ]
    assert (run.spend.critic_calls, run.spend.tokens) == (6, 20)
    traced = [event.comparison for event in read_events(tmp_path / "run" / "events.jsonl") if event.type == "compared"]
    assert traced == list(run.result.comparisons)


async def test_of_equals_the_earliest_stays(tmp_path):
    assert (await best(ComparingCritic({}), tmp_path)).best.record.id == "00-00"


async def test_only_four_are_compared(tmp_path):
    critic = ComparingCritic({})
    await best(critic, tmp_path, n=9)
    assert len(critic.asked) == 3


@pytest.mark.parametrize("script", [{f"00-0{n}": "red" for n in (1, 2, 3)}, {"00-00": "red", "00-01": "cat alone"}])
async def test_nothing_is_asked_where_one_image_leads(tmp_path, script):
    critic = ComparingCritic(script if len(script) > 2 else {**script, "00-03": "red"})
    await best(critic, tmp_path)
    assert critic.asked == []


async def test_nothing_is_asked_beyond_the_budget(tmp_path):
    critic = ComparingCritic({}, ranking="00-03 00-02 00-01 00-00")
    run = await best(critic, tmp_path, budget=Budget(critic_calls=5))
    assert critic.asked == [("00-00", "00-01")]
    assert (run.best.record.id, run.spend.critic_calls) == ("00-01", 5)


async def test_a_critic_that_cannot_compare_is_not_asked(tmp_path):
    run = await best(ScriptedCritic({}), tmp_path)
    assert (run.best.record.id, run.result.comparisons) == ("00-00", ())


def test_a_comparison_of_images_that_do_not_lead_decides_nothing():
    lost = Comparison(first="00-00", second="00-01", better="00-01", reason="x")
    people = population(IMAGES, {"00-01": "red"}).model_copy(update={"comparisons": {pair_name(*IMAGES[:2]): lost}})
    assert people.best().id == "00-00"
    assert [i.id for i in people.leaders()] == ["00-00", "00-02"]
