"""Sets of prompts: read from any format, generated from a grammar or by a chat model, and written as JSONL."""

from .benchmarks import BenchmarkName, questions_in, read_benchmark
from .reader import PromptRow, read_prompts, read_rows
from .records import PromptRecord, distinct, with_own_ids, write_prompts
from .sets import read_interacting, world_prompts

__all__ = ["BenchmarkName", "PromptRecord", "PromptRow", "distinct", "questions_in", "read_benchmark"]
__all__ += ["read_interacting", "read_prompts", "read_rows", "with_own_ids", "world_prompts", "write_prompts"]
