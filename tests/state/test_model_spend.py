"""What each model cost, and that the shares make the whole."""

import pytest

from detailscribe.state import Exchange, ModelSpend, spend_by_model, spend_of

from ..agent.fakes import concepts, critique, record

ASKED = Exchange(model="m@h", prompt="?", reply="yes", prompt_tokens=10, reply_tokens=2, seconds=0.25, money=0.5)
KEPT = Exchange(model="m@h", prompt="?", reply="yes", cached=True)
LOOKED = Exchange(model="v@h", prompt="?", reply="no", prompt_tokens=5, seconds=1)


def test_every_model_has_its_share():
    images = [record("00-00", seconds=2), record("00-01", seconds=3, money=0.04)]
    assert spend_by_model(images, [ASKED, KEPT, LOOKED, ASKED]) == {
        "fake@0": ModelSpend(calls=2, seconds=5, money=0.04),
        "m@h": ModelSpend(calls=2, cached=1, tokens=24, seconds=0.5, money=1.0),
        "v@h": ModelSpend(calls=1, tokens=5, seconds=1),
    }


def test_the_shares_make_the_whole():
    images = {"00-00": record("00-00", seconds=2, money=0.04)}
    looks = {"00-00": critique("00-00").model_copy(update={"exchanges": (LOOKED, KEPT)})}
    read = concepts().model_copy(update={"exchanges": (ASKED,)})
    whole, shares = spend_of(read, images, looks), spend_by_model(images.values(), [ASKED, LOOKED, KEPT]).values()
    for name in ("tokens", "seconds", "money"):
        assert sum(getattr(share, name) for share in shares) == pytest.approx(getattr(whole, name))
