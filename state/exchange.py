"""What was said to a model and what it answered."""

from typing import Self

from pydantic import Field, model_validator

from .base import Frozen


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

    @model_validator(mode="after")
    def _cached_is_free(self) -> Self:
        if self.cached and (self.prompt_tokens or self.reply_tokens or self.seconds or self.money):
            raise ValueError("an exchange from the cache costs nothing")
        return self
