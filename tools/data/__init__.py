"""Sets of prompts: read from wherever they lie, made up from a grammar or by a chat model, written as JSONL."""

from .interacting import read_interacting
from .reader import read_prompts
from .records import PromptRecord, distinct, with_own_ids
from .writing import write_prompts

__all__ = ["PromptRecord", "distinct", "read_interacting", "read_prompts", "with_own_ids", "write_prompts"]
