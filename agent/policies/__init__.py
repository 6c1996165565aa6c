"""What decides about images; one policy a file."""

from .adaptive import Adaptive
from .best_of_n import BestOfN
from .chat_judge import ChatJudge
from .exhaustive import Exhaustive
from .guards import (
    Guard,
    at_most,
    first_stop,
    nothing_failed,
    oscillation,
    own_success,
    plateau,
    regression,
    success,
)
from .halving import Halving
from .hybrid import Hybrid
from .lineage import (
    Keep,
    Refining,
    best_of_line,
    family_of,
    is_repeat,
    kept,
    line_of,
    promising,
    refine_anew,
    refinements,
    tried_in_vain,
)
from .multi_round import MultiRound
from .paper import Paper
from .policy import (
    Advised,
    FunctionPolicy,
    JudgeFunction,
    Policy,
    PolicyError,
    corrected_prompt,
    drawing,
    failed,
    go_on,
    refine,
    refinement,
    reseed,
    stop,
)
from .random_control import RandomControl
from .resolve import POLICIES, PolicySpec, resolve_policy
from .rules import RULES
from .seed_search import SeedSearch
from .single import Single

__all__ = [
    "POLICIES",
    "RULES",
    "Adaptive",
    "Advised",
    "BestOfN",
    "ChatJudge",
    "Exhaustive",
    "FunctionPolicy",
    "Guard",
    "Halving",
    "Hybrid",
    "JudgeFunction",
    "Keep",
    "MultiRound",
    "Paper",
    "Policy",
    "PolicyError",
    "PolicySpec",
    "RandomControl",
    "Refining",
    "SeedSearch",
    "Single",
    "at_most",
    "best_of_line",
    "corrected_prompt",
    "drawing",
    "failed",
    "family_of",
    "first_stop",
    "go_on",
    "is_repeat",
    "kept",
    "line_of",
    "nothing_failed",
    "oscillation",
    "own_success",
    "plateau",
    "promising",
    "refine",
    "refine_anew",
    "refinement",
    "refinements",
    "regression",
    "reseed",
    "resolve_policy",
    "stop",
    "success",
    "tried_in_vain",
]
