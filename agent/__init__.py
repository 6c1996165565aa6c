"""What decides: graph, nodes, policies, runs, traces, command line.

Names are looked up on first use, so that ``detailscribe --help`` need not import LangGraph.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .batch.batch import Batch, arun_batch, run_batch
    from .batch.rows import Row
    from .cluster.wish import Cluster
    from .graph.context import Context
    from .graph.graph import build_graph, make_graph, recursion_limit
    from .graph.person import Question
    from .graph.routing import decide, judge
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
    from .report import write_report
    from .runs.forking import afork, fork
    from .runs.interactive import TerminalAsker
    from .runs.outcome import Run, RunImage
    from .runs.reproducing import areproduce, reproduce
    from .runs.resuming import aresume, resume
    from .runs.run import arun, run
    from .runs.steps import ahistory, history
    from .settings import Settings, load_settings
    from .traces.events import Event, read_events
    from .traces.reader import RecordedRun, read_run

__all__ = [
    "Adaptive",
    "Batch",
    "BestOfN",
    "ChatJudge",
    "Cluster",
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
    "cluster.wish": ("Cluster",),
    "graph.context": ("Context",),
    "traces.events": ("Event", "read_events"),
    "runs.forking": ("afork", "fork"),
    "runs.steps": ("ahistory", "history"),
    "runs.interactive": ("TerminalAsker",),
    "graph.person": ("Question",),
    "graph.graph": ("build_graph", "make_graph", "recursion_limit"),
    "graph.routing": ("decide", "judge"),
    "runs.outcome": ("Run", "RunImage"),
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
    "traces.reader": ("RecordedRun", "read_run"),
    "report": ("write_report",),
    "runs.reproducing": ("areproduce", "reproduce"),
    "runs.resuming": ("aresume", "resume"),
    "runs.run": ("arun", "run"),
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
