"""What is known: plain immutable types and reducers; no torch, no I/O."""

from .advice import Advice, Choice
from .base import Frozen, Words
from .budget import Budget, Spend
from .comparison import Comparison
from .concepts import Aspect, Check, ConceptGraph, Entity, Interaction, InteractionKind
from .critique import Answer, Change, Critique, Verdict, change
from .decisions import Action, Decision, Plan
from .default_checks import default_checks
from .exchange import Exchange
from .images import ImageRecord, Operator, Origin
from .model_spend import ModelSpend, spend_by_model
from .notation import format_concepts, parse_concepts
from .notation_tokens import NotationError
from .population import Population, pair_name, spend_of
from .reducers import merge_by_id
from .result import RunResult
from .ruling import Ruling
from .run_state import STATE_VERSION, RunInput, RunState
from .seeds import SEED_LIMIT, Seed, derive_seed

__all__ = [
    "SEED_LIMIT",
    "STATE_VERSION",
    "Action",
    "Advice",
    "Answer",
    "Aspect",
    "Budget",
    "Change",
    "Check",
    "Choice",
    "Comparison",
    "ConceptGraph",
    "Critique",
    "Decision",
    "Entity",
    "Exchange",
    "Frozen",
    "ImageRecord",
    "Interaction",
    "InteractionKind",
    "ModelSpend",
    "NotationError",
    "Operator",
    "Origin",
    "Plan",
    "Population",
    "Ruling",
    "RunInput",
    "RunResult",
    "RunState",
    "Seed",
    "Spend",
    "Verdict",
    "Words",
    "change",
    "default_checks",
    "derive_seed",
    "format_concepts",
    "merge_by_id",
    "pair_name",
    "parse_concepts",
    "spend_by_model",
    "spend_of",
]
