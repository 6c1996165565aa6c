"""BLIP-VQA of T2I-CompBench (arXiv 2307.06350, section 4.1): is every noun phrase of the prompt in the picture?"""

import asyncio
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from .metric import LocalMetric, Sample, Score, missing
from .phrases import Phrases, phrases_of_concepts
from .pictures import read_pixels
from .weights import device, load_part, locate

MODEL = "Salesforce/blip-vqa-capfilt-large"
"""The checkpoint that the source names, in the form of transformers."""
SIZE = 480
"""Pixels of a side, as in the source; the model's positions are interpolated to it."""
_WORDS = 35
"""Tokens of a question, as in the source."""


class BlipVqa(LocalMetric):
    """The product over noun phrases of P(yes) / (P(yes) + P(no)) for the question ``PHRASE?``, in [0, 1].

    Args:
        model: folder or hub id of a BLIP model for visual question answering.
        phrases: where the noun phrases come from; by default the sample's concepts.
        size: pixels of a side that pictures are scaled to.
    """

    uses_concepts = True

    def __init__(self, model: str = MODEL, *, phrases: Phrases = phrases_of_concepts, size: int = SIZE) -> None:
        self._source = model
        self._phrases = phrases
        self._size = size

    @property
    def identity(self) -> str:
        """Model, size, and where the phrases come from."""
        named = getattr(self._phrases, "__name__", type(self._phrases).__name__)
        source = getattr(self._phrases, "identity", named)
        return f"blip-vqa {self._located[1]} size={self._size} phrases={source}"

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """One score for each sample, in order; missing where its noun phrases are not known."""
        found = await asyncio.gather(*(self._phrases(sample) for sample in samples))
        return await asyncio.to_thread(self._scores, samples, found)

    def _scores(self, samples: Sequence[Sample], found: Sequence[tuple[str, ...] | str]) -> list[Score]:
        return [self._score(sample, phrases) for sample, phrases in zip(samples, found, strict=True)]

    def _score(self, sample: Sample, phrases: tuple[str, ...] | str) -> Score:
        if isinstance(phrases, str):
            return missing(phrases)
        if not phrases:
            return missing("the prompt names no thing")
        likely = self.probabilities(sample, phrases)
        note = ", ".join(f"{phrase} {p:.2f}" for phrase, p in zip(phrases, likely, strict=True))
        return Score(value=math.prod(likely), note=note)

    def probabilities(self, sample: Sample, phrases: Sequence[str]) -> list[float]:
        """P(yes) / (P(yes) + P(no)) for each phrase; the picture is encoded once."""
        import torch

        model, _, processor = self._loaded
        size = {"height": self._size, "width": self._size}
        pixels = processor(images=[read_pixels(sample)], size=size, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            interpolated = self._size != model.config.vision_config.image_size
            seen = model.vision_model(pixels.to(model.device), interpolate_pos_encoding=interpolated).last_hidden_state
            return self._answers(seen, [f"{phrase}?" for phrase in phrases])

    def _answers(self, seen: Any, questions: Sequence[str]) -> list[float]:
        """P(yes) of questions about a picture, ``seen`` being its encoding of shape (1, patches, width).

        Questions of one length go together, since the decoder of transformers 5 minds padding whatever the mask says.
        """
        _, tokenizer, _ = self._loaded
        asked: list[list[int]] = tokenizer(list(questions), truncation=True, max_length=_WORDS)["input_ids"]
        likely: dict[int, float] = {}
        for length in {len(ids) for ids in asked}:
            places = [n for n, ids in enumerate(asked) if len(ids) == length]
            likely |= zip(places, self._alike(seen, [asked[n] for n in places]), strict=True)
        return [likely[n] for n in range(len(questions))]

    def _alike(self, seen: Any, asked: list[list[int]]) -> list[float]:
        """P(yes) of questions with as many tokens."""
        import torch

        model, tokenizer, _ = self._loaded
        start = model.decoder_start_token_id
        ids = torch.tensor(asked, device=model.device)
        # The encoder's own first token stands behind the decoder's in BLIP's vocabulary.
        ids[:, 0] = start + 1
        read = model.text_encoder(ids, encoder_hidden_states=seen.expand(len(asked), -1, -1)).last_hidden_state
        starts = torch.full((len(asked), 1), start, device=model.device)
        logits = model.text_decoder(starts, encoder_hidden_states=read).logits[:, 0]
        yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
        return logits[:, [yes, no]].softmax(-1)[:, 0].tolist()

    @cached_property
    def _located(self) -> tuple[Path, str]:
        return locate(self._source)

    @cached_property
    def _loaded(self) -> tuple[Any, Any, Any]:
        """Model, tokenizer and image processor."""
        import torch
        from transformers import BertTokenizer, BlipForQuestionAnswering, BlipImageProcessorPil

        folder = self._located[0]
        model = load_part(BlipForQuestionAnswering, folder, dtype=torch.float32).eval().to(device())
        return model, load_part(BertTokenizer, folder), load_part(BlipImageProcessorPil, folder)
