"""One attempt while it is drawn: what is the same whichever model draws it."""

import contextvars
from typing import Any

from PIL import Image

from ...state import Attempt, ImageRecord
from ..errors import SettingsError
from ..files import Store
from ..roles import Progress
from .png import pixel_digest, png_bytes


class Job:
    """An attempt, the store for its files, and whom to report its progress to."""

    def __init__(
        self, attempt: Attempt, store: Store, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> None:
        """Must be called where the caller's context variables are: ``progress`` sees them, from whatever thread.

        Raises:
            ValueError: the attempt has no id, prompt or seed yet, or ``source`` is not the image that it names.
        """
        if attempt.id is None or attempt.prompt is None or attempt.seed is None:
            raise ValueError("an attempt needs an id, a prompt and a seed before it can be drawn")
        if attempt.source != (None if source is None else source.id):
            raise ValueError(f"{attempt.id!r} starts from {attempt.source!r}, and that image was not given")
        self.id, self.prompt, self.seed = attempt.id, attempt.prompt, attempt.seed
        self.attempt, self.store, self.source = attempt, store, source
        self.start_step, self.keep_steps = attempt.start_step, frozenset(attempt.keep_steps or ())
        self._progress, self._context = progress, contextvars.copy_context()

    def report(self, done: int, steps: int) -> None:
        """Report that ``done`` of ``steps`` steps are done."""
        if self._progress is not None:
            self._context.run(self._progress, self.id, done, steps)

    def check_start(self, steps: int) -> None:
        """Raises ``SettingsError`` if the schedule of N = ``steps`` has no step to start at."""
        if not 0 <= self.start_step <= steps:
            raise SettingsError(f"{self.id!r} cannot start at step {self.start_step}: steps go from 0 to {steps}")

    def write(self, picture: Image.Image, **made: Any) -> ImageRecord:
        """Write the picture, which carries its record.

        It is written last, so that what its record refers to is there. ``made`` are the fields of the record that the
        model knows: how the image was made and what that cost.
        """
        attempt = self.attempt
        record = ImageRecord(
            id=self.id,
            round=attempt.round,
            origin=attempt.origin,
            parent=attempt.parent,
            prompt=self.prompt,
            seed=self.seed,
            start_step=self.start_step,
            operator=attempt.operator,
            width=picture.width,
            height=picture.height,
            path=f"images/{self.id}.png",
            digest=pixel_digest(picture),
            **made,
        )
        self.store.write(record.path, png_bytes(picture, record))
        return record
