"""An attempt while it is drawn, and the PNG that carries its record, whichever model draws it."""

import contextvars
import hashlib
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

from PIL import Image, PngImagePlugin

from ...state import Attempt, ImageRecord, Region
from ..errors import SettingsError
from ..files import PREVIEWS, Store, picture_file, picture_in
from ..roles import Progress

RECORD = "detailscribe"
"""PNG chunk with the image's record as JSON."""
PARAMETERS = "parameters"
"""PNG chunk in the form of AUTOMATIC1111's web UI, which many viewers show."""
SAME_SHAPE = 0.02
"""Relative difference in aspect ratio up to which an edit is scaled to the size of its source."""

PREVIEW_PAUSE = 1.0
"""Seconds between two previews of an image, and before the first."""


def mask_of(region: Region, size: tuple[int, int]) -> Image.Image:
    """A mask of that size, white inside the region and black outside."""
    width, height = size
    mask = Image.new("L", size, 0)
    for left, top, right, bottom in region.grown:
        mask.paste(255, (int(left * width), int(top * height), ceil(right * width), ceil(bottom * height)))
    return mask


def pixel_digest(picture: Image.Image) -> str:
    """SHA-256 of mode, size and pixels, in hexadecimal; the same for every file with exactly this picture."""
    head = f"{picture.mode} {picture.width}x{picture.height}\n".encode()
    return hashlib.sha256(head + picture.tobytes()).hexdigest()


def png_bytes(picture: Image.Image, record: ImageRecord) -> bytes:
    """The picture as a PNG file that carries ``record``."""
    name, _, content = record.model.partition("@")
    settings = {
        "Steps": record.steps,
        "Sampler": "Euler",
        "CFG scale": record.guidance,
        "Seed": record.seed,
        "Size": f"{record.width}x{record.height}",
        "Model hash": content,
        "Model": name,
    }
    if record.operator is not None:
        settings |= {"Operator": record.operator, "Start step": record.start_step, "Source": record.parent}
    info = PngImagePlugin.PngInfo()
    info.add_itxt(RECORD, record.model_dump_json())
    info.add_text(PARAMETERS, f"{record.prompt}\n{', '.join(f'{key}: {value}' for key, value in settings.items())}")
    return picture_file(picture, pnginfo=info)


def read_record(path: Path) -> ImageRecord:
    """The record in a PNG; ``ValueError`` if it is no picture, or has no record."""
    with Image.open(path) as picture:
        text = picture.info.get(RECORD)
    if text is None:
        raise ValueError(f"{path} does not say how it was made")
    return ImageRecord.model_validate_json(text)


class DrawJob:
    """An attempt, the store for its files, and the callback for its progress."""

    def __init__(
        self, attempt: Attempt, store: Store, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> None:
        """``progress`` is later called with the context variables of this call, from any thread.

        ``ValueError`` if the attempt has no id, prompt or seed yet, or ``source`` is not the image that it names.
        """
        if attempt.id is None or attempt.prompt is None or attempt.seed is None:
            raise ValueError("an attempt needs an id, a prompt and a seed before it can be drawn")
        if attempt.source != (None if source is None else source.id):
            raise ValueError(f"{attempt.id!r} starts from {attempt.source!r}, and that image was not given")
        self.id, self.prompt, self.seed = attempt.id, attempt.prompt, attempt.seed
        self.attempt, self.store, self.source = attempt, store, source
        self.start_step, self.keep_steps = attempt.start_step, frozenset(attempt.keep_steps or ())
        self.wanted = True
        """Whether a caller still waits for the image."""
        self._progress, self._context = progress, contextvars.copy_context()
        self._shown = perf_counter()

    def report(self, done: int, steps: int) -> None:
        """Report that ``done`` of ``steps`` steps are done."""
        if self._progress is not None and self.wanted:
            self._context.run(self._progress, self.id, done, steps)

    def preview(self, picture: Callable[[], Image.Image]) -> None:
        """Write a preview, if a viewer has made the folder for previews and the last one is old enough."""
        if perf_counter() - self._shown > PREVIEW_PAUSE and self.store.path(PREVIEWS).is_dir():
            with suppress(OSError):
                self.store.write(f"{PREVIEWS}/{self.id}.png", picture_file(picture()))
            self._shown = perf_counter()

    def read_edited(self) -> Image.Image | None:
        """The picture to edit; None unless the attempt is an edit."""
        if self.source is None or self.attempt.operator != "edit":
            return None
        return picture_in(self.store.read(self.source.path))

    def fitted(self, picture: Image.Image, edited: Image.Image) -> Image.Image:
        """The result of an edit in the size of the picture that was ``edited``, pasted into it inside the region;
        ``ValueError`` if its aspect ratio differs, since nothing in it is where it was."""
        if abs(picture.width / picture.height / (edited.width / edited.height) - 1) > SAME_SHAPE:
            raise ValueError(
                f"a picture of {edited.width} by {edited.height} pixels came back as one of another shape,"
                f" {picture.width} by {picture.height}"
            )
        if picture.size != edited.size:
            picture = picture.resize(edited.size, Image.Resampling.LANCZOS)
        if self.attempt.region is not None:
            picture = Image.composite(picture, edited, mask_of(self.attempt.region, edited.size))
        return picture

    def check_start(self, steps: int) -> None:
        """Raises ``SettingsError`` if a schedule of N = ``steps`` has no such step to start at."""
        if not 0 <= self.start_step <= steps:
            raise SettingsError(f"{self.id!r} cannot start at step {self.start_step}: steps go from 0 to {steps}")

    def write(self, picture: Image.Image, **made: Any) -> ImageRecord:
        """Write the picture with its record, after all files to which the record refers. ``made`` are the fields of the
        record that the model knows: how the image was made and what that cost."""
        fields = ("id", "round", "origin", "parent", "prompt", "seed", "start_step", "operator", "region")
        made |= {name: getattr(self.attempt, name) for name in fields}
        made |= {"width": picture.width, "height": picture.height, "digest": pixel_digest(picture)}
        record = ImageRecord(path=f"images/{self.id}.png", **made)
        self.store.write(record.path, png_bytes(picture, record))
        return record
