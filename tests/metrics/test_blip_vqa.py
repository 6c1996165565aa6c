"""BLIP-VQA against its definition, one question at a time, written out here."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from detailscribe.state import Entity
from detailscribe.tools.metrics.local import BlipVqa

from ..vision.fakes import FakeChat
from .conftest import SIDE, WORDS, concepts_of, noise

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711])
CAT = concepts_of(
    "two foxes and a red cat", Entity(id="f", name="fox", count=2), Entity(id="c", name="cat", attributes=("red",))
)


def pixels(picture: Image.Image, side: int) -> torch.Tensor:
    scaled = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)) / 255
    return torch.tensor((scaled - MEAN) / DEVIATION).float().permute(2, 0, 1)[None]


def reference(folder, picture: Image.Image, question: str, side: int = SIDE) -> float:
    """P(yes) / (P(yes) + P(no)) of the decoder's first word."""
    from transformers import BlipForQuestionAnswering

    model = BlipForQuestionAnswering.from_pretrained(folder).eval()
    ids = torch.tensor([[WORDS.index("[ENC]"), *map(WORDS.index, question.split()), WORDS.index("[SEP]")]])
    with torch.no_grad():
        seen = model.vision_model(pixels(picture, side), interpolate_pos_encoding=side != SIDE).last_hidden_state
        read = model.text_encoder(ids, encoder_hidden_states=seen).last_hidden_state
        start = torch.tensor([[WORDS.index("[DEC]")]])
        words = model.text_decoder(start, encoder_hidden_states=read).logits[0, 0].softmax(0)
    yes, no = words[WORDS.index("yes")], words[WORDS.index("no")]
    return float(yes / (yes + no))


@pytest.mark.parametrize("seed", range(3))
async def test_it_is_the_product_over_noun_phrases(blip_folder, sample, seed):
    picture = noise(seed)
    [score] = await BlipVqa(str(blip_folder), size=SIDE).score_all([sample(picture, CAT.prompt, CAT)])
    each = [reference(blip_folder, picture, question) for question in ("two foxes ?", "a red cat ?")]
    assert score.value == pytest.approx(math.prod(each), abs=1e-5)
    assert score.note == f"two foxes {each[0]:.2f}, a red cat {each[1]:.2f}"


async def test_pictures_are_scaled_to_the_size_of_the_source(blip_folder, sample):
    metric = BlipVqa(str(blip_folder), size=2 * SIDE)
    [score] = await metric.score_all([sample(noise(5), "a cat", concepts_of("a cat", Entity(id="c", name="cat")))])
    assert score.value == pytest.approx(reference(blip_folder, noise(5), "a cat ?", 2 * SIDE), abs=1e-5)
    assert BlipVqa(str(blip_folder)).identity != metric.identity


async def test_the_answers_differ_between_pictures_and_phrases(blip_folder, sample):
    metric = BlipVqa(str(blip_folder), size=SIDE)
    found = [p for n in range(3) for p in metric.probabilities(sample(noise(n)), ("two foxes", "a red cat"))]
    assert max(found) - min(found) > 0.01


async def test_a_prompt_that_was_not_decomposed_is_missing(blip_folder, sample):
    [score, other] = await BlipVqa(str(blip_folder), size=SIDE).score_all(
        [sample(noise(1)), sample(noise(1), "x", CAT)]
    )
    assert score.value is None
    assert "not decomposed" in score.reason
    assert other.value is not None


async def test_phrases_may_come_from_a_chat_model(blip_folder, sample):
    chat = FakeChat(lambda question: {"phrases": ["a red cat"]})
    [score] = await BlipVqa(str(blip_folder), chat=chat, size=SIDE).score_all([sample(noise(1))])
    assert score.value == pytest.approx(reference(blip_folder, noise(1), "a red cat ?"), abs=1e-5)
