"""CLIPScore against equation 1 of its paper, written out here."""

import numpy as np
import pytest
import torch
from PIL import Image

from detailscribe.tools.errors import ModelError
from detailscribe.tools.metrics.local import ClipScore

from .conftest import LETTERS, SIDE, noise

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711])


def pixels(picture: Image.Image) -> torch.Tensor:
    """The shorter side to the model's, bicubic; the middle; normalized."""
    scale = SIDE / min(picture.size)
    width, height = (int(side * scale) for side in picture.size)
    scaled = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    middle = np.asarray(scaled.crop((left, top, left + SIDE, top + SIDE))) / 255
    return torch.tensor((middle - MEAN) / DEVIATION).float().permute(2, 0, 1)[None]


def tokens(text: str) -> torch.Tensor:
    """Letters, the last of each word marked; a first token and a last one; at most 77."""
    ids = [LETTERS.index(c) + (26 if n == len(word) - 1 else 0) for word in text.split() for n, c in enumerate(word)]
    return torch.tensor([[52, *ids[:75], 53]])


def reference(folder, picture: Image.Image, text: str) -> float:
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(folder).eval()
    with torch.no_grad():
        seen = model.visual_projection(model.vision_model(pixels(picture)).pooler_output)[0]
        told = model.text_projection(model.text_model(tokens(text)).pooler_output)[0]
    return float(2.5 * max(torch.dot(seen, told) / seen.norm() / told.norm(), 0))


@pytest.mark.parametrize("seed", range(4))
async def test_it_is_the_published_formula(clip_folder, sample, seed):
    one = sample(noise(seed), "a cat")
    [score] = await ClipScore(str(clip_folder)).score_all([one])
    assert score.value == pytest.approx(reference(clip_folder, noise(seed), "a photo depicts a cat"), abs=1e-5)


async def test_pictures_that_speak_against_the_prompt_score_zero(clip_folder, sample):
    scores = await ClipScore(str(clip_folder)).score_all([sample(noise(n)) for n in range(20)])
    values = [score.value for score in scores]
    assert min(values) == 0 < max(values) <= 2.5


async def test_a_prompt_longer_than_clip_reads_is_cut_at_77_tokens(clip_folder, sample):
    words = " ".join(["cats"] * 30)
    pictures = [noise(seed) for seed in range(6)]
    scores = await ClipScore(str(clip_folder)).score_all([sample(picture, words) for picture in pictures])
    expected = [reference(clip_folder, picture, f"a photo depicts {words}") for picture in pictures]
    assert [score.value for score in scores] == pytest.approx(expected, abs=1e-5)
    assert max(expected) > 0


async def test_many_samples_score_as_each_alone(clip_folder, sample):
    metric = ClipScore(str(clip_folder))
    samples = [sample(noise(n), "cat " * (n % 5 + 1)) for n in range(40)]
    together = [score.value for score in await metric.score_all(samples)]
    alone = [await metric.score(s.image, s.prompt, s.store) for s in samples]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(set(together)) > 5


def test_its_identity_changes_with_the_weights(clip_folder, tmp_path):
    import shutil

    other = tmp_path / "clip"
    shutil.copytree(clip_folder, other)
    (other / "model.safetensors").write_bytes(b"other")
    renamed = ClipScore(str(other)).identity.replace(other.name, clip_folder.name)
    assert renamed != ClipScore(str(clip_folder)).identity


@pytest.mark.parametrize("source", ["no/such/folder", "nowhere"])
async def test_a_folder_that_is_not_there_is_told(sample, source):
    with pytest.raises(ModelError, match="there is no model folder"):
        await ClipScore(source).score_all([sample(noise(0))])


async def test_a_folder_without_a_model_is_told(sample, tmp_path):
    with pytest.raises(ModelError, match="holds no usable CLIPModel"):
        await ClipScore(str(tmp_path)).score_all([sample(noise(0))])
