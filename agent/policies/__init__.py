"""What decides about images; one policy a file."""

from .adaptive import Adaptive
from .best_of_n import BestOfN
from .moves import corrected_prompt, failed, refine, reseed, stop
from .policy import FunctionPolicy, JudgeFunction, Policy, PolicyError
from .resolve import POLICIES, PolicySpec, resolve_policy
from .single import Single

__all__ = [
    "POLICIES",
    "Adaptive",
    "BestOfN",
    "FunctionPolicy",
    "JudgeFunction",
    "Policy",
    "PolicyError",
    "PolicySpec",
    "Single",
    "corrected_prompt",
    "failed",
    "refine",
    "reseed",
    "resolve_policy",
    "stop",
]
