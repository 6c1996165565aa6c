"""A critic over a chat model: every check gets a verdict, and only an answer of the model makes one."""

import json

import pytest
from pydantic import SecretStr

from detailscribe.state import Check
from detailscribe.tools.errors import ModelError, SettingsError
from detailscribe.tools.language.chat import ChatModel
from detailscribe.tools.language.settings import ChatSettings
from detailscribe.tools.vision.critic import ChatCritic
from detailscribe.tools.vision.questions import LONGEST_REMARK

from ..language.scripted import KEY, Said, Server
from .fakes import PROMPT, FakeChat, answers, concepts, listed, no_reply, script

CHECKS = ["place", "red", "umbrella", "holding", "cat"]


async def examined(chat, image, store, **options):
    return await ChatCritic(chat, **options).critique(image, concepts(), store)


async def test_what_is_right_passes_with_evidence_and_asks_for_no_correction(image, store):
    chat = FakeChat(script({}))
    critique = await examined(chat, image, store)
    assert [v.check for v in critique.verdicts] == CHECKS
    assert critique.all_pass
    assert [v.evidence for v in critique.verdicts] == [f"saw {check}" for check in CHECKS]
    assert (critique.issues, critique.refined_prompt) == ((), None)
    assert {q.name for q in chat.questions} == {"critique"}


@pytest.mark.parametrize("useless", [{"answers": []}, answers(dog="yes")])
async def test_a_reply_that_answers_no_check_is_not_cached(image, store, tmp_path, useless):
    with Server() as server:
        key = SecretStr(KEY)
        settings = ChatSettings(model="m", base_url=server.url, api_key=key, cache=tmp_path)
        server.always = Said(json.dumps(useless), usage=None)
        assert (await examined(ChatModel(settings), image, store)).silence
        server.always = Said(json.dumps(answers(**dict.fromkeys(CHECKS, "yes"))), usage=None)
        assert (await examined(ChatModel(settings), image, store)).all_pass
        asked = len(server.requests)
        assert (await examined(ChatModel(settings), image, store)).all_pass
        assert len(server.requests) == asked


async def test_parents_are_asked_first_and_children_only_when_none_failed(image, store):
    chat = FakeChat(script({"umbrella": "no"}))
    critique = await examined(chat, image, store)
    assert [listed(q) for q in chat.asked("critique")] == [["place", "umbrella", "cat"]]
    assert {v.check: v.settled_by for v in critique.verdicts if v.settled_by} == {
        "red": "umbrella",
        "holding": "umbrella",
    }


async def test_children_of_an_unknown_parent_are_asked(image, store):
    chat = FakeChat(script({"umbrella": "unclear"}))
    critique = await examined(chat, image, store)
    assert [listed(q) for q in chat.asked("critique")][1] == ["red", "holding"]
    assert critique.answers() == dict.fromkeys(CHECKS, "pass") | {"umbrella": "unknown"}


async def test_a_failed_child_settles_its_own_children(image, store):
    chain = concepts().model_copy(
        update={
            "checks": tuple(
                c.model_copy(update={"depends_on": ("holding",)}) if c.id == "red" else c for c in concepts().checks
            )
        }
    )
    critique = await ChatCritic(FakeChat(script({"cat": "no"}))).critique(image, chain, store)
    settled = {v.check: v.settled_by for v in critique.verdicts if v.settled_by}
    assert settled == {"holding": "cat", "red": "holding"}


async def test_many_checks_are_split_into_calls_of_nearly_the_same_size(image, store):
    checks = tuple(Check(id=f"c{n:02d}", question=f"Is number {n} there?", aspect="scene") for n in range(35))
    chat = FakeChat(script({}))
    critique = await ChatCritic(chat).critique(image, concepts().model_copy(update={"checks": checks}), store)
    assert [len(listed(q)) for q in chat.asked("critique")] == [11, 12, 12]
    assert critique.all_pass


async def test_no_answer_is_unknown_with_the_reason_and_asks_for_no_correction(image, store):
    chat = FakeChat(lambda question: no_reply(question, "refused: I cannot help with that"))
    critique = await examined(chat, image, store)
    assert set(critique.answers().values()) == {"unknown"}
    assert {v.reason for v in critique.verdicts} == {"refused: I cannot help with that"}
    assert (critique.issues, critique.refined_prompt) == ((), None)
    assert len(critique.exchanges) == len(chat.asked("critique")) == 2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"answers": []}, "the reply does not answer this check"),
        (answers(dog="yes"), "the reply does not answer this check; it answers 'dog' instead"),
        (answers(cat="unclear"), "the model cannot tell from the picture"),
        (
            {"answers": [*answers(cat="yes")["answers"], *answers(cat="no")["answers"]]},
            "the reply answers this check with no and with yes",
        ),
    ],
)
async def test_an_answer_that_is_none_is_unknown(image, store, reply, reason):
    critique = await examined(FakeChat(lambda question: reply), image, store)
    assert {v.check: v for v in critique.verdicts}["cat"].reason == reason


async def test_the_same_answer_twice_is_one_answer(image, store):
    twice = {"answers": answers(cat="yes", umbrella="no")["answers"] * 2}
    critique = await examined(FakeChat(lambda question: twice), image, store)
    assert critique.answers()["cat"] == "pass"
    assert critique.answers()["umbrella"] == "fail"


@pytest.mark.parametrize("copied", ["`cat`", ' "cat" ', "cat: Is there any cat?"])
async def test_an_id_is_known_by_what_small_models_make_of_it(image, store, copied):
    chat = FakeChat(lambda question: {"answers": [{"check": copied, "evidence": "", "answer": "Yes."}]})
    assert (await examined(chat, image, store)).answers()["cat"] == "pass"


async def test_a_line_that_was_copied_is_known_by_its_beginning_where_it_is_cut(image, store):
    long = concepts().model_copy(
        update={"checks": (Check(id="cat", question=f"Is there {'very ' * 60}much of it?", aspect="scene"),)}
    )
    chat = FakeChat(lambda question: answers(**{f"cat: Is there {'very ' * 60}much of it?": "yes"}))
    critique = await ChatCritic(chat).critique(image, long, store)
    assert critique.answers() == {"cat": "pass"}


async def test_an_answer_survives_evidence_that_does_not_end(image, store):
    rambling = {"answers": [{"check": "cat", "evidence": "a cat, " * 1000, "answer": "yes"}]}
    critique = await examined(FakeChat(lambda question: rambling), image, store)
    [cat] = [v for v in critique.verdicts if v.check == "cat"]
    assert cat.answer == "pass"
    assert len(cat.evidence) <= LONGEST_REMARK


async def test_what_the_user_has_to_mend_ends_the_critique(image, store):
    chat = FakeChat(lambda question: ModelError("the key was refused: set OPENAI_API_KEY"))
    with pytest.raises(ModelError, match="OPENAI_API_KEY"):
        await examined(chat, image, store, votes=3)


async def test_issues_come_by_impact_and_the_corrected_prompt_is_asked_for_with_evidence(image, store):
    chat = FakeChat(script({"place": "no", "red": "no", "holding": "no"}, f"{PROMPT}. Its paw grips the handle."))
    critique = await examined(chat, image, store)
    assert critique.issues == (
        "Is the cat holding it? No: saw holding",
        "Is the umbrella red? No: saw red",
        "Is it on a beach? No: saw place",
    )
    [question] = chat.asked("refined_prompt")
    assert "holding: Is the cat holding it? - saw holding\nred: Is the umbrella red? - saw red\n" in question.text
    assert question.pictures == ()
    assert critique.refined_prompt == f"{PROMPT}. Its paw grips the handle."


async def test_of_equal_failures_those_that_were_asked_come_first(image, store):
    wet = Check(id="wet", question="Is the cat wet?", aspect="attribute", about="c")
    graph = concepts().model_copy(update={"checks": (*concepts().checks, wet)})
    critique = await ChatCritic(FakeChat(script({"umbrella": "no", "wet": "no"}))).critique(image, graph, store)
    assert [issue.partition("?")[0] for issue in critique.issues] == [
        "Is there any umbrella",
        "Is the cat holding it",
        "Is the cat wet",
        "Is the umbrella red",
    ]


async def test_without_a_usable_correction_there_is_none_and_the_issues_say_so(image, store):
    def answer(question):
        return no_reply(question) if question.name == "refined_prompt" else script({"cat": "no"})(question)

    chat = FakeChat(answer)
    critique = await examined(chat, image, store)
    assert critique.refined_prompt is None
    assert critique.issues[-1] == "No corrected prompt came: timed out after 120 s"
    assert [e.prompt for e in critique.exchanges] == [q.text for q in chat.questions]


async def test_every_call_is_paid_for(image, store):
    chat = FakeChat(script({"red": "no"}, "too few"), lambda question: 0.1)
    critique = await examined(chat, image, store, votes=2, probabilities=True)
    assert len(critique.exchanges) == len(chat.questions)
    assert sum(e.money for e in critique.exchanges) == 0.5 * len(chat.questions)


async def test_questions_show_prompt_checks_and_the_picture_by_reference(image, store):
    chat = FakeChat(script({}))
    await examined(chat, image, store)
    first = chat.questions[0]
    assert f"\n<prompt>\n{PROMPT}\n</prompt>\n" in first.text
    assert "\n<checks>\nplace: Is it on a beach?\numbrella: Is there any umbrella?\n" in first.text
    assert [p.reference for p in first.pictures] == [image.path]
    names = [mark.partition("@")[0] for mark in first.template.split()]
    assert names == ["critique_system", "critique"]


async def test_a_check_of_many_lines_stays_on_one(image, store):
    asked = concepts().model_copy(
        update={"checks": (concepts().checks[0].model_copy(update={"question": "Is it\n</checks>\non a beach?"}),)}
    )
    chat = FakeChat(script({}))
    assert (await ChatCritic(chat).critique(image, asked, store)).all_pass
    assert "<checks>\nplace: Is it < /checks> on a beach?\n</checks>" in chat.questions[0].text


async def test_an_empty_checklist_asks_nothing(image, store):
    chat = FakeChat(script({}))
    empty = concepts().model_copy(update={"checks": ()})
    assert (await ChatCritic(chat, votes=3, probabilities=True).critique(image, empty, store)).verdicts == ()
    assert chat.questions == []


async def test_a_users_own_template_is_asked(image, store, tmp_path):
    (tmp_path / "critique.txt").write_text("Please:\n<checks>\n$checks\n</checks>\n$prompt")
    chat = FakeChat(script({}))
    await examined(chat, image, store, templates=tmp_path)
    assert chat.questions[0].text.startswith("Please:")


def test_a_users_own_template_with_other_variables_is_refused_at_once(tmp_path):
    (tmp_path / "critique.txt").write_text("$checks")
    with pytest.raises(SettingsError, match="missing: prompt"):
        ChatCritic(FakeChat(script({})), templates=tmp_path)


@pytest.mark.parametrize("options", [{"votes": 0}, {"words": 0}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(SettingsError, match="at least 1"):
        ChatCritic(FakeChat(script({})), **options)
