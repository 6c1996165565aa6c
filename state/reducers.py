"""How concurrent updates of the state meet: in any order, with one outcome."""

from typing import TypeVar

T = TypeVar("T")


def merge_by_id(left: dict[str, T], right: dict[str, T]) -> dict[str, T]:
    """Union of two keyed updates, sorted by key; commutative, associative, idempotent.

    Raises:
        ValueError: both sides hold the same id with different values, so one would be lost.
    """
    clashes = sorted(id for id in left.keys() & right.keys() if left[id] != right[id])
    if clashes:
        raise ValueError(f"two different records claim the same id: {', '.join(clashes)}")
    merged = {**left, **right}
    return {id: merged[id] for id in sorted(merged)}
