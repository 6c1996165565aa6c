"""ImageReward (arXiv 2304.05977): reads the scores that ``image_reward_program.py`` writes.

The package needs an old transformers, so the program runs in an environment of its own.
"""

import asyncio
import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from ..errors import ModelError
from ..files import JsonLines, content_hash, read_lines
from .local import locate
from .metric import LocalMetric, Sample, Score, missing, pixel_hash

PROGRAM = Path(__file__).with_name("image_reward_program.py")
"""Run by users, or by this metric if there is an environment for it."""


class _Line(BaseModel):
    """What the program writes for one image."""

    key: str
    score: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None = None
    error: str = "the program gave no number"


class ImageReward(LocalMetric):
    """The reward of an image for its prompt: a real number, about 0 on average over the source's images. Images without
    a score in ``folder`` are listed in its ``wanted.jsonl``. If ``folder`` has a virtual environment ``venv``, the
    program runs there; else the score is missing, and the reason says what to run. ``checkpoint`` is a folder with
    ``ImageReward.pt`` and ``med_config.json``; None for those that the package downloads."""

    def __init__(self, folder: Path, checkpoint: str | None = None) -> None:
        self._folder, self._checkpoint = folder.absolute(), checkpoint

    @property
    def identity(self) -> str:
        """With a content hash of the checkpoint, if it is not the package's own; raises as ``locate`` does."""
        return "image-reward" if self._checkpoint is None else f"image-reward {locate(self._checkpoint)[1]}"

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """``ModelError`` if the program fails in the environment."""
        return await asyncio.to_thread(self._scores, samples)

    def _scores(self, samples: Sequence[Sample]) -> list[Score]:
        python = self._folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        weights = [] if self._checkpoint is None else [str(Path(self._checkpoint).absolute())]
        command = [str(PROGRAM), str(self._folder), *weights]
        keys = [content_hash(self.identity, pixel_hash(sample.pixels()), sample.prompt) for sample in samples]
        scores = self._read()
        new = {key: s for key, s in zip(keys, samples, strict=True) if key not in scores or scores[key].value is None}
        if new:
            self._folder.mkdir(parents=True, exist_ok=True)
            with JsonLines(self._folder / "wanted.jsonl") as wanted:
                for key, sample in new.items():
                    image = str(sample.store.path(sample.image.path).resolve())
                    wanted.append(json.dumps({"key": key, "image": image, "prompt": sample.prompt}))
            if python.exists():
                # These variables of this environment must not affect the other one.
                own = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
                inherited = {name: value for name, value in os.environ.items() if name not in own}
                done = subprocess.run([python, *command], capture_output=True, text=True, check=False, env=inherited)
                if done.returncode:
                    last = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
                    raise ModelError(f"the environment of ImageReward in {self._folder} failed: {last[-1][-500:]}")
            scores = self._read()
        advice = f"not scored yet: `uv run {shlex.join(command)}` scores it; then evaluate again"
        return [scores.get(key) or missing(advice) for key in keys]

    def _read(self) -> dict[str, Score]:
        """The scores by key, missing ones too."""
        scores = dict[str, Score]()
        for text in read_lines(self._folder / "scores.jsonl"):
            try:
                line = _Line.model_validate_json(text)
            except ValidationError:
                continue
            scores[line.key] = missing(line.error) if line.score is None else Score(value=line.score)
        return scores
