"""Which images share the next forward pass, and how many fit in one."""

from collections.abc import Sequence

import torch

from .denoise import Kind


def next_pass(kinds: Sequence[Kind], limits: "Limits") -> list[int]:
    """Indices of the images, given by their kinds from the oldest on, that take the next step.

    The oldest one leads, and the next oldest of its kind fill the pass. So images end in the order they came
    in, as early as they can, for whoever looks at them next; every pass is as full as it can be; and none
    waits for a younger one, except that one of its own kind may ride along with an older.
    """
    if not kinds:
        return []
    alike = [i for i, kind in enumerate(kinds) if kind == kinds[0]]
    return alike[: limits.of(kinds[0])]


class Limits:
    """How many images of a kind fit in one pass, as far as is known."""

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._found: dict[Kind, int] = {}

    def of(self, kind: Kind) -> int:
        """At least 1."""
        return self._found.get(kind, self._max_batch)

    def halve(self, kind: Kind, tried: int) -> None:
        """Remember that ``tried`` images of a kind did not fit."""
        self._found[kind] = max(1, tried // 2)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch had no room, on a GPU or on the CPU, where it says so in words alone."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )
