"""Metrics by local models: CLIPScore, BLIP-VQA and LPIPS."""

import asyncio
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from PIL import Image
from pydantic import BaseModel, Field

from ...prompts import noun_phrases
from ..errors import ModelError, ReplyError
from ..language.chat import ChatModel
from ..language.question import Wording
from ..text import HUB_ID, brief
from .metric import LocalMetric, Sample, Score, missing

CLIP = "openai/clip-vit-base-patch32"
BLIP = "Salesforce/blip-vqa-capfilt-large"
_SMALL = ("*.json", "*.txt")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""In the order of preference; the second is loaded with ``weights_only``, which runs no code."""


@dataclass
class Weights:
    """A model with its tokenizer and image processor, each loaded at its first use."""

    source: str
    """Folder or hub id."""
    kinds: tuple[str, str, str]
    """Classes of transformers: model, tokenizer, image processor."""

    @cached_property
    def located(self) -> tuple[Path, str]:
        """The folder, and the model's name with a short content hash; raises as ``locate`` does."""
        return locate(self.source)

    @cached_property
    def loaded(self) -> tuple[Any, Any, Any]:
        """Model in single precision on the GPU if there is one, tokenizer, image processor."""
        import torch
        import transformers

        from ..quiet import quiet_loading

        folder = self.located[0]
        parts: list[Any] = []
        for kind in self.kinds:
            options = {} if parts else {"dtype": torch.float32}
            try:
                with quiet_loading():
                    parts.append(getattr(transformers, kind).from_pretrained(folder, local_files_only=True, **options))
            except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
                raise ModelError(f"{folder} holds no usable {kind}: {brief(str(error))}") from error
        return parts[0].eval().to("cuda" if torch.cuda.is_available() else "cpu"), parts[1], parts[2]


def locate(source: str) -> tuple[Path, str]:
    """The folder of a model and its name with a short content hash; a hub id is downloaded."""
    folder = Path(source)
    if folder.is_dir():
        total = hashlib.sha256()
        for path in sorted(path for kind in (*_SMALL, *_WEIGHTS, "*.pt") for path in folder.glob(kind)):
            total.update(f"{path.name}\0".encode())
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return folder, f"{folder.resolve().name}@{total.hexdigest()[:12]}"
    if not HUB_ID.fullmatch(source):
        raise ModelError(f"there is no model folder {source}; give a folder or a hub id such as owner/name")
    from huggingface_hub import snapshot_download

    try:
        for weights in _WEIGHTS:
            snapshot = Path(snapshot_download(source, allow_patterns=[*_SMALL, weights]))
            if any(snapshot.glob(weights)):
                return snapshot, f"{source}@{snapshot.name[:12]}"
    except (OSError, ValueError) as error:  # errors of the hub are OSErrors
        raise ModelError(
            f"{source} is no folder here, and the hub did not give it ({brief(str(error))}):"
            " download it elsewhere and name its folder with --weights METRIC=FOLDER"
        ) from error
    raise ModelError(f"{source} on the hub holds no weights that can be read")


class ClipScore(LocalMetric):
    """2.5 * max(cos(image, "A photo depicts " + prompt), 0), in [0, 2.5]: equation 1 of "CLIPScore: A Reference-free
    Evaluation Metric for Image Captioning" (arXiv 2104.08718), with a CLIP model of any folder or hub id. In single
    precision, where the source takes half on a GPU; scores differ by about 1e-3. Prompts are cut at 77 tokens."""

    BATCH = 32

    def __init__(self, model: str = CLIP) -> None:
        self._weights = Weights(model, ("CLIPModel", "CLIPTokenizer", "CLIPImageProcessorPil"))

    @property
    def identity(self) -> str:
        return f"clipscore {self._weights.located[1]} w=2.5 prefix='A photo depicts '"

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        chunks = [samples[start : start + self.BATCH] for start in range(0, len(samples), self.BATCH)]
        values = await asyncio.to_thread(lambda: [value for chunk in chunks for value in self._values(chunk)])
        return [Score(value=value) for value in values]

    def _values(self, samples: Sequence[Sample]) -> list[float]:
        import torch

        model, tokenizer, processor = self._weights.loaded
        words = [f"A photo depicts {sample.prompt}" for sample in samples]
        texts = tokenizer(words, padding=True, truncation=True, max_length=77, return_tensors="pt")
        pictures = processor(images=[sample.pixels() for sample in samples], return_tensors="pt")
        with torch.inference_mode():
            text = model.get_text_features(**texts.to(model.device)).pooler_output
            image = model.get_image_features(**pictures.to(model.device)).pooler_output
            text, image = (features / features.norm(dim=-1, keepdim=True) for features in (text, image))
            return (2.5 * (text * image).sum(-1).clamp(min=0)).tolist()


MOST = 8
"""Phrases of one prompt that are scored, the first ones; as many as in the published evaluation."""


class PhrasesAnswer(BaseModel):
    """Noun phrases, in the order of the prompt."""

    phrases: Annotated[list[Annotated[str, Field(min_length=1, max_length=80)]], Field(min_length=1, max_length=16)]


class BlipVqa(LocalMetric):
    """BLIP-VQA of T2I-CompBench (arXiv 2307.06350, section 4.1): the product over the prompt's noun phrases of P(yes) /
    (P(yes) + P(no)) for the question ``PHRASE?``, in [0, 1]. The phrases are the sample's entities with attributes and
    number, and its place; or, with ``chat``, those that a chat model finds. Pictures are scaled to ``size`` pixels a
    side, 480 in the source; the model's position embeddings are interpolated."""

    uses_concepts = True

    def __init__(self, model: str = BLIP, *, chat: ChatModel | None = None, size: int = 480) -> None:
        self._weights = Weights(model, ("BlipForQuestionAnswering", "BertTokenizer", "BlipImageProcessorPil"))
        self._chat, self._size = chat, size
        self._wording = Wording.load("rate_phrases", "rate_phrases_system")

    @property
    def identity(self) -> str:
        phrases = f"{self._chat.name} {self._wording.label}" if self._chat else "phrases_of_concepts"
        return f"blip-vqa {self._weights.located[1]} size={self._size} phrases={phrases}"

    async def phrases(self, sample: Sample) -> tuple[str, ...] | str:
        """The noun phrases of a sample's prompt, or the reason why there are none."""
        if self._chat is None:
            reason = "the prompt was not decomposed, so its noun phrases are not known"
            return reason if sample.concepts is None else noun_phrases(sample.concepts)[:MOST]
        question = self._wording.question("noun_phrases", prompt=sample.prompt, most=MOST)
        try:
            reply = await self._chat.ask(question, PhrasesAnswer)
        except ReplyError as error:
            return f"no noun phrases: {error.reason}"
        return tuple(dict.fromkeys(" ".join(phrase.split()) for phrase in reply.value.phrases))[:MOST]

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        phrases = await asyncio.gather(*map(self.phrases, samples))
        return await asyncio.to_thread(lambda: list(map(self._score, samples, phrases)))

    def _score(self, sample: Sample, phrases: tuple[str, ...] | str) -> Score:
        if isinstance(phrases, str) or not phrases:
            return missing(phrases if isinstance(phrases, str) else "the prompt names no thing")
        likely = self.probabilities(sample, phrases)
        note = ", ".join(f"{phrase} {p:.2f}" for phrase, p in zip(phrases, likely, strict=True))
        return Score(value=math.prod(likely), note=note)

    def probabilities(self, sample: Sample, phrases: Sequence[str]) -> list[float]:
        """P(yes) / (P(yes) + P(no)) for each phrase. Questions are cut at 35 tokens, as in the source; those of one
        length are batched, since the decoder of transformers 5 attends to padding despite the mask."""
        import torch

        model, tokenizer, processor = self._weights.loaded
        size = {"height": self._size, "width": self._size}
        pixels = processor(images=[sample.pixels()], size=size, return_tensors="pt")["pixel_values"].to(model.device)
        questions = [f"{phrase}?" for phrase in phrases]
        tokens: list[list[int]] = tokenizer(questions, truncation=True, max_length=35)["input_ids"]
        yes_no, start = tokenizer.convert_tokens_to_ids(["yes", "no"]), model.decoder_start_token_id
        likely: dict[int, float] = {}
        with torch.inference_mode():
            interpolated = self._size != model.config.vision_config.image_size
            vision = model.vision_model(pixels, interpolate_pos_encoding=interpolated).last_hidden_state
            for length in {len(ids) for ids in tokens}:
                places = [n for n, ids in enumerate(tokens) if len(ids) == length]
                ids = torch.tensor([tokens[n] for n in places], device=model.device)
                # In BLIP's vocabulary the encoder's first token follows the decoder's.
                ids[:, 0] = start + 1
                text = model.text_encoder(ids, encoder_hidden_states=vision.expand(len(ids), -1, -1)).last_hidden_state
                starts = torch.full((len(ids), 1), start, device=model.device)
                logits = model.text_decoder(starts, encoder_hidden_states=text).logits[:, 0]
                likely |= zip(places, logits[:, yes_no].softmax(-1)[:, 0].tolist(), strict=True)
        return [likely[n] for n in range(len(phrases))]


_LAYERS = (
    *(("net.slice1.0", 4, 2), ("net.slice2.3", 1, 2), ("net.slice3.6", 1, 1)),
    *(("net.slice4.8", 1, 1), ("net.slice5.10", 1, 1)),
)
"""Name, stride and padding of each convolution; max pooling of size 3 and stride 2 precedes the second and third."""

_SMALLEST = 63
"""Shortest side in pixels."""


class Lpips:
    """LPIPS with the weights of the package ``lpips``, saved by safetensors' ``save_model``."""

    model: str
    """Name and hash of the weights."""

    def __init__(self, file: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            data = file.read_bytes()
            weights, self.model = load(data), f"lpips@{hashlib.sha256(data).hexdigest()[:8]}"
            self._layers = [
                (weights[f"{name}.weight"], weights[f"{name}.bias"], weights[f"lin{n}.model.1.weight"], stride, padding)
                for n, (name, stride, padding) in enumerate(_LAYERS)
            ]
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelError(
                f"{file} has no weights of LPIPS ({error}): save them with"
                " safetensors.torch.save_model(lpips.LPIPS(net='alex'), FILE)"
            ) from error

    def distance(self, first: Image.Image, second: Image.Image) -> float | None:
        """The distance of two pictures; None if their sizes differ, or are too small for the network."""
        import numpy as np
        import torch
        from torch.nn.functional import conv2d, max_pool2d, normalize

        if first.size != second.size or min(first.size) < _SMALLEST:
            return None
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        pixels = np.stack([np.asarray(picture.convert("RGB"), np.float32) for picture in (first, second)])
        hidden = (torch.from_numpy(pixels / 127.5 - 1) - shift).div(scale).permute(0, 3, 1, 2)
        total = 0.0
        with torch.inference_mode():
            for n, (weight, bias, linear, stride, padding) in enumerate(self._layers):
                hidden = max_pool2d(hidden, 3, 2) if n in (1, 2) else hidden
                hidden = conv2d(hidden, weight, bias, stride, padding).relu()
                a, b = normalize(hidden, dim=1, eps=1e-10)
                total += float(conv2d((a - b).square()[None], linear).mean())
        return total
