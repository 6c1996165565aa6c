"""What is asked of a chat model, and what comes back."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from ...state import Exchange

M = TypeVar("M", covariant=True)


@dataclass(frozen=True)
class Picture:
    """An image to be looked at."""

    png: bytes = field(repr=False)
    """The file as PNG."""
    reference: str
    """Its path in the store; exchanges show this in place of the pixels."""

    @cached_property
    def sha256(self) -> str:
        """Hash of the file, in hexadecimal."""
        return hashlib.sha256(self.png).hexdigest()


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
    """P(yes) / (P(yes) + P(no)), in [0, 1]; None where the server does not tell."""
    reason: str | None
    """Why there is no probability; only then, and always then."""
    exchange: Exchange
