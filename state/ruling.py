"""What a person decided in place of the policy."""

from pydantic import Field

from .base import Frozen
from .decisions import Decision


class Ruling(Frozen):
    """The decisions after one round; those that the policy proposed and the person let stand are among them."""

    round: int = Field(ge=0)
    decisions: tuple[Decision, ...]
    """One for each image that waited."""
