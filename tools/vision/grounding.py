"""Boxes from a grounding model, a better source than what chat models write: Grounding DINO or OWLv2."""

import asyncio
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from ...state import Box, Check, ConceptGraph, Critique, Entity, ImageRecord
from ..errors import ModelError
from ..files import Store
from ..roles import LOADING, Critic, model_name
from ..text import brief


class Grounder:
    """Finds what a phrase names in a picture, with any model of transformers for zero-shot object detection.

    Args:
        source: A folder or a hub id, such as ``IDEA-Research/grounding-dino-tiny`` or ``google/owlv2-base-patch16``.
        threshold: Least score of a box, in [0, 1].

    Raises:
        ModelError: there is no such model.
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
        """Where each phrase is, the surest box first; a box is cut off where it leaves the picture."""
        import torch

        found, read = dict[str, tuple[Box, ...]](), self._processor.post_process_grounded_object_detection
        size = (picture.width, picture.height)
        for phrase in dict.fromkeys(phrases):
            with self._lock, torch.inference_mode():
                inputs = self._processor(text=[[f"a {phrase}"]], images=picture, return_tensors="pt")
                outputs = self._model(**inputs)
            how = {"input_ids": inputs["input_ids"]} if "input_ids" in inspect.signature(read).parameters else {}
            [seen] = read(outputs, threshold=self.threshold, target_sizes=[size[::-1]], **how)
            scored = sorted(zip(seen["scores"].tolist(), seen["boxes"].tolist(), strict=True), reverse=True)
            boxes = [tuple(min(max(at / size[i % 2], 0.0), 1.0) for i, at in enumerate(box)) for _, box in scored]
            found[phrase] = tuple((a, b, c, d) for a, b, c, d in boxes if a < c and b < d)
        return found


@dataclass(frozen=True)
class GroundedCritic:
    """Another critic, whose verdicts say where the things are that a grounding model finds."""

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
        """The other critic's critique, with the boxes of what each check is about that was asked."""
        seen = await self.critic.critique(image, concepts, store)
        phrases = {v.check: _phrases(concepts.check(v.check), concepts) for v in seen.verdicts if not v.settled_by}
        wanted = [phrase for named in phrases.values() for phrase in named]
        boxes = await asyncio.to_thread(lambda: self.grounder.locate(store.picture(image.path), wanted))
        verdicts = [
            v.model_copy(update={"boxes": tuple(box for phrase in phrases.get(v.check, ()) for box in boxes[phrase])})
            for v in seen.verdicts
        ]
        return seen.model_copy(update={"verdicts": tuple(verdicts)})


def _phrases(check: Check, concepts: ConceptGraph) -> list[str]:
    """The things that a check is about; by their bare nouns, since one of another colour is to be found as well."""
    if check.aspect in ("scene", "nothing_else") or check.about is None:
        return []
    ids = concepts.interaction(check.about).members() if check.aspect == "relation" else (check.about,)
    things: list[Entity] = [concepts.entity(id) for id in ids]
    return [thing.name for thing in things]
