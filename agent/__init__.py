"""What decides: graph, nodes, policies, runs, traces, command line.

Names are looked up on first use, so that ``detailscribe --help`` need not import LangGraph.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .batch.batch import Batch as Batch
    from .batch.batch import arun_batch as arun_batch
    from .batch.batch import run_batch as run_batch
    from .batch.cluster import Cluster as Cluster
    from .graph.checkpoints import serializer as serializer
    from .graph.context import Context as Context
    from .graph.graph import build_graph as build_graph
    from .graph.graph import recursion_limit as recursion_limit
    from .graph.judge import decide as decide
    from .graph.judge import judge as judge
    from .graph.person import Question as Question
    from .graph.tools import langchain_tools as langchain_tools
    from .policies import Adaptive as Adaptive
    from .policies import BestOfN as BestOfN
    from .policies import ChatJudge as ChatJudge
    from .policies import FunctionPolicy as FunctionPolicy
    from .policies import Halving as Halving
    from .policies import Hybrid as Hybrid
    from .policies import MultiRound as MultiRound
    from .policies import Paper as Paper
    from .policies import Policy as Policy
    from .policies import PolicyError as PolicyError
    from .policies import RandomControl as RandomControl
    from .policies import SeedSearch as SeedSearch
    from .policies import Single as Single
    from .policies import resolve_policy as resolve_policy
    from .records.events import Event as Event
    from .records.events import read_events as read_events
    from .records.reader import RecordedRun as RecordedRun
    from .records.reader import Run as Run
    from .records.reader import RunImage as RunImage
    from .records.reader import read_run as read_run
    from .records.rows import Row as Row
    from .runs.fork import afork as afork
    from .runs.fork import ahistory as ahistory
    from .runs.fork import fork as fork
    from .runs.fork import history as history
    from .runs.reproduce import areproduce as areproduce
    from .runs.reproduce import reproduce as reproduce
    from .runs.run import aresume as aresume
    from .runs.run import arun as arun
    from .runs.run import context as context
    from .runs.run import resume as resume
    from .runs.run import run as run
    from .serving import make_graph as make_graph
    from .settings.loading import load_settings as load_settings
    from .settings.settings import Settings as Settings
    from .views.asker import TerminalAsker as TerminalAsker
    from .views.live import ProgressBar as ProgressBar
    from .views.report import write_report as write_report

_NAMES = {
    "batch.batch": "Batch arun_batch run_batch",
    "batch.cluster": "Cluster",
    "graph.checkpoints": "serializer",
    "graph.context": "Context",
    "graph.graph": "build_graph recursion_limit",
    "graph.judge": "decide judge",
    "graph.person": "Question",
    "graph.tools": "langchain_tools",
    "policies": "Adaptive BestOfN ChatJudge FunctionPolicy Halving Hybrid MultiRound Paper Policy PolicyError"
    " RandomControl SeedSearch Single resolve_policy",
    "records.events": "Event read_events",
    "records.reader": "RecordedRun Run RunImage read_run",
    "records.rows": "Row",
    "runs.fork": "afork ahistory fork history",
    "runs.reproduce": "areproduce reproduce",
    "runs.run": "aresume arun context resume run",
    "serving": "make_graph",
    "settings.loading": "load_settings",
    "settings.settings": "Settings",
    "views.asker": "TerminalAsker",
    "views.live": "ProgressBar",
    "views.report": "write_report",
}
"""Public names by module."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
