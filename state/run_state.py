"""The channels of the LangGraph state: what happened, and references only."""

from typing import Annotated, NotRequired, TypeVar

from typing_extensions import TypedDict  # that of typing gives pydantic no schema before Python 3.12

from .concepts import ConceptGraph
from .critique import Comparison, Critique
from .decisions import Advice, Decision, Ruling
from .images import ImageRecord

STATE_VERSION = 2
"""Raised whenever a checkpoint of the last version can no longer be read."""

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


class RunInput(TypedDict):
    """What the graph is invoked with."""

    prompt: str
    seed: NotRequired[int]
    """Of the run, in [0, 2**32); 0 unless given."""


class RunState(TypedDict):
    """Everything the graph knows; nodes return a part of it."""

    prompt: str
    seed: int
    version: int
    """``STATE_VERSION`` of the code that wrote it."""
    concepts: ConceptGraph
    round: int
    """The last round that was criticized."""
    images: Annotated[dict[str, ImageRecord], merge_by_id]
    """By image id."""
    critiques: Annotated[dict[str, Critique], merge_by_id]
    """By image id."""
    decisions: Annotated[dict[str, Decision], merge_by_id]
    """By image id."""
    advice: Annotated[dict[str, Advice], merge_by_id]
    """By round; only policies that have a model asked leave any."""
    comparisons: Annotated[dict[str, Comparison], merge_by_id]
    """By ``pair_name``; written by ``finish`` where equals lead."""
    rulings: Annotated[dict[str, Ruling], merge_by_id]
    """By round; only where a person is asked."""
    best: str
    """Id of the best image; written by ``finish``."""
    stop: str
    """Rule that stopped the best image or, where it was worked on further, the last one; written by ``finish``."""
