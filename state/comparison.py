"""Which of two images shows better what the prompt asks for."""

from typing import Self

from pydantic import Field, model_validator

from .base import Frozen
from .exchange import Exchange


class Comparison(Frozen):
    """The outcome for one pair of images, each of which was shown in both places."""

    first: str
    """Id of an image."""
    second: str
    """Id of the other image."""
    better: str | None
    """Id of the better one; None where they are equal, or where no answer, or not the same one, came
    with the images in either order."""
    reason: str = Field(min_length=1)
    """What decided; where the answers differ, both of them."""
    exchanges: tuple[Exchange, ...] = ()
    """Exactly what was asked and answered."""

    @model_validator(mode="after")
    def _better_is_one_of_two(self) -> Self:
        if self.first == self.second:
            raise ValueError(f"image {self.first!r} is compared with itself")
        if self.better not in (self.first, self.second, None):
            raise ValueError(f"image {self.better!r} is neither {self.first!r} nor {self.second!r}")
        return self
