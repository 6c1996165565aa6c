"""Building blocks of the state's types: immutable records, seeds, boxes, exchanges with a model."""

import hashlib
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Text that is not empty, without blanks around it."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A fraction, in [0, 1]."""


def _has_area(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError("a box needs its left edge before its right one, and its upper edge above its lower one")
    return box


Box = Annotated[tuple[Share, Share, Share, Share], AfterValidator(_has_area)]
"""Left, upper, right and lower edge, as fractions of the picture's width and height from its upper left corner."""


class Frozen(BaseModel):
    """An immutable record; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


SEED_LIMIT = 2**32
"""Seeds are in [0, SEED_LIMIT)."""

Seed = Annotated[int, Field(ge=0, lt=SEED_LIMIT)]
"""A seed of a CPU generator."""


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed in [0, SEED_LIMIT) that depends on ``seed`` and ``names`` alone, the same on every machine. A number and
    its decimal text are the same name."""
    text = "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


class Exchange(Frozen):
    """One question to a model and its raw reply."""

    model: str
    """Name and version or hash of the model."""
    prompt: str
    """What was sent, images by reference."""
    reply: str
    """What came back, unparsed."""
    prompt_tokens: int = Field(default=0, ge=0)
    reply_tokens: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0)
    """Wall time of the call."""
    money: float = Field(default=0.0, ge=0)
    """In US dollars, where a price is configured."""
    cached: bool = False
    """Whether the reply came from the disk cache; then tokens, seconds and money are 0."""
    no_reply: bool = False
    """Whether the server timed out, hung up or was down, also when asked again; ``reply`` then says so."""
    note: str = ""
    """A remark, such as that a part of the reply was ignored; empty for none."""
    picture_side: int | None = None
    """Pixels of the longest side of the pictures that were sent; None if none was sent or it is not known."""

    @model_validator(mode="after")
    def _cached_is_free(self) -> Self:
        if self.cached and (self.prompt_tokens or self.reply_tokens or self.seconds or self.money):
            raise ValueError("an exchange from the cache costs nothing")
        return self
