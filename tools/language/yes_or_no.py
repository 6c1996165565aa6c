"""P(yes) from the probabilities of the words a model might have said."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

_AROUND = " \t\r\n.,:;!?*_`\"'()[]{}▁Ġ"
_ALL = 1.05
"""Certainty, with room for rounding."""
_TOO_MUCH = 1.0
"""A log probability that is none, and that can be raised to a power."""


def probability_of_yes(logprobs: Sequence[Any]) -> tuple[float | None, str | None]:
    """P(yes) / (P(yes) + P(no)), summed over spellings, at the first token that holds a letter.

    Args:
        logprobs: For each token of the reply, as the chat-completions protocol has it.

    Returns:
        The probability, or None and the reason.
    """
    if not logprobs:
        return None, "the server gives no logprobs"
    worded = (token for token in _mappings(logprobs) if any(c.isalpha() for c in str(token.get("token", ""))))
    first = next(worded, None)
    if first is None:
        return None, "the reply holds no word"
    if sum(math.exp(logprob) for _, logprob in _candidates(first)) > _ALL:
        return None, "the server's logprobs are none of probabilities: these add up to more than 1"
    yes, no = _mass(first, "yes"), _mass(first, "no")
    if yes + no <= 0:
        return None, f"neither yes nor no is among the likely words, the first of which is {first['token']!r}"
    return yes / (yes + no), None


def _mass(token: Mapping[str, Any], word: str) -> float:
    return sum(math.exp(logprob) for spelling, logprob in _candidates(token) if spelling == word)


def _candidates(token: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    """Spelling and log probability; what is no number is left out."""
    for candidate in _mappings(token.get("top_logprobs") or [token]):
        logprob = candidate.get("logprob")
        if isinstance(logprob, int | float) and not math.isnan(logprob):
            yield str(candidate.get("token", "")).strip(_AROUND).lower(), min(float(logprob), _TOO_MUCH)


def _mappings(items: Any) -> list[Mapping[str, Any]]:
    """The items that are mappings; servers send what they like."""
    return [cast("Mapping[str, Any]", item) for item in items if isinstance(item, dict)]
