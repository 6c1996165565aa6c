"""The state machine: decompose, draw, look, judge each image, and finish with the best."""

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from ..state import Budget, RunInput, RunState
from .context import Context
from .nodes import critique, decompose, finish, generate, refine
from .routing import judge, plan

Graph = CompiledStateGraph[RunState, Context, RunInput, RunState]
"""The compiled graph; invoke it with ``context=Context(...)``."""

Checkpointer = BaseCheckpointSaver[Any] | None
"""Where a run's state is kept, so that it can be resumed, rewound and forked."""

BACKSTOP = Budget(rounds=100, images=1000)
"""The budget whose recursion limit a graph has by default; ``run`` puts that of its own budget on."""

EXITS: dict[Any, str] = {"refine ": "refine", "reseed": "generate", "stop": "finish"}
"""The judge's exits by label. LangGraph draws no label that equals its target, hence the space."""


def build_graph(checkpointer: Checkpointer = None) -> Graph:
    """The graph over injected roles; nothing is loaded and nothing runs until it is invoked.

    The judge ends every run within the budget of its context. A budget of more than 100 rounds needs
    ``{"recursion_limit": recursion_limit(budget)}`` in the config.
    """
    builder = StateGraph(RunState, input_schema=RunInput, context_schema=Context)
    builder.add_node("decompose", decompose)
    builder.add_node("generate", generate)
    builder.add_node("refine", refine)
    builder.add_node("critique", critique)
    builder.add_node("finish", finish)
    builder.add_edge(START, "decompose")
    builder.add_conditional_edges("decompose", plan, {"plan": "generate"})
    builder.add_edge("generate", "critique")
    builder.add_edge("refine", "critique")
    builder.add_conditional_edges("critique", judge, EXITS)
    builder.add_edge("finish", END)
    graph = builder.compile(checkpointer=checkpointer, name="detailscribe")
    return graph.with_config(recursion_limit=recursion_limit(BACKSTOP))


def make_graph() -> Graph:
    """The graph as ``langgraph.json`` names it; the server brings its own checkpointer."""
    return build_graph()


def recursion_limit(budget: Budget) -> int:
    """Supersteps that a run within ``budget`` can take.

    Decompose, generate, critique and finish; two for every further round, which draws at least one
    image; and the one in which LangGraph finds nothing left to do.
    """
    rounds = min(budget.rounds, budget.images - 1)
    return 4 + 2 * rounds + 1
