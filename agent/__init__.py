"""What decides: graph, nodes, policies, runs, traces, command line.

Names are looked up on first use, so that ``detailscribe --help`` need not import LangGraph.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .batch.batch import Batch, arun_batch, run_batch
    from .graph.context import Context
    from .graph.graph import build_graph, recursion_limit
    from .graph.judge import decide, judge
    from .graph.person import Question
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
    from .records.events import Event, read_events
    from .records.outcome import Run, RunImage
    from .records.reader import RecordedRun, read_run
    from .records.rows import Row
    from .runs.fork import afork, ahistory, fork, history
    from .runs.reproduce import areproduce, reproduce
    from .runs.run import aresume, arun, resume, run
    from .serving import make_graph
    from .settings.loading import load_settings
    from .settings.settings import Settings
    from .views.asker import TerminalAsker
    from .views.report import write_report

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

_HOME = {
    "Batch": "batch.batch",
    "arun_batch": "batch.batch",
    "run_batch": "batch.batch",
    "Row": "records.rows",
    "Context": "graph.context",
    "build_graph": "graph.graph",
    "recursion_limit": "graph.graph",
    "decide": "graph.judge",
    "judge": "graph.judge",
    "Question": "graph.person",
    "Adaptive": "policies",
    "BestOfN": "policies",
    "ChatJudge": "policies",
    "FunctionPolicy": "policies",
    "Halving": "policies",
    "Hybrid": "policies",
    "MultiRound": "policies",
    "Paper": "policies",
    "Policy": "policies",
    "PolicyError": "policies",
    "RandomControl": "policies",
    "SeedSearch": "policies",
    "Single": "policies",
    "resolve_policy": "policies",
    "Event": "records.events",
    "read_events": "records.events",
    "RecordedRun": "records.reader",
    "read_run": "records.reader",
    "afork": "runs.fork",
    "ahistory": "runs.fork",
    "fork": "runs.fork",
    "history": "runs.fork",
    "Run": "records.outcome",
    "RunImage": "records.outcome",
    "areproduce": "runs.reproduce",
    "reproduce": "runs.reproduce",
    "aresume": "runs.run",
    "arun": "runs.run",
    "resume": "runs.run",
    "run": "runs.run",
    "make_graph": "serving",
    "Settings": "settings.settings",
    "load_settings": "settings.loading",
    "TerminalAsker": "views.asker",
    "write_report": "views.report",
}
"""Module of each name."""


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
