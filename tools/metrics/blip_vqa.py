"""BLIP-VQA of T2I-CompBench (arXiv 2307.06350, section 4.1): is every noun phrase of the prompt in the picture?"""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from ...prompts import counted, load
from ...state import ConceptGraph
from ..errors import ReplyError
from ..language.chat import ChatModel
from ..language.question import Question
from .metric import LocalMetric, Sample, Score, missing
from .weights import Weights

MODEL = "Salesforce/blip-vqa-capfilt-large"
"""The checkpoint that the source names, in the form of transformers."""
SIZE = 480
"""Pixels of a side, as in the source; the model's positions are interpolated to it."""
_WORDS = 35
"""Tokens of a question, as in the source."""

MOST = 8
"""Phrases of one prompt that are asked for, the first; as many as the published evaluation takes."""

Phrases = Callable[[Sample], Awaitable[tuple[str, ...] | str]]
"""The noun phrases of a sample's prompt, or the reason why there are none."""

_PREPOSITION = re.compile(r"^(?:in|on|at|under|inside|by|near|over)\s+", re.IGNORECASE)


async def phrases_of_concepts(sample: Sample) -> tuple[str, ...] | str:
    """Those of the sample's concepts: every entity with its attributes and its number, then the place."""
    if sample.concepts is None:
        return "the prompt was not decomposed, so its noun phrases are not known"
    return noun_phrases(sample.concepts)


def noun_phrases(concepts: ConceptGraph) -> tuple[str, ...]:
    """``a red umbrella``, ``two foxes``, ``the beach``; at most ``MOST``, each once."""
    phrases: list[str] = []
    for entity in concepts.entities:
        words = " ".join((*entity.attributes, entity.name))
        article = "an" if words[:1].lower() in tuple("aeiou") else "a"
        phrases.append(counted(entity.count, words) if entity.count > 1 else f"{article} {words}")
    if concepts.scene is not None:
        phrases.append(_PREPOSITION.sub("", concepts.scene.strip()))
    return tuple(dict.fromkeys(phrases))[:MOST]


class ChatPhrases:
    """Has a chat model name the noun phrases of a prompt."""

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat
        self._system, self._text = load("rate_phrases_system"), load("rate_phrases")

    @property
    def identity(self) -> str:
        """Model and templates, which scores depend on."""
        return f"{self._chat.name} {self._system.label} {self._text.label}"

    async def __call__(self, sample: Sample) -> tuple[str, ...] | str:
        """The phrases in the order of the prompt; the reason where no usable answer came."""
        question = Question(
            name="noun_phrases",
            system=self._system.render(most=MOST),
            text=self._text.render(prompt=sample.prompt),
            template=f"{self._system.label} {self._text.label}",
        )
        try:
            reply = await self._chat.ask(question, PhrasesAnswer)
        except ReplyError as error:
            return f"no noun phrases: {error.reason}"
        return tuple(dict.fromkeys(" ".join(phrase.split()) for phrase in reply.value.phrases))[:MOST]


class PhrasesAnswer(BaseModel):
    """Noun phrases, in the order of the prompt."""

    phrases: Annotated[list[Annotated[str, Field(min_length=1, max_length=80)]], Field(min_length=1, max_length=16)]


class BlipVqa(LocalMetric):
    """The product over noun phrases of P(yes) / (P(yes) + P(no)) for the question ``PHRASE?``, in [0, 1].

    Args:
        model: folder or hub id of a BLIP model for visual question answering.
        phrases: where the noun phrases come from; by default the sample's concepts.
        size: pixels of a side that pictures are scaled to.
    """

    uses_concepts = True

    def __init__(self, model: str = MODEL, *, phrases: Phrases = phrases_of_concepts, size: int = SIZE) -> None:
        self._weights = Weights(model, ("BlipForQuestionAnswering", "BertTokenizer", "BlipImageProcessorPil"))
        self._phrases = phrases
        self._size = size

    @property
    def identity(self) -> str:
        """Model, size, and where the phrases come from."""
        named = getattr(self._phrases, "__name__", type(self._phrases).__name__)
        source = getattr(self._phrases, "identity", named)
        return f"blip-vqa {self._weights.located[1]} size={self._size} phrases={source}"

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """One score for each sample, in order; missing where its noun phrases are not known."""
        found = await asyncio.gather(*(self._phrases(sample) for sample in samples))
        return await asyncio.to_thread(lambda: list(map(self._score, samples, found)))

    def _score(self, sample: Sample, phrases: tuple[str, ...] | str) -> Score:
        if isinstance(phrases, str):
            return missing(phrases)
        if not phrases:
            return missing("the prompt names no thing")
        likely = self.probabilities(sample, phrases)
        note = ", ".join(f"{phrase} {p:.2f}" for phrase, p in zip(phrases, likely, strict=True))
        return Score(value=math.prod(likely), note=note)

    def probabilities(self, sample: Sample, phrases: Sequence[str]) -> list[float]:
        """P(yes) / (P(yes) + P(no)) for each phrase; the picture is encoded once.

        Questions of one length go together, since the decoder of transformers 5 minds padding whatever the mask says.
        """
        import torch

        model, tokenizer, processor = self._weights.loaded
        size = {"height": self._size, "width": self._size}
        pixels = processor(images=[sample.pixels()], size=size, return_tensors="pt")["pixel_values"].to(model.device)
        questions = [f"{phrase}?" for phrase in phrases]
        asked: list[list[int]] = tokenizer(questions, truncation=True, max_length=_WORDS)["input_ids"]
        yes_no, start = tokenizer.convert_tokens_to_ids(["yes", "no"]), model.decoder_start_token_id
        likely: dict[int, float] = {}
        with torch.inference_mode():
            interpolated = self._size != model.config.vision_config.image_size
            seen = model.vision_model(pixels, interpolate_pos_encoding=interpolated).last_hidden_state
            for length in {len(ids) for ids in asked}:
                places = [n for n, ids in enumerate(asked) if len(ids) == length]
                ids = torch.tensor([asked[n] for n in places], device=model.device)
                # The encoder's own first token stands behind the decoder's in BLIP's vocabulary.
                ids[:, 0] = start + 1
                read = model.text_encoder(ids, encoder_hidden_states=seen.expand(len(ids), -1, -1)).last_hidden_state
                starts = torch.full((len(ids), 1), start, device=model.device)
                logits = model.text_decoder(starts, encoder_hidden_states=read).logits[:, 0]
                likely |= zip(places, logits[:, yes_no].softmax(-1)[:, 0].tolist(), strict=True)
        return [likely[n] for n in range(len(phrases))]
