"""Scores on disk, by metric, picture and words, so that an evaluation that is run again measures only what is new."""

import asyncio
import json
import os
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError

from ...state import ImageRecord
from ..errors import SettingsError
from ..store import Store
from .metric import LocalMetric, Sample, Score, score_of_one
from .pictures import pixel_hash, read_pixels

_VERSION = 1
"""Raised whenever kept scores no longer mean what they did."""


class CachedMetric:
    """Another metric's scores, each measured once; missing ones are asked for again.

    Args:
        metric: the other one.
        folder: of the cache; several processes may share it.
    """

    def __init__(self, metric: LocalMetric, folder: Path) -> None:
        self._metric = metric
        self._folder = folder

    async def score(self, image: ImageRecord, prompt: str, store: Store) -> float | None:
        """The score of one image; None where there is none."""
        return await score_of_one(self.score_all, image, prompt, store)

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """One score for each sample, in order; samples with one picture and one prompt are measured once."""
        keys = [await asyncio.to_thread(self._key, sample) for sample in samples]
        known = {key: kept for key in set(keys) if (kept := self._get(key)) is not None}
        new = {key: sample for key, sample in zip(keys, samples, strict=True) if key not in known}
        if new:
            measured = await self._metric.score_all(list(new.values()))
            for key, score in zip(new, measured, strict=True):
                known[key] = score
                if score.value is not None:
                    self._put(key, score)
        return [known[key] for key in keys]

    def _key(self, sample: Sample) -> str:
        concepts = sample.concepts if self._metric.uses_concepts else None
        parts = {
            "version": _VERSION,
            "metric": self._metric.identity,
            "picture": pixel_hash(read_pixels(sample)),
            "prompt": sample.prompt,
            "concepts": None if concepts is None else concepts.model_dump(mode="json", exclude={"exchanges"}),
        }
        return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"

    def _get(self, key: str) -> Score | None:
        try:
            return Score.model_validate_json(self._path(key).read_bytes())
        except (OSError, ValidationError):
            return None

    def _put(self, key: str, score: Score) -> None:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as partial:
                partial.write(score.model_dump_json().encode())
            os.replace(partial.name, path)
        except OSError as error:
            raise SettingsError(f"the cache of scores in {self._folder} cannot be written: {error}") from error
