"""A verdict is a pass, a fail, or unknown with the reason; critiques add up and compare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from detailscribe.state import Check, ConceptGraph, Critique, Entity, Verdict, change, fail_dependents

ANSWERS = st.sampled_from(["pass", "fail", "unknown"])


def verdict(check: str, answer: str, **more) -> Verdict:
    reason = "too dark" if answer == "unknown" else None
    return Verdict(check=check, answer=answer, reason=reason, **more)


def critique(**answers: str) -> Critique:
    return Critique(image="x", verdicts=tuple(verdict(check, answer) for check, answer in answers.items()))


def test_an_unknown_answer_needs_a_reason():
    with pytest.raises(ValidationError, match="reason exactly when"):
        Verdict(check="c", answer="unknown")


@pytest.mark.parametrize("answer", ["pass", "fail"])
def test_only_an_unknown_answer_has_a_reason(answer):
    with pytest.raises(ValidationError, match="reason exactly when"):
        Verdict(check="c", answer=answer, reason="because")


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_is_between_zero_and_one(probability):
    with pytest.raises(ValidationError):
        verdict("c", "pass", probability=probability)


@pytest.mark.parametrize(("answer", "settled_by"), [("pass", "p"), ("unknown", "p"), ("fail", "c")])
def test_a_verdict_is_settled_only_as_a_fail_and_by_another(answer, settled_by):
    with pytest.raises(ValidationError, match="settled only by another check"):
        verdict("c", answer, settled_by=settled_by)


@pytest.mark.parametrize("parents", [(), (verdict("p", "pass"),), (verdict("p", "unknown"),)])
def test_only_a_failed_check_settles_others(parents):
    with pytest.raises(ValidationError, match="did not fail: c"):
        Critique(image="x", verdicts=(*parents, verdict("c", "fail", settled_by="p")))


def test_a_check_is_answered_once():
    with pytest.raises(ValidationError, match="twice"):
        Critique(image="x", verdicts=(verdict("c", "pass"), verdict("c", "fail")))


def test_an_unknown_check_keeps_an_image_from_passing():
    told = critique(a="pass", b="unknown")
    assert (told.passed, told.score, told.all_pass) == (1, 0.5, False)


def test_an_image_passes_when_every_check_does():
    assert critique(a="pass", b="pass").all_pass


def test_confidence_is_the_mean_probability():
    verdicts = (verdict("a", "pass", probability=0.8), verdict("b", "fail", probability=0.4))
    assert Critique(image="x", verdicts=verdicts).confidence == pytest.approx(0.6)


def test_a_settled_check_lowers_the_confidence():
    verdicts = (verdict("a", "fail", probability=0.4), verdict("b", "fail", settled_by="a"))
    assert Critique(image="x", verdicts=verdicts).confidence == pytest.approx(0.2)


def test_what_is_unknown_neither_raises_nor_lowers_the_confidence():
    verdicts = (verdict("a", "pass", probability=0.8), verdict("b", "unknown"))
    assert Critique(image="x", verdicts=verdicts).confidence == pytest.approx(0.8)


def test_an_empty_checklist_is_passed():
    empty = Critique(image="x", verdicts=())
    assert (empty.score, empty.confidence, empty.all_pass) == (1.0, 1.0, True)


def test_a_round_fixes_breaks_or_leaves():
    before = critique(a="fail", b="pass", c="pass", d="unknown", e="pass", gone="pass")
    after = critique(a="pass", b="fail", c="pass", d="fail", e="unknown", new="pass")
    told = change(before, after)
    assert (told.fixed, told.broken, told.unchanged) == (("a",), ("b", "e"), ("c", "d"))


@given(st.lists(st.tuples(ANSWERS, ANSWERS)))
def test_every_shared_check_changes_in_one_way_and_back_in_the_other(pairs):
    before = critique(**{f"c{n}": one for n, (one, _) in enumerate(pairs)})
    after = critique(**{f"c{n}": other for n, (_, other) in enumerate(pairs)})
    there, back = change(before, after), change(after, before)
    assert (there.fixed, there.broken, there.unchanged) == (back.broken, back.fixed, back.unchanged)
    assert sorted((*there.fixed, *there.broken, *there.unchanged)) == sorted(before.answers())
    assert len(there.fixed) - len(there.broken) == after.passed - before.passed


def lost(check: str, reason: str = "rate limit") -> Verdict:
    return Verdict(check=check, answer="unknown", reason=reason, heard=False)


@pytest.mark.parametrize("answer", ["pass", "fail"])
def test_what_was_not_heard_decides_nothing(answer):
    with pytest.raises(ValidationError, match="only be unknown"):
        Verdict(check="c", answer=answer, heard=False)


def test_silence_is_told_from_a_critic_that_cannot_tell():
    silent = Critique(image="x", verdicts=(lost("a"), lost("b", "timed out"), lost("c")))
    assert silent.silence == "rate limit; timed out"
    unsure = Critique(image="x", verdicts=(lost("a"), verdict("b", "unknown")))
    assert (unsure.silence, [v.check for v in unsure.unheard]) == (None, ["a"])
    assert Critique(image="x", verdicts=()).silence is None
    assert Critique.model_validate_json(silent.model_dump_json()) == silent


def chain(*edges: str) -> ConceptGraph:
    """Checks in the order of the list; ``"ab>c"`` is c, which depends on a and b."""
    parts = [edge.rpartition(">") for edge in edges]
    checks = tuple(Check(id=id, question="?", aspect="scene", depends_on=tuple(parents)) for parents, _, id in parts)
    return ConceptGraph(prompt="p", entities=(Entity(id="e", name="e"),), checks=checks)


def test_what_depends_on_a_failed_check_fails_whatever_was_said_of_it():
    concepts = chain("b>c", "a>b", "a", "u>d", "u")
    own = {"a": verdict("a", "fail"), "b": verdict("b", "pass"), "u": lost("u"), "d": verdict("d", "pass")}
    found = fail_dependents(concepts, own)
    assert [(v.check, v.answer, v.settled_by) for v in found] == [
        ("c", "fail", "b"),
        ("b", "fail", "a"),
        ("a", "fail", None),
        ("d", "pass", None),
        ("u", "unknown", None),
    ]


def test_what_is_still_to_be_asked_is_left_out():
    assert [v.check for v in fail_dependents(chain("a", "a>b", "c"), {"a": verdict("a", "pass")})] == ["a"]
    assert [v.check for v in fail_dependents(chain("a", "a>b", "c"), {"a": verdict("a", "fail")})] == ["a", "b"]
