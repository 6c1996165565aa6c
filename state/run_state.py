"""The channels of the LangGraph state: what happened, with references to files only."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NotRequired, cast

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict  # that of typing gives pydantic no schema before Python 3.12

from .concepts import ConceptGraph
from .critique import Comparison, Critique
from .decisions import Advice, Decision, Ruling
from .images import ImageRecord

STATE_VERSION = 2
"""Increased whenever checkpoints of the last version can no longer be read."""


def merge_by_id(kind: type[Any]) -> Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]:
    """A reducer: the union of keyed records, sorted by key; later records replace earlier ones. Plain data, as clients
    of a server send it, becomes a ``kind``, or raises a ``RuntimeError``, whose message a server passes on."""
    records: TypeAdapter[Any] = TypeAdapter(cast(Any, dict)[str, kind])

    def merge(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
        return dict(sorted({**left, **_read(records, right, f"{kind.__name__} by id")}.items()))

    return merge


def _read(adapter: TypeAdapter[Any], update: object, what: str) -> Any:
    try:
        return adapter.validate_python(update)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = "".join(f"{part}: " for part in problem["loc"])
        raise RuntimeError(f"the state takes no such update as {what}: {place}{problem['msg']}") from error


def replace_concepts(_: ConceptGraph, new: object) -> ConceptGraph:
    """A reducer: the new concepts, which may be plain data; see ``merge_by_id``."""
    return _read(TypeAdapter(ConceptGraph), new, "ConceptGraph")


class RunInput(TypedDict):
    """What the graph is invoked with."""

    prompt: str
    seed: NotRequired[int]
    """The run's seed, in [0, 2**32); 0 by default."""


class RunState(TypedDict):
    """The graph's state; nodes return a part of it."""

    prompt: str
    seed: int
    version: int
    """``STATE_VERSION`` of the code that wrote it."""
    concepts: Annotated[ConceptGraph, replace_concepts]
    round: int
    """The round that was critiqued last."""
    images: Annotated[dict[str, ImageRecord], merge_by_id(ImageRecord)]
    """By image id."""
    critiques: Annotated[dict[str, Critique], merge_by_id(Critique)]
    """By image id."""
    decisions: Annotated[dict[str, Decision], merge_by_id(Decision)]
    """By image id."""
    advice: Annotated[dict[str, Advice], merge_by_id(Advice)]
    """By round; only of policies that ask a model."""
    comparisons: Annotated[dict[str, Comparison], merge_by_id(Comparison)]
    """By ``pair_name``; written by ``finish`` if several images rank highest."""
    rulings: Annotated[dict[str, Ruling], merge_by_id(Ruling)]
    """By round; only of interactive runs."""
    best: str
    """Id of the best image; written by ``finish``, and empty while a later run of the thread is active."""
    stop: str
    """Why the run ended, written by ``finish``: the exhausted bound of the budget, else the rule that stopped the best
    image or, if that was refined further, the last one."""
