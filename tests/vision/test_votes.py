"""Several votes and P(yes): most answers win, a tie is unknown, and what the server gives not is said."""

import pytest

from detailscribe.tools.vision.critic import ChatCritic
from detailscribe.tools.vision.wrapping import ungated

from .fakes import FakeChat, answers, concepts, listed, no_reply, script


async def verdicts(chat, image, store, **options):
    critique = await ChatCritic(chat, **options).critique(image, concepts(), store)
    return {v.check: v for v in critique.verdicts}


def ballots(check: str, *said: str | None):
    """Vote n says ``said[n]`` of a check and yes of all others; None gives no reply at all."""

    def answer(question):
        if question.name != "critique":
            return script({})(question)
        vote = said[question.vote]
        return no_reply(question) if vote is None else script({check: vote})(question)

    return FakeChat(answer)


@pytest.mark.parametrize(
    ("said", "answer", "probability"),
    [
        (("yes", "yes", "no"), "pass", 2 / 3),
        (("no", "yes", "no"), "fail", 1 / 3),
        (("yes", "no"), "unknown", 0.5),
        (("yes", "no", "unclear", None), "unknown", 0.5),
        (("no", "unclear"), "fail", 0.0),
        (("yes", "unclear", None), "unknown", None),
        (("unclear", "unclear"), "unknown", None),
    ],
)
async def test_most_answers_win(image, store, said, answer, probability):
    found = (await verdicts(ballots("cat", *said), image, store, votes=len(said)))["cat"]
    assert (found.answer, found.probability) == (answer, pytest.approx(probability))


async def test_a_single_answer_has_no_probability(image, store):
    assert (await verdicts(ballots("cat", "yes"), image, store))["cat"].probability is None


async def test_every_vote_is_a_look(image, store):
    critique = await ChatCritic(FakeChat(script({})), votes=3).critique(image, concepts(), store)
    assert critique.looks == 3


async def test_the_reason_of_a_tie_and_of_lost_votes_is_told(image, store):
    tied = await verdicts(ballots("cat", "yes", "no"), image, store, votes=2)
    assert tied["cat"].reason == "1 of 2 answers are yes, and as many no"
    lost = await verdicts(ballots("cat", "yes", None, "unclear"), image, store, votes=3)
    expected = "2 of 3 replies give no answer: timed out after 120 s; the model cannot tell from the picture"
    assert lost["cat"].reason == expected


async def test_the_evidence_is_that_of_the_winning_side(image, store):
    def answer(question):
        saw = "a dog" if question.vote == 0 else "a cat"
        said = "no" if question.vote == 0 else "yes"
        return {"answers": [{"check": c, "evidence": saw, "answer": said} for c in listed(question)]}

    assert (await verdicts(FakeChat(answer), image, store, votes=3))["cat"].evidence == "a cat"


async def test_each_vote_sees_the_checks_in_its_own_order_and_the_same_one_every_time(image, store):
    async def orders():
        chat = FakeChat(script({}))
        await ChatCritic(chat, votes=4).critique(image, ungated(concepts()), store)
        return [(q.vote, listed(q)) for q in chat.asked("critique")]

    once = await orders()
    assert once == await orders()
    assert [vote for vote, _ in once] == [0, 1, 2, 3]
    assert once[0][1] == ["place", "red", "umbrella", "holding", "cat"]
    assert len({tuple(order) for _, order in once}) > 1
    assert {tuple(sorted(order)) for _, order in once} == {tuple(sorted(once[0][1]))}


@pytest.mark.parametrize(
    ("likely", "answer"),
    [(0.93, "pass"), (0.56, "pass"), (0.54, "unknown"), (0.46, "unknown"), (0.44, "fail"), (0.02, "fail")],
)
async def test_p_yes_decides(image, store, likely, answer):
    chat = FakeChat(script({}), lambda question: likely if listed(question) == ["cat"] else 0.99)
    found = (await verdicts(chat, image, store, probabilities=True))["cat"]
    assert (found.answer, found.probability) == (answer, likely)
    assert found.reason == (f"P(yes) is {likely:.2f}, too near to one half" if answer == "unknown" else None)


async def test_p_yes_is_asked_once_for_each_check_that_is_not_settled(image, store):
    chat = FakeChat(script({}), lambda question: 0.01 if listed(question) == ["umbrella"] else 0.99)
    found = await verdicts(chat, image, store, probabilities=True, votes=2)
    assert [listed(q) for q in chat.asked("likelihood")] == [["place"], ["umbrella"], ["cat"]]
    assert found["red"].settled_by == "umbrella"


async def test_evidence_that_speaks_against_p_yes_is_shown_as_such(image, store):
    chat = FakeChat(script({"cat": "no"}), lambda question: 0.9)
    found = (await verdicts(chat, image, store, probabilities=True))["cat"]
    assert (found.answer, found.evidence) == ("pass", "in words no, though P(yes) is 0.90: saw cat")


@pytest.mark.parametrize("error", [True, False])
async def test_without_logprobs_the_words_decide_and_the_reason_is_kept(image, store, error):
    def likely(question):
        return no_reply(question, "none given") if error else "none given"

    found = await verdicts(FakeChat(script({"cat": "no"}), likely), image, store, probabilities=True)
    assert (found["cat"].answer, found["cat"].probability) == ("fail", None)
    assert found["cat"].evidence == "saw cat (no P(yes): none given)"
    assert found["umbrella"].answer == "pass"


async def test_neither_words_nor_p_yes_is_unknown(image, store):
    chat = FakeChat(lambda question: answers() if question.name == "critique" else None, lambda question: "none given")
    found = await verdicts(chat, image, store, probabilities=True)
    assert {v.answer for v in found.values()} == {"unknown"}


async def test_a_second_opinion_is_not_decided_by_the_probabilities_of_the_first(store, image):
    again = image.model_copy(update={"id": "01-00", "parent": "00-00", "origin": "look", "operator": "look", "seed": 9})
    chat = FakeChat(script({"red": "no"}), likely=lambda question: 0.9)
    critic = ChatCritic(chat, probabilities=True)
    assert (await critic.critique(image, concepts(), store)).answers()["red"] == "pass"
    assert (await critic.critique(again, concepts(), store)).answers()["red"] == "fail"


async def test_a_second_opinion_comes_of_another_order_or_of_the_model_that_is_named_for_it(store, image):
    again = image.model_copy(update={"id": "01-00", "parent": "00-00", "origin": "look", "operator": "look", "seed": 9})
    first, other = FakeChat(script({})), FakeChat(script({"red": "no"}))
    await ChatCritic(first).critique(image, concepts(), store)
    await ChatCritic(first).critique(again, concepts(), store)
    assert [question.vote for question in first.asked("critique")] == [0, 0, 9, 9]
    critic = ChatCritic(first, second=ChatCritic(other))
    assert (await critic.critique(image, concepts(), store)).all_pass
    assert not other.questions
    assert (await critic.critique(again, concepts(), store)).answers()["red"] == "fail"
    assert critic.model == "fake@host, then fake@host"
