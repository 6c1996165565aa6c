"""What small models reply in place of the asked form: read where there is no doubt, else asked once more."""

import json

import pytest

from detailscribe.tools.errors import ReplyError
from detailscribe.tools.vision.critic import ChatCritic
from detailscribe.tools.vision.wrapping import ungated

from .fakes import FakeChat, answers, concepts, exchange, listed, no_reply

IDS = ["place", "red", "umbrella", "holding", "cat"]
SAID = answers(**dict.fromkeys(IDS, "yes"))["answers"]


def each(**change):
    return {"answers": [entry | {key: made(entry) for key, made in change.items()} for entry in SAID]}


PLAIN = {
    "bold": each(answer=lambda a: "**Yes**"),
    "a full stop": each(answer=lambda a: "Yes."),
    "with a reason": each(answer=lambda a: "yes, because the umbrella is red"),
    "a reason in brackets": each(answer=lambda a: "**Yes** (clearly visible)"),
    "a dash": each(answer=lambda a: "Yes - clearly"),
    "a boolean": each(answer=lambda a: True),
    "a number": each(answer=lambda a: 1),
    "another language": each(answer=lambda a: "是"),
    "no evidence": each(evidence=lambda a: None),
    "a list alone": SAID,
    "by id": {a["check"]: a["answer"] for a in SAID},
    "answers by id": {"answers": {a["check"]: {"evidence": "", "answer": "yes"} for a in SAID}},
    "nested": {"answers": [SAID]},
    "in an envelope": {"response": {"answers": SAID}},
    "capitals": each(check=lambda a: a["check"].title()),
    "a colon": each(check=lambda a: a["check"] + ":"),
    "brackets": each(check=lambda a: f"[{a['check']}]"),
    "numbers": {"answers": [a | {"check": f"{n}. {a['check']}"} for n, a in enumerate(SAID, 1)]},
    "bold ids": each(check=lambda a: f"**{a['check']}**"),
    "questions": each(check=lambda a: next(c.question for c in concepts().checks if c.id == a["check"])),
    "more than the schema allows": {"answers": [*(a | {"check": f"extra {n}"} for n, a in enumerate(SAID * 8)), *SAID]},
}


@pytest.mark.parametrize("shape", PLAIN)
async def test_what_is_said_without_a_doubt_is_read(image, store, shape):
    chat = FakeChat(lambda question: PLAIN[shape])
    critique = await ChatCritic(chat).critique(image, ungated(concepts()), store)
    assert critique.answers() == dict.fromkeys(IDS, "pass")
    assert len(chat.questions) == 1


DOUBTFUL = ["partially", None, "yes and no", "yes, but it is blue", "no idea", "yes/no", "not sure", 2, "", ["yes"]]


@pytest.mark.parametrize("doubtful", DOUBTFUL)
@pytest.mark.parametrize("then", ["no", None])
async def test_one_odd_answer_costs_no_other_and_is_asked_once_more_alone(image, store, doubtful, then):
    def answer(question):
        if question.name != "critique":
            return no_reply(question)
        if listed(question) == ["cat"]:
            return no_reply(question, "rate limit") if then is None else answers(cat=then)
        return {"answers": [a | {"answer": doubtful if a["check"] == "cat" else "yes"} for a in SAID]}

    chat = FakeChat(answer)
    critique = await ChatCritic(chat).critique(image, ungated(concepts()), store)
    cat = next(v for v in critique.verdicts if v.check == "cat")
    assert [listed(q) for q in chat.asked("critique")][1:] == [["cat"]]
    assert (cat.answer, cat.heard, cat.reason) == (("fail", True, None) if then else ("unknown", False, "rate limit"))
    assert {critique.answers()[id] for id in ("place", "red", "umbrella")} == {"pass"}


async def test_what_a_cut_reply_holds_is_read_and_the_rest_is_asked_for(image, store):
    whole = json.dumps({"answers": SAID})

    def answer(question):
        if question.name != "critique":
            return no_reply(question)
        if listed(question) == IDS[-1:]:
            return answers(cat="no")
        cut = whole[: whole.index('"cat"') - 3]
        return ReplyError("cut", reason="length: the answer was cut", raw=cut, exchanges=(exchange(question, cut),))

    chat = FakeChat(answer)
    critique = await ChatCritic(chat).critique(image, ungated(concepts()), store)
    assert [len(listed(q)) for q in chat.asked("critique")] == [5, 1]
    assert [v.heard for v in critique.verdicts] == [True] * 5
    assert critique.answers()["cat"] == "fail"


async def test_unclear_is_an_answer_and_is_not_asked_again(image, store):
    chat = FakeChat(lambda question: answers(**dict.fromkeys(IDS, "Unclear, it is too dark")))
    critique = await ChatCritic(chat).critique(image, ungated(concepts()), store)
    assert all(v.heard and v.reason == "the model cannot tell from the picture" for v in critique.verdicts)
    assert len(chat.questions) == 1


async def test_names_that_two_checks_share_are_no_answer_to_either(image, store):
    first, second = concepts().checks[0], concepts().checks[4]
    both = concepts().model_copy(
        update={"checks": (first.model_copy(update={"id": "A-b"}), second.model_copy(update={"id": "a b"}))}
    )
    said = {"answers": [{"check": "A B", "answer": "yes"}, {"check": "a b", "answer": "no"}]}
    critique = await ChatCritic(FakeChat(lambda question: said)).critique(image, both, store)
    assert critique.answers() == {"A-b": "unknown", "a b": "fail"}


async def test_a_critic_that_never_answers_is_silent_with_the_reason(image, store):
    chat = FakeChat(lambda question: no_reply(question, "insufficient_quota"))
    critique = await ChatCritic(chat, votes=2).critique(image, concepts(), store)
    assert "insufficient_quota" in critique.silence
    assert len(critique.unheard) == len(IDS)
