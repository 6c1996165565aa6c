"""Questions to a chat model, and its answers."""

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
"""Characters of an unusable answer that the model is shown again."""
NUMBER = "7315"
"""In the picture that tests whether a model sees; no model guesses it."""
_SMALL = 64 * 1024
"""Bytes up to which a PNG is sent unchanged."""


@dataclass(frozen=True)
class Picture:
    """An image for a chat model."""

    png: bytes = field(repr=False)
    """The PNG file."""
    reference: str
    """Its path in the store, which exchanges show."""

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.png).hexdigest()

    def size_within(self, side: int) -> tuple[int, int]:
        """Width and height in pixels of the picture scaled down to a longest side of ``side``."""
        from PIL import Image

        with Image.open(io.BytesIO(self.png)) as file:
            blank = Image.new("1", file.size)
        blank.thumbnail((side, side))  # rounds as in ``encoded``
        return blank.size


@dataclass(frozen=True)
class Question:
    """One question to a chat model."""

    name: str
    """In snake_case; the name of the answer's JSON schema."""
    system: str
    """The system message; empty for none."""
    text: str
    pictures: tuple[Picture, ...] = ()
    """Sent after the text, in this order."""
    template: str = ""
    """``name@hash`` of the templates that the texts were rendered from, for the trace."""
    vote: int = 0
    """Number of the vote where one question is asked several times; each is cached for itself."""

    def again(self, answer: str, reason: str) -> Self:
        """The question with an unusable answer, and what is wrong with it."""
        return replace(self, text=render("ask_again", text=self.text, answer=answer[:_LONGEST_QUOTE], reason=reason))


@dataclass(frozen=True)
class Wording:
    """The templates of a question: of the user's message and, where there is one, of the system message."""

    text: Template
    system: Template | None = None

    @classmethod
    def load(cls, text: str, system: str | None = None, folder: Path | None = None) -> Self:
        """The templates of these names, which those in ``folder`` override; ``SettingsError`` if one there cannot be
        read, or has other variables than the one it overrides."""
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
        """The question of that name; each template gets the variables that it declares."""
        system, text = (
            template and template.render(**{k: v for k, v in variables.items() if k in template.variables})
            for template in (self.system, self.text)
        )
        return Question(name, system or "", text or "", tuple(pictures), self.label, vote)


def with_templates(model: str, folder: Path | None, *names: str) -> str:
    """A model's name with a hash of the user's templates among these, if any, so that what they produced can be told
    from what other templates did."""
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
    """Every call, failed ones too, in order."""


@dataclass(frozen=True)
class Likelihood:
    """P(yes), or why there is none."""

    probability: float | None
    """P(yes) / (P(yes) + P(no)), in [0, 1]; None where it is unknown."""
    reason: str | None
    """Why it is unknown; None where it is not."""
    exchange: Exchange


# One picture is sent with many questions.
@lru_cache(maxsize=8)
def encoded(picture: Picture, side: int, quality: int) -> tuple[str, bytes]:
    """MIME type and bytes of a picture scaled down to a longest side of ``side``: a small one as PNG, any other as JPEG
    of that ``quality``, which at 90 weighs a tenth of the PNG of a photograph."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(picture.png)) as file:
            if max(file.size) <= side and len(picture.png) <= _SMALL:
                return "image/png", picture.png
            image = file.convert("RGB")
    except OSError:  # for the server to refuse
        return "image/png", picture.png
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return "image/jpeg", picture_file(image, "JPEG", quality=quality)


@cache
def picture_of_number() -> bytes:
    """A PNG with ``NUMBER`` in black, of the size in pixels and, by its grain, in bytes of full-size pictures."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (1024, 1024), "white")
    ImageDraw.Draw(image).text((512, 512), NUMBER, "black", ImageFont.load_default(288), anchor="mm")
    grain = Image.frombytes("RGB", image.size, random.Random(0).randbytes(3 * 1024 * 1024))
    return picture_file(Image.blend(image, grain, 0.12), compress_level=1)
