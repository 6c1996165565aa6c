"""CLIPScore: "CLIPScore: A Reference-free Evaluation Metric for Image Captioning" (arXiv 2104.08718), equation 1."""

import asyncio
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from .metric import LocalMetric, Sample, Score
from .pictures import read_pixels
from .weights import device, load_part, locate

MODEL = "openai/clip-vit-base-patch32"
"""The ViT-B/32 of the source."""
PREFIX = "A photo depicts "
WEIGHT = 2.5
_BATCH = 32
_TOKENS = 77
"""What CLIP reads; longer prompts are cut there, in the source as here."""


class ClipScore(LocalMetric):
    """w * max(cos(image, "A photo depicts " + prompt), 0), in [0, w].

    In single precision, on a GPU too, where the source takes half; the scores differ by about 1e-3.

    Args:
        model: folder or hub id of a CLIP model.
        weight: w.
        prefix: stands before the prompt.
    """

    def __init__(self, model: str = MODEL, *, weight: float = WEIGHT, prefix: str = PREFIX) -> None:
        self._source = model
        self._weight, self._prefix = weight, prefix

    @property
    def identity(self) -> str:
        """Model, w and prefix."""
        return f"clipscore {self._located[1]} w={self._weight} prefix={self._prefix!r}"

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """One score for each sample, in order."""
        return await asyncio.to_thread(self._scores, samples)

    def _scores(self, samples: Sequence[Sample]) -> list[Score]:
        return [Score(value=value) for chunk in _chunks(samples) for value in self._values(chunk)]

    def _values(self, samples: Sequence[Sample]) -> list[float]:
        import torch

        model, tokenizer, processor = self._loaded
        words = [f"{self._prefix}{sample.prompt}" for sample in samples]
        texts = tokenizer(words, padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt")
        pictures = processor(images=[read_pixels(sample) for sample in samples], return_tensors="pt")
        with torch.inference_mode():
            told = _unit(model.get_text_features(**texts.to(model.device)).pooler_output)
            seen = _unit(model.get_image_features(**pictures.to(model.device)).pooler_output)
            return (self._weight * (told * seen).sum(-1).clamp(min=0)).tolist()

    @cached_property
    def _located(self) -> tuple[Path, str]:
        return locate(self._source)

    @cached_property
    def _loaded(self) -> tuple[Any, Any, Any]:
        """Model, tokenizer and image processor."""
        import torch
        from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

        folder = self._located[0]
        model = load_part(CLIPModel, folder, dtype=torch.float32).eval().to(device())
        return model, load_part(CLIPTokenizer, folder), load_part(CLIPImageProcessorPil, folder)


def _chunks(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    return [samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH)]


def _unit(features: Any) -> Any:
    return features / features.norm(dim=-1, keepdim=True)
