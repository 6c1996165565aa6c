"""What decides: graph, nodes, policies, runs, traces, command line.

Names are looked up on first use, so that ``detailscribe --help`` need not import LangGraph.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .batch.batch import Batch, arun_batch, run_batch
    from .batch.rows import Row
    from .context import Context
    from .events import Event, read_events
    from .forking import afork, fork
    from .graph import build_graph, make_graph, recursion_limit
    from .interactive import TerminalAsker
    from .outcome import Run, RunImage
    from .person import Question
    from .policies import (
        Adaptive,
        BestOfN,
        ChatJudge,
        FunctionPolicy,
        Halving,
        Hybrid,
        MultiRound,
        Paper,
        Policy,
        PolicyError,
        RandomControl,
        SeedSearch,
        Single,
        resolve_policy,
    )
    from .reader import RecordedRun, read_run
    from .report import write_report
    from .reproducing import areproduce, reproduce
    from .resuming import aresume, resume
    from .routing import decide, judge
    from .runs import arun, run
    from .settings import Settings, load_settings
    from .steps import ahistory, history

__all__ = [
    "Adaptive",
    "Batch",
    "BestOfN",
    "ChatJudge",
    "Context",
    "Event",
    "FunctionPolicy",
    "Halving",
    "Hybrid",
    "MultiRound",
    "Paper",
    "Policy",
    "PolicyError",
    "Question",
    "RandomControl",
    "RecordedRun",
    "Row",
    "Run",
    "RunImage",
    "SeedSearch",
    "Settings",
    "Single",
    "TerminalAsker",
    "afork",
    "ahistory",
    "areproduce",
    "aresume",
    "arun",
    "arun_batch",
    "build_graph",
    "decide",
    "fork",
    "history",
    "judge",
    "load_settings",
    "make_graph",
    "read_events",
    "read_run",
    "recursion_limit",
    "reproduce",
    "resolve_policy",
    "resume",
    "run",
    "run_batch",
    "write_report",
]

_MODULES = {
    "batch.batch": ("Batch", "arun_batch", "run_batch"),
    "batch.rows": ("Row",),
    "context": ("Context",),
    "events": ("Event", "read_events"),
    "forking": ("afork", "fork"),
    "steps": ("ahistory", "history"),
    "interactive": ("TerminalAsker",),
    "person": ("Question",),
    "graph": ("build_graph", "make_graph", "recursion_limit"),
    "routing": ("decide", "judge"),
    "outcome": ("Run", "RunImage"),
    "policies": (
        "Adaptive",
        "BestOfN",
        "ChatJudge",
        "FunctionPolicy",
        "Halving",
        "Hybrid",
        "MultiRound",
        "Paper",
        "Policy",
        "PolicyError",
        "RandomControl",
        "SeedSearch",
        "Single",
        "resolve_policy",
    ),
    "reader": ("RecordedRun", "read_run"),
    "report": ("write_report",),
    "reproducing": ("areproduce", "reproduce"),
    "resuming": ("aresume", "resume"),
    "runs": ("arun", "run"),
    "settings": ("Settings", "load_settings"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
