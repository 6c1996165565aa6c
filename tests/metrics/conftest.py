"""An image in a store, and models of the real classes with small random weights."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detailscribe.state import ConceptGraph, Entity
from detailscribe.tools.files import Store
from detailscribe.tools.metrics import Sample

from ..agent.fakes import record

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "yes", "no", "a", "an", "red", "cat", "?", "umbrella", "two"]
WORDS += ["foxes", "the", "beach", "[DEC]", "[ENC]"]
"""The last two are the ids at which BLIP's decoder and encoder begin."""
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SIDE = 32


def noise(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A picture of random pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def concepts_of(prompt: str, *entities: Entity, scene: str | None = None) -> ConceptGraph:
    return ConceptGraph(prompt=prompt, entities=entities, scene=scene)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "run")


@pytest.fixture
def sample(store: Store):
    """Puts a picture into the store: ``sample(noise(1), "a cat")``."""
    made = iter(range(100))

    def put(picture: Image.Image, prompt: str = "a cat", concepts: ConceptGraph | None = None) -> Sample:
        image = record(f"00-{next(made):02}", width=picture.width, height=picture.height)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        store.write(image.path, buffer.getvalue())
        return Sample(image, prompt, store, concepts)

    return put


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of 16 units whose words are letters."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    last = len(tokens) - 1
    words = {"vocab_size": len(tokens), "bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last}
    config = CLIPConfig(
        text_config=SMALL | words | {"max_position_embeddings": 77},
        vision_config=SMALL | {"image_size": SIDE, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(1)
    model = CLIPModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # With weights as small as they begin, all pictures are nearly alike.
            if parameter.dim() > 1:
                parameter.mul_(8)
    model.save_pretrained(folder)
    CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[]).save_pretrained(folder)
    crop = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=crop).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def blip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BLIP for questions, of 16 units and a few words."""
    from transformers import BertTokenizer, BlipConfig, BlipForQuestionAnswering, BlipImageProcessorPil

    folder = tmp_path_factory.mktemp("blip")
    ids = {"bos_token_id": WORDS.index("[DEC]"), "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3}
    text = SMALL | ids | {"vocab_size": len(WORDS), "encoder_hidden_size": 16, "max_position_embeddings": 40}
    config = BlipConfig(text_config=text, vision_config=SMALL | {"image_size": SIDE, "patch_size": 8})
    torch.manual_seed(0)
    model = BlipForQuestionAnswering(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # With weights as small as they begin, every answer is near one half.
            if parameter.dim() > 1 and "text" in name:
                parameter.mul_(8)
    model.save_pretrained(folder)
    BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(folder)
    BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder
