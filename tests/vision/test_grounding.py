"""A grounding model says where things are, behind the critic's protocol; tried with tiny random weights."""

import inspect

import pytest
import torch
from PIL import Image
from transformers import (
    BertConfig,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessorPil,
    Owlv2Processor,
    SwinConfig,
)

from detailscribe.tools.errors import ModelError
from detailscribe.tools.roles import compares
from detailscribe.tools.vision.critic import ChatCritic
from detailscribe.tools.vision.grounding import GroundedCritic, Grounder

from ..diffusion.conftest import tokenizer
from .conftest import put
from .fakes import FakeChat, concepts, script


def owl(place):
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    text = sizes | ids | {"vocab_size": 16, "max_position_embeddings": 16}
    vision = sizes | {"image_size": 32, "patch_size": 16}
    config = Owlv2Config(text_config=text, vision_config=vision, projection_dim=16)
    reads = Owlv2ImageProcessorPil(size={"height": 32, "width": 32})
    return Owlv2ForObjectDetection(config), Owlv2Processor(reads, tokenizer(16))


def dino(place):
    (place / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "a", "cat"]))
    stages = {"depths": [1] * 4, "num_heads": [1] * 4, "out_features": ["stage2", "stage3", "stage4"]}
    looks = SwinConfig(image_size=32, patch_size=4, embed_dim=8, window_size=4, **stages)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = BertConfig(vocab_size=8, max_position_embeddings=64, **sizes).to_dict()
    layers = {f"{part}_{name}": n for part in ("encoder", "decoder") for name, n in (("layers", 2), ("ffn_dim", 16))}
    config = GroundingDinoConfig(backbone_config=looks, text_config=text, d_model=32, num_queries=5, **layers)
    reads = GroundingDinoImageProcessorPil(size={"shortest_edge": 128, "longest_edge": 160})
    return GroundingDinoForObjectDetection(config), GroundingDinoProcessor(
        reads, BertTokenizer(str(place / "vocab.txt"))
    )


@pytest.fixture(scope="module", params=[owl, dino])
def folder(request, tmp_path_factory):
    """A model with random weights, which finds everything everywhere, and its own processor."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp(request.param.__name__)
    for part in request.param(place):
        part.save_pretrained(place)
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
    assert compares(grounded)


def test_the_surest_box_comes_first_and_lies_where_the_pixels_are(folder, monkeypatch):
    """In shares of the picture's own size, whatever the size that the model saw it in."""
    grounder, picture = Grounder(folder, threshold=0.0), Image.new("RGB", (64, 32))
    seen = {"scores": torch.tensor([0.4, 0.9]), "boxes": torch.tensor([[0.0, 0, 16, 16], [32, 8, 80, 32]])}
    sizes, real = [], grounder._processor.post_process_grounded_object_detection

    def read(*given, **how):
        sizes.extend(inspect.signature(real).bind(*given, **how).arguments["target_sizes"])
        return [seen]

    read.__signature__ = inspect.signature(real)  # which tells what it takes
    monkeypatch.setattr(grounder._processor, "post_process_grounded_object_detection", read)
    assert grounder.locate(picture, ["cat", "cat"]) == {"cat": ((0.5, 0.25, 1.0, 1.0), (0.0, 0.0, 0.25, 0.5))}
    assert sizes == [(32, 64)]  # height before width


async def test_nothing_sure_enough_is_no_box(folder, store):
    image, critic = put(store, "00-02"), ChatCritic(FakeChat(script({})))
    seen = await GroundedCritic(critic, Grounder(folder, threshold=1.0)).critique(image, concepts(), store)
    assert all(v.boxes == () for v in seen.verdicts)


def test_a_model_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ModelError, match=r"\A.*cannot be used to find things in pictures: .*\Z"):
        Grounder(tmp_path)
