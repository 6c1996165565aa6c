"""Plain immutable types and the reducers of the graph's state; no torch, no I/O."""

from .base import SEED_LIMIT, Box, Exchange, Frozen, Seed, Words, derive_seed
from .budget import Budget, Spend
from .concepts import (
    OWN,
    Aspect,
    Check,
    ConceptGraph,
    Entity,
    Interaction,
    InteractionKind,
    OwnQuestion,
    default_checks,
    own_concepts,
)
from .critique import Answer, Change, Comparison, Critique, Verdict, change, fail_dependents
from .decisions import Action, Advice, Choice, Decision, Plan, Ruling
from .images import Attempt, DrawingOptions, ImageRecord, Operator, Origin, Region, Step
from .notation import NotationError, format_concepts, parse_concepts
from .population import Population, pair_name, spend_of
from .result import ModelSpend, RunResult, spend_by_model
from .run_state import STATE_VERSION, RunInput, RunState, merge_by_id

__all__ = ["Action", "Advice", "Answer", "Aspect", "Attempt", "Box", "Budget", "Change", "Check", "Choice"]
__all__ += ["Comparison", "ConceptGraph", "Critique", "Decision", "DrawingOptions", "Entity", "Exchange", "Frozen"]
__all__ += ["OWN", "ImageRecord", "Interaction", "InteractionKind", "ModelSpend", "NotationError", "Operator", "Origin"]
__all__ += ["SEED_LIMIT", "OwnQuestion", "Plan", "Population", "Region", "Ruling", "RunInput", "RunResult", "RunState"]
__all__ += ["STATE_VERSION", "Seed", "Spend", "Step", "Verdict", "Words", "change", "default_checks", "derive_seed"]
__all__ += ["fail_dependents", "format_concepts", "merge_by_id", "own_concepts", "pair_name", "parse_concepts"]
__all__ += ["spend_by_model", "spend_of"]
