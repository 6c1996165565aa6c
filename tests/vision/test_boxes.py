"""Boxes are read in the form that was asked for, and dropped where they cannot be of it."""

import pytest

from detailscribe.tools.vision.critic import ChatCritic
from detailscribe.tools.vision.questions import BoxedCritiqueAnswer
from detailscribe.tools.vision.verdicts import shares

from .conftest import put
from .fakes import FakeChat, concepts, listed

QUARTER = (0.25, 0.5, 0.5, 1.0)


@pytest.mark.parametrize(
    ("form", "box", "read"),
    [
        ("pixels", (100, 100, 200, 200), QUARTER),
        ("pixels-yx", (100, 100, 200, 200), QUARTER),
        ("pixels-yx", (50, 200, 100, 400), (0.5, 0.25, 1.0, 0.5)),
        ("thousandths", (250, 500, 500, 1000), QUARTER),
        ("thousandths-yx", (500, 250, 1000, 500), QUARTER),
        ("shares", (0.25, 0.5, 0.5, 1), QUARTER),
        ("shares-yx", (0.5, 0.25, 1, 0.5), QUARTER),
        ("pixels", (100, 100, 401, 200), None),  # leaves the picture
        ("pixels", (100, 100, 200, 201), None),
        ("thousandths", (250, 500, 500, 1001), None),
        ("shares", (25, 50, 50, 100), None),  # of another form, which nobody guesses
        ("shares", (-0.1, 0, 1, 1), None),
        ("pixels", (200, 100, 100, 200), None),  # upside down
        ("pixels", (100, 100, 100, 200), None),  # empty
        ("shares", (float("nan"), 0, 1, 1), None),
    ],
)
def test_a_box_in_shares_of_the_picture(form, box, read):
    assert shares(box, form, (400, 200)) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ([[1, 2, 3, 4], [5, 6, 7, 8.5]], [[1, 2, 3, 4], [5, 6, 7, 8.5]]),
        ([1, 2, 3, 4], [[1, 2, 3, 4]]),
        ([[1, 2, 3], [1, 2, 3, "4"], [True, 2, 3, 4], [1, 2, 3, 4]], [[1, 2, 3, 4]]),
        ("upper left", []),
        (None, []),
        ({"x": 1}, []),
    ],
)
def test_boxes_of_any_shape_cost_no_answer(written, read):
    entry = {"check": "cat", "evidence": "a cat", "answer": "yes", "boxes": written}
    [answer] = BoxedCritiqueAnswer.model_validate({"answers": [entry]}).answers
    assert (answer.answer, answer.boxes) == ("yes", read)


def boxed(box):
    """Says no to the umbrella, and where each thing is."""

    def answer(question):
        if question.name != "critique":
            return {"prompt": "a cat holding a red umbrella."}
        said = {id: {"check": id, "answer": "no" if id == "umbrella" else "yes"} for id in listed(question)}
        return {"answers": [{**entry, "evidence": "seen", "boxes": [box]} for entry in said.values()]}

    return answer


async def test_the_critic_asks_for_boxes_only_where_that_is_chosen(store):
    image = put(store, "00-01", (400, 200))
    chat = FakeChat(boxed([100, 100, 200, 200]))
    chat.picture_side = 200  # so that the picture is sent in half its size
    plain = await ChatCritic(chat).critique(image, concepts(), store)
    assert all(v.boxes == () for v in plain.verdicts)
    assert "boxes" not in chat.questions[0].system
    seen = await ChatCritic(chat, boxes="pixels", votes=3).critique(image, concepts(), store)
    assert all(v.boxes == () for v in seen.verdicts)  # 200 pixels down are beyond one sent in 200 by 100
    chat = FakeChat(boxed([50, 50, 100, 100]))
    chat.picture_side = 200
    seen = await ChatCritic(chat, boxes="pixels", votes=3).critique(image, concepts(), store)
    assert [v.check for v in seen.verdicts if v.boxes == (QUARTER,)] == ["place", "umbrella", "cat"]
    assert seen.faults == (QUARTER,)
    asked = chat.asked("critique")[0].system
    assert "[left, upper, right, lower], in pixels of the picture" in asked
    chat = FakeChat(boxed([500, 250, 1000, 500]))
    chat.picture_side = 200
    turned = await ChatCritic(chat, boxes="thousandths-yx").critique(image, concepts(), store)
    assert turned.faults == (QUARTER,)
    assert "[upper, left, lower, right], in whole numbers from 0 to 1000" in chat.asked("critique")[0].system
