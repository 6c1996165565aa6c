"""A grounding model says where things are, behind the critic's protocol; tried with tiny random weights."""

import pytest
import torch
from transformers import Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessorPil, Owlv2Processor

from detailscribe.tools.errors import ModelError
from detailscribe.tools.roles import Comparer
from detailscribe.tools.vision import ChatCritic
from detailscribe.tools.vision.grounding import GroundedCritic, Grounder

from ..diffusion.conftest import tokenizer
from .conftest import put
from .fakes import FakeChat, concepts, script


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """OWLv2 with random weights, which finds everything everywhere."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    text = sizes | ids | {"vocab_size": 16, "max_position_embeddings": 16}
    model = Owlv2ForObjectDetection(
        Owlv2Config(text_config=text, vision_config=sizes | {"image_size": 32, "patch_size": 16}, projection_dim=16)
    )
    place = tmp_path_factory.mktemp("owl")
    model.save_pretrained(place)
    Owlv2Processor(Owlv2ImageProcessorPil(size={"height": 32, "width": 32}), tokenizer(16)).save_pretrained(place)
    return place


async def test_what_was_asked_has_the_boxes_of_its_things(folder, store):
    image, critic = put(store, "00-01", (64, 64)), ChatCritic(FakeChat(script({"umbrella": "no"})))
    grounded = GroundedCritic(critic, Grounder(folder, threshold=0.0))
    seen = await grounded.critique(image, concepts(), store)
    plain = await critic.critique(image, concepts(), store)
    assert (seen.answers(), seen.refined_prompt) == (plain.answers(), plain.refined_prompt)
    assert {v.check for v in seen.verdicts if v.boxes} == {"umbrella", "cat"}  # not the scene, nor what was settled
    assert all(0 <= a < c <= 1 and 0 <= b < d <= 1 for v in seen.verdicts for a, b, c, d in v.boxes)
    assert seen.faults == next(v.boxes for v in seen.verdicts if v.check == "umbrella")
    assert grounded.model == f"fake@host, boxes by {folder.name}"
    assert isinstance(grounded, Comparer)


async def test_nothing_sure_enough_is_no_box(folder, store):
    image, critic = put(store, "00-02"), ChatCritic(FakeChat(script({})))
    seen = await GroundedCritic(critic, Grounder(folder, threshold=1.0)).critique(image, concepts(), store)
    assert all(v.boxes == () for v in seen.verdicts)


def test_a_model_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ModelError, match=r"\A.*cannot be used to find things in pictures: .*\Z"):
        Grounder(tmp_path)
