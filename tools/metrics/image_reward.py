"""ImageReward (arXiv 2304.05977). Its package needs an old transformers, so it lives in an environment of its own."""

import asyncio
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from .environments import ensure_environment
from .metric import LocalMetric, Sample, Score, missing
from .worker import started

REQUIREMENTS = ("image-reward==1.5", "transformers>=4.27,<4.50", "torch>=2.11,<2.14", "torchvision")
"""Found to install together with Python 3.11; 1.5 GB with a torch for the CPU."""
_PROGRAM = Path(__file__).parent / "image_reward_program.py"
_PATIENCE = 1800.0
"""Seconds until the model must be loaded; the first time, 1.8 GB are fetched."""
_SECONDS = 300.0
"""For one image."""


class ImageReward(LocalMetric):
    """The reward of an image for its prompt: a real number, about 0 on average over the source's images.

    Args:
        environments: Folder in which its environment is made.
        checkpoint: ``ImageReward.pt`` and ``med_config.json`` here; None for those that the package fetches.
        command: A program that speaks the protocol of ``worker``, in place of the package's own.
        seconds: That one image may take.
    """

    def __init__(
        self,
        environments: Path,
        *,
        checkpoint: tuple[Path, Path] | None = None,
        command: Sequence[str] | None = None,
        seconds: float = _SECONDS,
    ) -> None:
        self._environments = environments
        self._files = checkpoint or ()
        self._command = command
        self._seconds = seconds

    @property
    def identity(self) -> str:
        """The package's version, or the program that stands in for it, and the hash of the checkpoint."""
        return f"image-reward {' '.join([*(self._command or REQUIREMENTS), *self._hashes])}"

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """One score for each sample, in order; the model is loaded once for all of them.

        Raises:
            ModelError: its environment cannot be made, or the model cannot be loaded in it.
        """
        if not samples:
            return []
        command = self._command or await asyncio.to_thread(self._own_command)
        async with started(command, patience=_PATIENCE, seconds=self._seconds) as worker:
            found = [
                await worker.ask(number, sample.store.path(sample.image.path).resolve(), sample.prompt)
                for number, sample in enumerate(samples)
            ]
        return [missing(why) if value is None else Score(value=value) for value, why in found]

    @cached_property
    def _hashes(self) -> list[str]:
        """Short, of the checkpoint's files."""
        return [sha256(path.read_bytes()).hexdigest()[:12] for path in self._files]

    def _own_command(self) -> list[str]:
        python = ensure_environment(self._environments, "image-reward", REQUIREMENTS)
        return [str(python), str(_PROGRAM), *map(str, self._files)]
