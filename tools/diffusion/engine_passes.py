"""Which images share the next forward pass, and how many fit in one."""

from collections.abc import Sequence

import torch

from .denoise import Kind


def next_pass(kinds: Sequence[Kind], limits: "Limits") -> list[int]:
    """Indices of the images, given by their kinds from the oldest on, that take the next step.

    The oldest one leads, and those that fit fill the pass: first the nearest in length of prompt, for which
    least is padded, and of these the oldest. So images end about in the order they came in, for whoever looks
    at them next; every pass is as full as it can be; and the oldest waits for no other.
    """
    if not kinds:
        return []
    leader = kinds[0]
    fitting = [i for i, kind in enumerate(kinds) if kind.fits(leader)]
    return sorted(fitting, key=lambda i: abs(kinds[i].tokens - leader.tokens))[: limits.of(leader)]


class Limits:
    """How many images of one shape fit in one pass, as far as is known."""

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._found: dict[tuple[int, ...], int] = {}

    def of(self, kind: Kind) -> int:
        """At least 1."""
        return self._found.get(kind.shape, self._max_batch)

    def halve(self, kind: Kind, tried: int) -> None:
        """Remember that ``tried`` images of a shape did not fit."""
        self._found[kind.shape] = max(1, tried // 2)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch had no room, on a GPU or on the CPU, where it says so in words alone."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )
