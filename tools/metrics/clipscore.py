"""CLIPScore: "CLIPScore: A Reference-free Evaluation Metric for Image Captioning" (arXiv 2104.08718), equation 1."""

import asyncio
from collections.abc import Sequence

from .metric import LocalMetric, Sample, Score
from .weights import Weights

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
        self._weights = Weights(model, ("CLIPModel", "CLIPTokenizer", "CLIPImageProcessorPil"))
        self._weight, self._prefix = weight, prefix

    @property
    def identity(self) -> str:
        """Model, w and prefix."""
        return f"clipscore {self._weights.located[1]} w={self._weight} prefix={self._prefix!r}"

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """One score for each sample, in order."""
        chunks = [samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH)]
        values = await asyncio.to_thread(lambda: [value for chunk in chunks for value in self._values(chunk)])
        return [Score(value=value) for value in values]

    def _values(self, samples: Sequence[Sample]) -> list[float]:
        import torch

        model, tokenizer, processor = self._weights.loaded
        words = [f"{self._prefix}{sample.prompt}" for sample in samples]
        texts = tokenizer(words, padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt")
        pictures = processor(images=[sample.pixels() for sample in samples], return_tensors="pt")
        with torch.inference_mode():
            words_of = model.get_text_features(**texts.to(model.device)).pooler_output
            seen = model.get_image_features(**pictures.to(model.device)).pooler_output
            words_of, seen = (features / features.norm(dim=-1, keepdim=True) for features in (words_of, seen))
            return (self._weight * (words_of * seen).sum(-1).clamp(min=0)).tolist()
