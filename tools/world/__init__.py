"""The embedded world: a closed micro-world with exact ground truth and models of its own, really trained."""

from typing import TYPE_CHECKING, Any

from .decomposer import EmbeddedDecomposer
from .grammar import EXAMPLES

if TYPE_CHECKING:
    from .critic import EmbeddedCritic

__all__ = ["EXAMPLES", "EmbeddedCritic", "EmbeddedDecomposer"]


def __getattr__(name: str) -> Any:
    """Load the critic, and torch with it, when it is asked for."""
    if name == "EmbeddedCritic":
        from .critic import EmbeddedCritic

        return EmbeddedCritic
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
