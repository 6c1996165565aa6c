"""An image's record tells one possible story of how it was made."""

import pytest
from pydantic import ValidationError

from detailscribe.state import ImageRecord

DRAWN = {
    "id": "x",
    "round": 0,
    "origin": "generate",
    "prompt": "a cat",
    "seed": 1,
    "steps": 28,
    "start_step": 0,
    "start_sigma": 1.0,
    "guidance": 4.5,
    "width": 128,
    "height": 128,
    "model": "m",
    "path": "x.png",
    "latent": "x.safetensors",
    "evaluations": 56,
    "seconds": 1.0,
}
REFINED = {**DRAWN, "round": 1, "origin": "refine", "parent": "w", "operator": "inject", "start_step": 4}
RESEEDED = {**DRAWN, "round": 1, "origin": "reseed", "parent": "w"}


@pytest.mark.parametrize(
    "fields",
    [
        DRAWN,
        REFINED,
        RESEEDED,
        {**REFINED, "start_step": 28},
        {**REFINED, "stop_step": 5},
        {**DRAWN, "latent": None, "seeded": False, "revised_prompt": "A cat.", "money": 0.04},
    ],
)
def test_a_possible_story_is_recorded_and_survives_json(fields):
    record = ImageRecord(**fields, trajectory={0: "k0", 28: "k28"})
    assert ImageRecord.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({**DRAWN, "parent": "w"}, "has a parent exactly when"),
        ({**REFINED, "parent": None}, "has a parent exactly when"),
        ({**RESEEDED, "parent": None}, "has a parent exactly when"),
        ({**REFINED, "operator": None}, "has an operator exactly when"),
        ({**RESEEDED, "operator": "resume"}, "has an operator exactly when"),
        ({**DRAWN, "start_step": 1}, "starts at step 0"),
        ({**RESEEDED, "start_step": 1}, "starts at step 0"),
        ({**REFINED, "start_step": 29}, "at step N at most"),
        ({**DRAWN, "stop_step": 28}, "before step N"),
        ({**REFINED, "stop_step": 4}, "after the step it started at"),
        ({**DRAWN, "trajectory": {29: "k"}}, r"outside the schedule of 28: \[29\]"),
        ({**DRAWN, "trajectory": {-1: "k"}}, r"outside the schedule of 28: \[-1\]"),
    ],
)
def test_an_impossible_story_is_refused(fields, problem):
    with pytest.raises(ValidationError, match=problem):
        ImageRecord(**fields)


@pytest.mark.parametrize(
    ("fields", "spared"), [({}, 0), ({"stop_step": 8}, 40), ({"stop_step": 8, "guidance": 1.0}, 20)]
)
def test_a_preview_says_what_it_spared(fields, spared):
    assert ImageRecord(**DRAWN | fields).spared == spared


def test_a_record_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        ImageRecord(**DRAWN).seed = 2
