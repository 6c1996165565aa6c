"""A chat model decides between rounds; its answer is recorded, so that the judge needs no model."""

from dataclasses import dataclass, field

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from detailscribe.agent import arun, build_graph, decide, read_events
from detailscribe.agent.graph.context import population_of
from detailscribe.agent.policies import ChatJudge, resolve_policy
from detailscribe.state import Advice, Budget, Choice, Exchange
from detailscribe.tools.errors import ModelError, ReplyError, SettingsError
from detailscribe.tools.language.question import Reply

from .fakes import PROMPT, context, population, record, roles

EXCHANGE = Exchange(model="chat", prompt="q", reply="a", prompt_tokens=100, reply_tokens=20)


@dataclass
class FakeChat:
    """Answers each question with the next list of decisions; a text among them is a failure's reason."""

    answers: list
    asked: list = field(default_factory=list)

    async def ask(self, question, answer):
        self.asked.append(question)
        said = self.answers.pop(0)
        if isinstance(said, str):
            raise ReplyError(said, reason=said, raw="", exchanges=(EXCHANGE,))
        return Reply(answer.model_validate({"decisions": said}), (EXCHANGE,))


def says(image, action, strength="light", reason="because"):
    return {"reason": reason, "image": image, "action": action, "strength": strength}


async def run_with(chat, script, folder, **given):
    policy = ChatJudge(images=2, chat=chat)
    return await arun("a cat holding a red umbrella", policy=policy, out=folder / "run", **roles(script), **given)


async def test_the_models_answer_becomes_decisions_and_is_recorded(tmp_path):
    chat = FakeChat([[says("00-00", "stop"), says("00-01", "refine", "strong")], [says("01-00", "redraw")]])
    run = await run_with(chat, {"00-00": "cat alone", "00-01": "red", "01-00": "red holding"}, tmp_path)
    assert {d.image: (d.action, d.rule, *(a.start_step for a in d.attempts)) for d in run.decisions} == {
        "00-00": ("stop", "another_passes"),
        "00-01": ("refine", "advised_refine", 2),
        "01-00": ("reseed", "advised_reseed", 0),
        "02-00": ("stop", "all_pass"),
    }
    assert [[c.action for c in a.choices] for a in run.result.advice] == [["refine", "stop"], ["reseed"], []]
    assert run.result.advice[2].silence == "nothing is left to decide"
    assert run.spend.tokens == 240
    traced = [event.advice for event in read_events(tmp_path / "run" / "events.jsonl") if event.type == "advised"]
    assert traced == list(run.result.advice)


async def test_the_model_reads_what_was_done_found_and_left(tmp_path):
    chat = FakeChat([[says("00-01", "refine"), says("00-00", "stop")], [says("01-00", "stop"), says("00-00", "stop")]])
    await run_with(
        chat, {"00-00": "cat alone", "00-01": "red", "01-00": "red holding"}, tmp_path, budget=Budget(images=9)
    )
    second = chat.asked[1]
    assert second.name == "decision"
    assert f"<prompt>\n{PROMPT}\n</prompt>" in second.text
    assert "<waiting>\n01-00\n00-00\n</waiting>" in second.text
    assert "00-01 (first drawing): 4 of 5 checks pass; fails red; decided: refine, because" in second.text
    assert "01-00 (refined from 00-01 at step 4 of 28): 3 of 5 checks pass; fails red, holding" in second.text
    assert "Left in the budget: 5 rounds, 6 images." in second.text
    assert second.template.startswith("decision_system@")


async def test_recorded_advice_is_judged_again_without_asking(tmp_path):
    chat = FakeChat([[says("00-00", "refine"), says("00-01", "stop")], [says("01-00", "stop"), says("00-01", "stop")]])
    chosen = context(tmp_path, ChatJudge(chat=chat), lambda image: "red")
    graph, config = build_graph(InMemorySaver()), {"configurable": {"thread_id": "t"}}
    final = await graph.ainvoke({"prompt": PROMPT, "seed": 7}, config, context=chosen)
    assert len(chat.asked) == 2
    histories = [s.values async for s in graph.aget_state_history(config) if s.next and s.values.get("critiques")]
    for state in histories:
        if len(state["critiques"]) == len(state["images"]):
            for decision in decide(population_of(state, chosen.budget), ChatJudge()):
                if decision.action != "stop":
                    assert decision == final["decisions"][decision.image]
    assert len(chat.asked) == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("truncated", "no answer: truncated"),
        ([], "the reply decides about none of the images that wait"),
        ([says("99-99", "refine")], "the reply decides about none of the images that wait"),
    ],
    ids=["failed", "empty", "about a stranger"],
)
async def test_where_no_usable_answer_comes_nothing_is_made_up(tmp_path, answer, reason):
    run = await run_with(FakeChat([answer]), {"00-00": "red", "00-01": "red"}, tmp_path)
    assert {(d.rule, d.reason) for d in run.decisions} == {("no_advice", reason)}
    assert run.spend.tokens == 120


async def test_a_chat_model_that_cannot_be_used_does_not_end_the_run(tmp_path):
    class Down(FakeChat):
        async def ask(self, question, answer):
            raise ModelError("the server is down")

    run = await run_with(Down([]), {"00-00": "red", "00-01": "red"}, tmp_path)
    assert {(d.rule, d.reason) for d in run.decisions} == {("no_advice", "no answer: the server is down")}


async def test_the_model_cannot_repeat_itself_nor_exceed_the_budget(tmp_path):
    chat = FakeChat([[says(f"0{n}-00", "refine")] for n in range(9)])
    run = await arun(
        "a cat",
        policy=ChatJudge(images=1, chat=chat),
        out=tmp_path / "r",
        budget=Budget(images=4),
        **roles(lambda i: "red"),
    )
    assert [d.rule for d in run.decisions] == ["advised_refine"] * 3 + ["no_advice"]
    assert len(chat.asked) == 3


async def test_a_right_drawing_needs_no_advice(tmp_path):
    chat = FakeChat([])
    assert (await run_with(chat, {"00-00": "red"}, tmp_path)).stop == "all_pass"
    assert chat.asked == []


async def test_without_a_chat_model_it_says_what_to_do(tmp_path):
    with pytest.raises(SettingsError, match="--chat-model"):
        await run_with(None, {}, tmp_path)


def test_of_two_answers_about_an_image_the_first_counts_and_the_others_are_stopped():
    advice = Advice(round=0, choices=(Choice(image="00-01", action="stop", reason="enough"),))
    people = population([record("00-00"), record("00-01")], {"00-00": "red", "00-01": "red"})
    people = people.model_copy(update={"advice": {"0": advice}})
    assert {d.image: (d.rule, d.reason) for d in ChatJudge().judge(people)} == {
        "00-00": ("no_advice", "the reply does not name this image"),
        "00-01": ("advised_stop", "enough"),
    }


def test_it_is_found_by_name_and_its_repr_holds_no_model():
    assert repr(resolve_policy("chat_judge", chat=FakeChat([]))) == repr(resolve_policy("chat_judge"))
