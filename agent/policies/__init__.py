"""What decides about images."""

from .adaptive import Adaptive
from .baselines import BestOfN, Paper, RandomControl, Single
from .chat_judge import ChatJudge
from .exhaustive import Exhaustive
from .guards import Guard, at_most, first_stop, nothing_failed, oscillation, own_success, plateau, regression, success
from .lineage import (
    Keep,
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
from .lines import Halving, Hybrid, MultiRound, Refining, SeedSearch
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
    instruction,
    refine,
    refinement,
    reseed,
    second_opinion,
    stop,
)
from .resolve import CODE, POLICIES, RULES, PolicySpec, policy_name, resolve_policy

__all__ = ["CODE", "POLICIES", "RULES", "Adaptive", "Advised", "BestOfN", "ChatJudge", "Exhaustive"]
__all__ += ["FunctionPolicy", "Guard", "Halving", "Hybrid", "JudgeFunction", "Keep", "MultiRound", "Paper"]
__all__ += ["Policy", "PolicyError", "PolicySpec", "RandomControl", "Refining", "SeedSearch", "Single", "at_most"]
__all__ += ["best_of_line", "corrected_prompt", "drawing", "failed", "family_of", "first_stop", "go_on"]
__all__ += ["instruction", "is_repeat", "kept", "line_of", "nothing_failed", "oscillation", "own_success", "plateau"]
__all__ += ["policy_name", "promising", "refine", "refine_anew", "refinement", "refinements", "regression"]
__all__ += ["reseed", "resolve_policy", "second_opinion", "stop", "success", "tried_in_vain"]
