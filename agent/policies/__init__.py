"""What decides about images; one policy a file.

The policies themselves are imported at their first use.
"""

from typing import TYPE_CHECKING

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
from .resolve import CODE, POLICIES, PolicySpec, policy_name, resolve_policy
from .rules import RULES

if TYPE_CHECKING:
    from .adaptive import Adaptive
    from .best_of_n import BestOfN
    from .chat_judge import ChatJudge
    from .exhaustive import Exhaustive
    from .halving import Halving
    from .hybrid import Hybrid
    from .multi_round import MultiRound
    from .paper import Paper
    from .random_control import RandomControl
    from .seed_search import SeedSearch
    from .single import Single

__all__ = ["CODE", "POLICIES", "RULES", "Adaptive", "Advised", "BestOfN", "ChatJudge", "Exhaustive"]
__all__ += ["FunctionPolicy", "Guard", "Halving", "Hybrid", "JudgeFunction", "Keep", "MultiRound", "Paper"]
__all__ += ["Policy", "PolicyError", "PolicySpec", "RandomControl", "Refining", "SeedSearch", "Single", "at_most"]
__all__ += ["best_of_line", "corrected_prompt", "drawing", "failed", "family_of", "first_stop", "go_on"]
__all__ += ["is_repeat", "kept", "line_of", "nothing_failed", "oscillation", "own_success", "plateau"]
__all__ += ["policy_name", "promising", "refine", "refine_anew", "refinement", "refinements", "regression"]
__all__ += ["reseed", "resolve_policy", "stop", "success", "tried_in_vain"]


def __getattr__(name: str) -> object:
    """A policy's class."""
    for policy, place in POLICIES.places.items():
        if place.endswith(f":{name}"):
            return POLICIES[policy]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
