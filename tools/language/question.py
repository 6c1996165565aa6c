"""What a chat model is asked, and what comes back."""

import hashlib
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Generic, Self, TypeVar

from pydantic import BaseModel, Field

from ...prompts import Template, TemplateError, load, render
from ...state import Exchange
from ..errors import SettingsError
from ..files import content_hash, picture_file

M = TypeVar("M", covariant=True)

_LONGEST_QUOTE = 4000
"""Characters of an unusable answer that are shown to the model again."""
NUMBER = "7315"
"""In the picture that tests a model's sight; no model guesses it."""
_SMALL = 64 * 1024
"""Bytes up to which a PNG is sent as it is, without loss."""


@dataclass(frozen=True)
class Picture:
    """An image to be looked at."""

    png: bytes = field(repr=False)
    """The file as PNG."""
    reference: str
    """Its path in the store; exchanges show this in place of the pixels."""

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.png).hexdigest()

    def size_within(self, side: int) -> tuple[int, int]:
        """Width and height in pixels as it is sent, where its longest side is to have ``side`` at most."""
        from PIL import Image

        with Image.open(io.BytesIO(self.png)) as file:
            blank = Image.new("1", file.size)
        blank.thumbnail((side, side))  # rounds as what is sent does
        return blank.size


@dataclass(frozen=True)
class Question:
    """One question to a chat model."""

    name: str
    """In snake_case; the name of the answer's JSON schema on the wire."""
    system: str
    """The system message; none is sent where it is empty."""
    text: str
    pictures: tuple[Picture, ...] = ()
    """Sent after the text, in this order."""
    template: str = ""
    """``name@hash`` of the templates that the texts were rendered from, for the trace."""
    vote: int = 0
    """Number of the vote where one question is put several times; each has its own place in the cache."""

    def again(self, answer: str, reason: str) -> Self:
        """The same once more, with what is wrong with the answer."""
        return replace(self, text=render("ask_again", text=self.text, answer=answer[:_LONGEST_QUOTE], reason=reason))


@dataclass(frozen=True)
class Wording:
    """The templates of a question: that of the user's message and, where there is one, that of the system's."""

    text: Template
    system: Template | None = None

    @classmethod
    def load(cls, text: str, system: str | None = None, folder: Path | None = None) -> Self:
        """The templates of these names; those in ``folder`` replace the ones that ship. ``SettingsError`` if one there
        cannot be read, or has other variables than the one it replaces."""
        try:
            return cls(load(text, folder), None if system is None else load(system, folder))
        except TemplateError as error:
            raise SettingsError(str(error)) from error

    @property
    def label(self) -> str:
        """Names and hashes of the templates, for the trace."""
        return " ".join(template.label for template in (self.system, self.text) if template is not None)

    def question(
        self, name: str, pictures: Sequence[Picture] = (), vote: int = 0, /, **variables: str | int
    ) -> Question:
        """The question of that name; each template takes those of the variables that it declares."""
        system, text = (
            template and template.render(**{k: v for k, v in variables.items() if k in template.variables})
            for template in (self.system, self.text)
        )
        return Question(name, system or "", text or "", tuple(pictures), self.label, vote)


def with_templates(model: str, folder: Path | None, *names: str) -> str:
    """A model's name with a hash of those templates of these names that the user's folder holds, so that nothing made
    with other ones passes for its own."""
    own = [load(name, folder).label for name in names if folder is not None and (folder / f"{name}.txt").is_file()]
    return f"{model} (templates@{content_hash(*own)[:12]})" if own else model


class PromptAnswer(BaseModel):
    """The prompt to draw from."""

    prompt: Annotated[str, Field(min_length=1, max_length=4000)]


@dataclass(frozen=True)
class Reply(Generic[M]):
    """A usable answer."""

    value: M
    exchanges: tuple[Exchange, ...]
    """Every call that it took, failed ones too, in order."""


@dataclass(frozen=True)
class Likelihood:
    """How sure a model is of yes."""

    probability: float | None
    """P(yes) / (P(yes) + P(no)), in [0, 1]; None where it is not known."""
    reason: str | None
    """Why there is no probability; None where there is one."""
    exchange: Exchange


# One picture is sent many times over, with one question after another.
@lru_cache(maxsize=8)
def encoded(picture: Picture, side: int, quality: int) -> tuple[str, bytes]:
    """The MIME type and the file that is sent for a picture, whose longest side has ``side`` pixels at most.
    ``quality`` is that of JPEG; a photograph of a megapixel weighs a tenth of its PNG at 90."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(picture.png)) as file:
            if max(file.size) <= side and len(picture.png) <= _SMALL:
                return "image/png", picture.png
            image = file.convert("RGB")
    except OSError:
        # What cannot be opened is for the server to refuse.
        return "image/png", picture.png
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return "image/jpeg", picture_file(image, "JPEG", quality=quality)


@cache
def picture_of_number() -> bytes:
    """A PNG with ``NUMBER`` in black, as large as pictures of full-size models and, by its grain, as heavy."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (1024, 1024), "white")
    ImageDraw.Draw(image).text((512, 512), NUMBER, "black", ImageFont.load_default(288), anchor="mm")
    grain = Image.frombytes("RGB", image.size, random.Random(0).randbytes(3 * 1024 * 1024))
    return picture_file(Image.blend(image, grain, 0.12), compress_level=1)
