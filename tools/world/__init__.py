"""The embedded world: a closed micro-world with exact ground truth and models of its own, really trained."""

from .critic import EmbeddedCritic
from .decomposer import EmbeddedDecomposer
from .grammar import EXAMPLES

__all__ = ["EXAMPLES", "EmbeddedCritic", "EmbeddedDecomposer"]
