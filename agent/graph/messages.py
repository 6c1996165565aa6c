"""What nodes are sent and what they return: the keys of each, so that none can be misspelt."""

from typing import NotRequired, TypedDict

from ...state import Advice, Comparison, ConceptGraph, Critique, Decision, ImageRecord, Population, Ruling
from ...tools.roles import GenerateRequest, RedenoiseRequest


class GenerateWork(TypedDict):
    """One image to draw."""

    request: GenerateRequest
    decision: Decision | None
    """The reseed that asked for it; None for a first drawing."""


class RefineWork(TypedDict):
    """One image to re-denoise."""

    request: RedenoiseRequest
    decision: Decision
    """The refinement that asked for it."""


class FinishWork(TypedDict):
    """The end of a run."""

    population: Population
    stops: list[Decision]
    """One for each image that had no decision yet."""


class Decomposed(TypedDict):
    """What ``decompose`` adds to the state."""

    concepts: ConceptGraph
    seed: int
    version: int


class Drawn(TypedDict):
    """What ``generate`` and ``refine`` add to the state."""

    images: dict[str, ImageRecord]
    decisions: dict[str, Decision]


class Criticized(TypedDict):
    """What ``critique`` adds to the state."""

    critiques: dict[str, Critique]
    round: int
    advice: NotRequired[dict[str, Advice]]


class Ruled(TypedDict):
    """What ``person`` adds to the state."""

    rulings: dict[str, Ruling]


class Finished(TypedDict):
    """What ``finish`` adds to the state."""

    decisions: dict[str, Decision]
    comparisons: dict[str, Comparison]
    best: str
    stop: str
