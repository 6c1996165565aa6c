"""What well-known models cost, so that a run can tell without being told."""

import re
from dataclasses import dataclass

from .settings import ChatSettings

OPENAI = "api.openai.com"
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class Price:
    """In US dollars per million tokens."""

    input: float
    output: float

    def of(self, prompt_tokens: int, reply_tokens: int) -> float:
        """Of one call, in US dollars."""
        return (prompt_tokens * self.input + reply_tokens * self.output) / 1e6


LIST_OF_2025_08 = {
    "gpt-4o": Price(2.5, 10),
    "gpt-4o-mini": Price(0.15, 0.6),
    "gpt-4.1": Price(2, 8),
    "gpt-4.1-mini": Price(0.4, 1.6),
    "gpt-4.1-nano": Price(0.1, 0.4),
    "gpt-5": Price(1.25, 10),
    "gpt-5-mini": Price(0.25, 2),
    "gpt-5-nano": Price(0.05, 0.4),
}
"""OpenAI's published prices of August 2025, without discounts for prompts that its servers remember."""


def price_of(settings: ChatSettings) -> Price | None:
    """The configured price, else the list's for a model on OpenAI's own server; None where it is unknown."""
    listed = LIST_OF_2025_08.get(_SNAPSHOT.sub("", settings.model)) if settings.host == OPENAI else None
    if settings.input_price is None and settings.output_price is None:
        return listed
    base = listed or Price(0, 0)
    return Price(
        base.input if settings.input_price is None else settings.input_price,
        base.output if settings.output_price is None else settings.output_price,
    )
