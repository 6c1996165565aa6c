"""The state machine: decompose, draw, look, judge each image, and finish with the best."""

from collections.abc import Callable
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from ...state import Budget, RunInput, RunState
from .checkpoints import Checkpointer
from .context import Context
from .judge import judge, plan
from .nodes import critique, decompose, finish, generate, refine
from .person import person

Graph = CompiledStateGraph[RunState, Context, RunInput, RunState]
"""The compiled graph; invoke it with ``context=Context(...)``."""

Bound = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Makes another of a node or a route, with the same signature."""

BACKSTOP = Budget(rounds=100, images=1000)
"""The budget whose recursion limit a graph has by default; ``run`` puts that of its own budget on."""

EXITS: dict[Any, str] = {"refine ": "refine", "reseed": "generate", "stop": "finish"}
"""The judge's exits by label. LangGraph draws no label that equals its target, hence the space."""


def build_graph(
    checkpointer: Checkpointer = None,
    *,
    interactive: bool = False,
    context_schema: type[Any] = Context,
    bound: Bound = lambda work: work,
) -> Graph:
    """The graph over injected roles; nothing is loaded and nothing runs until it is invoked.

    The judge ends every run within the budget of its context. A budget of more than 100 rounds needs
    ``{"recursion_limit": recursion_limit(budget)}`` in the config.

    Each thread takes one run, and has a ``Store`` of its own. Inside a graph that has another context, invoke this one
    in a node: ``await build_graph().ainvoke({"prompt": ...}, context=context())``.

    Args:
        checkpointer: Where the state is kept.
        interactive: Whether a person is asked before the judge: a node ``person`` interrupts after each round, with
            ``{"round": ..., "proposed": [...]}``, and takes one decision for each image that waits.
        context_schema: What callers give as ``context``, where ``bound`` makes a ``Context`` of it.
        bound: Put around every node and route.
    """
    builder = StateGraph(RunState, input_schema=RunInput, context_schema=context_schema)
    for name, node in {
        "decompose": decompose,
        "generate": generate,
        "refine": refine,
        "critique": critique,
        "finish": finish,
    }.items():
        builder.add_node(name, bound(node))
    builder.add_edge(START, "decompose")
    builder.add_conditional_edges("decompose", bound(plan), {"plan": "generate"})
    builder.add_edge("generate", "critique")
    builder.add_edge("refine", "critique")
    judged = "critique"
    if interactive:
        judged = "person"
        builder.add_node("person", bound(person))
        builder.add_edge("critique", "person")
    builder.add_conditional_edges(judged, bound(judge), EXITS)
    builder.add_edge("finish", END)
    graph = builder.compile(checkpointer=checkpointer, name="detailscribe")
    return graph.with_config(recursion_limit=recursion_limit(BACKSTOP))


def recursion_limit(budget: Budget) -> int:
    """Supersteps that a run within ``budget`` can take.

    Decompose, generate, critique and finish; two for every further round; and the one in which LangGraph finds nothing
    left to do.
    """
    return 4 + 2 * budget.rounds + 1
