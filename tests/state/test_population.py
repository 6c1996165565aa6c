"""A policy sees every image of every round, and the best of them all."""

import pytest
from pydantic import ValidationError

from detailscribe.state import (
    Budget,
    Check,
    ConceptGraph,
    Critique,
    Decision,
    Entity,
    Exchange,
    ImageRecord,
    Population,
    RunResult,
    Spend,
    Verdict,
    spend_of,
)

CHECKS = tuple(Check(id=c, question="?", aspect="presence", about="cat") for c in ("c1", "c2"))
CONCEPTS = ConceptGraph(prompt="a cat", entities=(Entity(id="cat", name="cat"),), checks=CHECKS)


def image(id: str, round: int = 0, parent: str | None = None) -> ImageRecord:
    return ImageRecord(
        id=id,
        round=round,
        origin="generate" if parent is None else "reseed",
        parent=parent,
        prompt="a cat",
        seed=1,
        steps=4,
        start_step=0,
        start_sigma=1,
        guidance=4.5,
        width=8,
        height=8,
        model="m",
        path=f"{id}.png",
        latent=f"{id}.safetensors",
        evaluations=8,
        seconds=0.5,
    )


def critique(id: str, *passed: bool, probability: float | None = None, exchanges=()) -> Critique:
    verdicts = tuple(
        Verdict(check=c.id, answer="pass" if p else "fail", probability=probability)
        for c, p in zip(CHECKS, passed, strict=False)
    )
    return Critique(image=id, verdicts=verdicts, exchanges=exchanges)


def stop(id: str) -> Decision:
    return Decision(image=id, action="stop", rule="enough", reason="enough")


def population(images, critiques, decisions=()) -> Population:
    return Population(
        concepts=CONCEPTS,
        images={i.id: i for i in images},
        critiques={c.image: c for c in critiques},
        decisions={d.image: d for d in decisions},
        budget=Budget(),
        seed=0,
        round=max((i.round for i in images), default=0),
    )


def test_the_best_image_is_the_one_that_passes_most_in_whatever_round():
    seen = population(
        [image("a"), image("b", 1, "a"), image("c", 2, "b")],
        [critique("a", False, False), critique("b", True, True), critique("c", True, False)],
    )
    assert seen.best().id == "b"


def test_of_images_that_pass_as_much_the_more_certain_is_best():
    seen = population(
        [image("a"), image("b")],
        [critique("a", True, False, probability=0.6), critique("b", True, False, probability=0.7)],
    )
    assert seen.best().id == "b"


def test_a_missing_subject_is_no_better_than_one_that_fails_as_much():
    missing = Critique(
        image="a",
        verdicts=(
            Verdict(check="c1", answer="fail", probability=0.4),
            Verdict(check="c2", answer="fail", settled_by="c1"),
        ),
    )
    seen = population([image("a"), image("b")], [missing, critique("b", False, False, probability=0.3)])
    assert seen.best().id == "b"


def test_of_equals_the_earliest_round_is_best_whatever_the_ids():
    seen = population([image("r9"), image("r10", 1, "r9")], [critique("r9", True, True), critique("r10", True, True)])
    assert seen.best().id == "r9"


def test_ancestors_go_back_to_the_first_drawing():
    seen = population(
        [image("a"), image("b", 1, "a"), image("c", 2, "b")],
        [critique(id, True, True) for id in "abc"],
    )
    assert [i.id for i in seen.ancestors(seen.images["c"])] == ["b", "a"]
    assert seen.ancestors(seen.images["a"]) == ()


def test_an_image_without_a_decision_is_pending():
    seen = population([image("a"), image("b")], [critique("a", True, True), critique("b", True, True)], [stop("a")])
    assert [i.id for i in seen.pending()] == ["b"]


def test_a_population_that_does_not_fit_together_is_refused():
    whole = critique("a", True, True)
    for images, critiques, decisions, problem in [
        ([], [], [], "at least 1 item"),
        ([image("a")], [], [], "every image needs one critique"),
        ([image("a")], [whole, critique("b", True, True)], [], "only images have critiques"),
        ([image("a")], [whole], [stop("b")], "only images have critiques and decisions"),
        ([image("a")], [critique("a", True)], [], "does not answer the checklist"),
        ([image("a", 1, "gone")], [whole], [], "parent 'gone' of 'a'"),
        ([image("a", 1, "a")], [whole], [], "parent 'a' of 'a'"),
    ]:
        with pytest.raises(ValidationError, match=problem):
            population(images, critiques, decisions)


def test_a_record_is_filed_under_its_own_id():
    seen = population([image("a")], [critique("a", True, True)])
    with pytest.raises(ValidationError, match="image filed under another id than its own: b"):
        Population(**{**dict(seen), "images": {"b": image("a")}})


def test_a_spend_sums_images_critiques_and_what_was_said():
    said = Exchange(model="m", prompt="?", reply="yes", prompt_tokens=10, reply_tokens=2, seconds=0.25, money=0.5)
    critiques = {"a": critique("a", True, True, exchanges=(said, said)), "b": critique("b", True, True)}
    images = {"a": image("a"), "b": image("b")}
    seen = Spend(evaluations=16, images=2, critic_calls=2, tokens=24, seconds=1.5, money=1.0)
    assert spend_of(None, images, critiques) == seen
    read = CONCEPTS.model_copy(update={"exchanges": (said,)})
    assert spend_of(read, images, critiques) == seen + Spend(tokens=12, seconds=0.25, money=0.5)


def test_images_that_cost_money_are_counted():
    images = {"a": image("a").model_copy(update={"money": 0.04}), "b": image("b")}
    assert spend_of(None, images, {}).money == 0.04


def test_a_population_has_paid_for_its_concepts():
    said = Exchange(model="m", prompt="?", reply="yes", prompt_tokens=10)
    read = CONCEPTS.model_copy(update={"exchanges": (said,)})
    seen = population([image("a")], [critique("a", True, True)]).model_copy(update={"concepts": read})
    assert seen.spend.tokens == 10


def result(images, critiques, decisions, best) -> RunResult:
    return RunResult(
        run="r",
        prompt="a cat",
        concepts=CONCEPTS,
        best=best,
        images=images,
        critiques=critiques,
        decisions=decisions,
        stop="enough",
        spend=Spend(),
    )


def test_a_result_finds_the_critique_of_an_image():
    told = result((image("a"),), (critique("a", True, True),), (stop("a"),), image("a"))
    assert told.critique("a").all_pass
    with pytest.raises(KeyError):
        told.critique("b")


def test_a_result_lists_the_same_images_everywhere_in_the_same_order():
    images, critiques = (image("a"), image("b")), (critique("a", True, True), critique("b", True, True))
    with pytest.raises(ValidationError, match="same images in the same order"):
        result(images, critiques[::-1], (stop("a"), stop("b")), images[0])
    with pytest.raises(ValidationError, match="same images in the same order"):
        result(images, critiques, (stop("a"),), images[0])
    with pytest.raises(ValidationError, match="not among the images"):
        result(images, critiques, (stop("a"), stop("b")), image("c"))
