"""Pictures that carry how they were made, in the text chunks of the PNG."""

import hashlib
import io
from pathlib import Path

from PIL import Image, PngImagePlugin

from ...state import ImageRecord

RECORD = "detailscribe"
"""Chunk with the image's record as JSON."""
PARAMETERS = "parameters"
"""Chunk in the form that AUTOMATIC1111's web UI began and many viewers show."""


def pixel_digest(picture: Image.Image) -> str:
    """SHA-256 of mode, size and pixels, in hexadecimal; the same for every file that shows this picture exactly."""
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
    file = io.BytesIO()
    picture.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def read_record(path: Path) -> ImageRecord:
    """The record that a PNG carries.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a picture, or carries no record.
    """
    with Image.open(path) as picture:
        text = picture.info.get(RECORD)
    if text is None:
        raise ValueError(f"{path} does not say how it was made")
    return ImageRecord.model_validate_json(text)
