"""Whatever a model replies, every check gets one verdict, and no verdict is made up."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detailscribe.state import Check, ConceptGraph, Entity
from detailscribe.tools.files import Store
from detailscribe.tools.language.question import Question
from detailscribe.tools.vision.critic import ChatCritic

from .conftest import put
from .fakes import FakeChat, listed, no_reply

IDS = [f"presence:thing {n}" for n in range(6)]
ANSWERS = st.sampled_from(["yes", "no", "unclear", "Yes.", " NO "])
FOREIGN = st.sampled_from(["unicorn", "presence:thing", "presence:thing 1: Is it there?", "1"])
GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
PLAIN = {"yes": "yes", "no": "no", "unclear": "unclear", "Yes.": "yes", " NO ": "no"}


@st.composite
def graphs(draw) -> ConceptGraph:
    """A checklist in which a check may depend on any that come before it, in any order."""
    count = draw(st.integers(0, len(IDS)))
    checks = [
        Check(
            id=id,
            question="Is it there?",
            aspect="scene",
            depends_on=tuple(draw(st.sets(st.sampled_from(IDS[:n]), max_size=2))) if n else (),
        )
        for n, id in enumerate(IDS[:count])
    ]
    entity = Entity(id="e", name="thing")
    return ConceptGraph(prompt="things", entities=(entity,), checks=tuple(draw(st.permutations(checks))))


@dataclass
class Mischief:
    """A model that answers, leaves out, repeats, contradicts itself, answers other questions, or nothing at all."""

    data: st.DataObject
    support: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each check was answered with yes or no in a reply that can be read."""
    weights: dict[str, float] = field(default_factory=dict)

    def answer(self, question: Question) -> Any:
        draw = self.data.draw
        if question.name == "refined_prompt":
            return draw(st.fixed_dictionaries({"prompt": st.text(max_size=60)}) | st.just(no_reply(question)) | GARBAGE)
        ids = st.sampled_from(listed(question)) | FOREIGN
        entry = st.fixed_dictionaries({"check": ids, "evidence": st.text(max_size=9), "answer": ANSWERS})
        kind = draw(st.sampled_from(["answers", "answers", "answers", "complete", "garbage", "none"]))
        if kind == "none":
            return no_reply(question)
        if kind == "garbage":
            return draw(GARBAGE | st.fixed_dictionaries({"answers": st.lists(GARBAGE, max_size=3)}))
        entries = draw(st.lists(entry, max_size=8)) if kind == "answers" else []
        if kind == "complete":
            entries = [{"check": id, "evidence": "", "answer": draw(ANSWERS)} for id in listed(question)]
        for found in entries:
            id = found["check"].removesuffix(": Is it there?")
            self.support[id, PLAIN[found["answer"]]] += 1
        return {"answers": entries}

    def likely(self, question: Question) -> Any:
        draw = self.data.draw
        found = draw(st.floats(0, 1) | st.just("none given") | st.just(no_reply(question)))
        if isinstance(found, float):
            self.weights[listed(question)[0]] = found
        return found


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("gallery"))
    return put(store, "00-00"), store


@given(st.data(), graphs(), st.booleans(), st.integers(1, 3), st.integers(1, 4))
@settings(deadline=None, max_examples=100)
def test_no_reply_makes_up_a_verdict(gallery, data, concepts, probabilities, votes, checks_per_call):
    image, store = gallery
    model = Mischief(data)
    chat = FakeChat(model.answer, model.likely)
    with mock.patch("detailscribe.tools.vision.critic._CHECKS_PER_CALL", checks_per_call):
        chat_critic = ChatCritic(chat, votes=votes, probabilities=probabilities)
        critique = asyncio.run(chat_critic.critique(image, concepts, store))

    assert [v.check for v in critique.verdicts] == [c.id for c in concepts.checks]
    assert len(critique.exchanges) == len(chat.questions)
    answers = critique.answers()
    for verdict in critique.verdicts:
        failed = [p for p in concepts.check(verdict.check).depends_on if answers[p] == "fail"]
        assert (verdict.reason is not None) == (verdict.answer == "unknown")
        assert (verdict.settled_by in failed) if failed else verdict.settled_by is None
        if verdict.settled_by is None and verdict.answer != "unknown":
            word = {"pass": "yes", "fail": "no"}[verdict.answer]
            weight = model.weights.get(verdict.check)
            said = model.support[verdict.check, word]
            assert said > 0 if weight is None else (weight > 0.5) == (word == "yes")
    if critique.refined_prompt is not None:
        assert critique.refined_prompt.startswith("things.")
        assert "fail" in answers.values()
