"""What was said to a model and what it answered."""

from pydantic import Field

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
