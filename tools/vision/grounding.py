"""Boxes from a grounding model (Grounding DINO, OWLv2), more accurate than those that chat models write."""

import asyncio
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from ...state import Box, Check, ConceptGraph, Critique, ImageRecord
from ..errors import ModelError
from ..files import Store
from ..roles import LOADING, Critic, model_name
from ..text import brief


class Grounder:
    """Finds what a phrase names in a picture, with any model of transformers for zero-shot object detection.

    ``source`` is a folder or a hub id, such as ``IDEA-Research/grounding-dino-tiny`` or ``google/owlv2-base-patch16``;
    boxes with a score below ``threshold`` are dropped. ``ModelError`` if there is no such model.
    """

    def __init__(self, source: str | Path, threshold: float = 0.3) -> None:
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        try:
            with LOADING:
                self._processor: Any = AutoProcessor.from_pretrained(source)
                self._model: Any = AutoModelForZeroShotObjectDetection.from_pretrained(source).eval()
        except (OSError, ValueError) as error:
            raise ModelError(f"{source} cannot be used to find things in pictures: {brief(str(error), 200)}") from error
        self.model, self.threshold = str(source).rpartition("/")[2], threshold
        self._lock = Lock()

    def locate(self, picture: Image.Image, phrases: Iterable[str]) -> dict[str, tuple[Box, ...]]:
        """The boxes of each phrase, the highest score first, cut off at the edges of the picture."""
        import torch

        located, read = dict[str, tuple[Box, ...]](), self._processor.post_process_grounded_object_detection
        size = (picture.width, picture.height)
        for phrase in dict.fromkeys(phrases):
            with self._lock, torch.inference_mode():
                inputs = self._processor(text=[[f"a {phrase}"]], images=picture, return_tensors="pt")
                outputs = self._model(**inputs)
            how = {"input_ids": inputs["input_ids"]} if "input_ids" in inspect.signature(read).parameters else {}
            [result] = read(outputs, threshold=self.threshold, target_sizes=[size[::-1]], **how)
            scored = sorted(zip(result["scores"].tolist(), result["boxes"].tolist(), strict=True), reverse=True)
            boxes = [tuple(min(max(at / size[i % 2], 0.0), 1.0) for i, at in enumerate(box)) for _, box in scored]
            located[phrase] = tuple((a, b, c, d) for a, b, c, d in boxes if a < c and b < d)
        return located


@dataclass(frozen=True)
class GroundedCritic:
    """Another critic, with boxes by a grounding model."""

    critic: Critic
    """Answers the checklist."""
    grounder: Grounder
    """Finds the things."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.critic, name)

    @property
    def model(self) -> str:
        """The other critic's name, and that of the grounding model."""
        return f"{model_name(self.critic)}, boxes by {self.grounder.model}"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The other critic's critique, with the boxes of what each check that was asked is about."""
        critique = await self.critic.critique(image, concepts, store)
        phrases = {v.check: _nouns(concepts.check(v.check), concepts) for v in critique.verdicts if not v.settled_by}
        wanted = [phrase for nouns in phrases.values() for phrase in nouns]
        located = await asyncio.to_thread(lambda: self.grounder.locate(store.picture(image.path), wanted))
        boxes = {check: tuple(box for phrase in nouns for box in located[phrase]) for check, nouns in phrases.items()}
        verdicts = tuple(v.model_copy(update={"boxes": boxes.get(v.check, ())}) for v in critique.verdicts)
        return critique.model_copy(update={"verdicts": verdicts})


def _nouns(check: Check, concepts: ConceptGraph) -> list[str]:
    """The things that a check is about, by their bare nouns: one of another colour should be found as well."""
    if check.aspect in ("scene", "nothing_else") or check.about is None:
        return []
    ids = concepts.interaction(check.about).members() if check.aspect == "relation" else (check.about,)
    return [concepts.entity(id).name for id in ids]
