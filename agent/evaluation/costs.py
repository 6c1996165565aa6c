"""What methods spent, by the accounts that every run keeps alike."""

from collections.abc import Iterable
from statistics import mean

from ...state import Frozen, Spend


class Cost(Frozen):
    """What a method spent on a prompt, in the mean over its runs; failed runs spend too."""

    method: str
    runs: int
    images: float
    evaluations: float
    """Forward passes of the denoiser; a guided step counts two."""
    critic_calls: float
    """Looks at an image."""
    tokens: float
    """Of language and vision models, both ways."""
    money: float
    """In US dollars, where a price is configured."""
    seconds: float
    """Of model time, summed over calls, on whatever machine it was."""


def costs_of(spent: Iterable[tuple[str, Spend]]) -> list[Cost]:
    """Means by method, in the order of their first appearance, of pairs of a run's method and its spend."""
    by_method: dict[str, list[Spend]] = {}
    for method, spend in spent:
        by_method.setdefault(method, []).append(spend)
    return [
        Cost(
            method=method,
            runs=len(all_of),
            images=mean(one.images for one in all_of),
            evaluations=mean(one.evaluations for one in all_of),
            critic_calls=mean(one.critic_calls for one in all_of),
            tokens=mean(one.tokens for one in all_of),
            money=mean(one.money for one in all_of),
            seconds=mean(one.seconds for one in all_of),
        )
        for method, all_of in by_method.items()
    ]
