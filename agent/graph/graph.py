"""The state machine: decompose, draw, look, judge each image, and finish with the best."""

from collections.abc import Callable
from inspect import isawaitable, iscoroutinefunction
from typing import Any, TypedDict, cast

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime, get_runtime
from langgraph.types import Send

from ...state import Budget, RunInput, RunState
from ...tools.errors import SettingsError
from .checkpoints import Checkpointer
from .context import Context
from .judge import judge, plan
from .nodes import critique, decompose, finish, generate
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
    output: str | None = None,
    context_schema: type[Any] = Context,
    bound: Bound = lambda work: work,
) -> Graph:
    """The graph over injected roles; nothing is loaded and nothing runs until it is invoked.

    The judge ends every run within the budget of its context. A budget of more than 100 rounds needs
    ``{"recursion_limit": recursion_limit(budget)}`` in the config.

    A second input on a thread starts a new run. Inside a graph that has another context, invoke this one in a node:
    ``await build_graph().ainvoke({"prompt": ...}, context=context())``; where it has the same, or none, the compiled
    graph can be the node.

    Args:
        checkpointer: Where the state is kept.
        interactive: Whether a person is asked before the judge: a node ``person`` interrupts after each round, with
            ``{"round": ..., "proposed": [...]}``, and takes one decision for each image that waits.
        output: Where the graph is a node of another one, the key of that one's state that takes the final ``RunState``;
            its other keys stay as they are. None: every key of ``RunState`` is an output under its own name.
        context_schema: What callers give as ``context``, where ``bound`` makes a ``Context`` of it.
        bound: Put around every node and route.
    """
    if output in RunState.__annotations__:
        raise SettingsError(f"output={output!r} is a key of the graph's own state: take another name")
    outcome = RunState if output is None else cast(Any, TypedDict)("Outcome", {output: RunState})
    builder = StateGraph(RunState, input_schema=RunInput, output_schema=outcome, context_schema=context_schema)
    for name, node in {
        "decompose": decompose,
        "generate": generate,
        "refine": generate,
        "critique": critique,
        "finish": finish,
    }.items():
        builder.add_node(name, bound(node))
    builder.add_edge(START, "decompose")
    builder.add_conditional_edges("decompose", _route(bound(plan), "decompose"), {"plan": "generate"})
    builder.add_edge("generate", "critique")
    builder.add_edge("refine", "critique")
    judged = "critique"
    if interactive:
        judged = "person"
        builder.add_node("person", bound(person))
        builder.add_edge("critique", "person")
    builder.add_conditional_edges(judged, _route(bound(judge), judged), EXITS)
    if output is None:
        builder.add_edge("finish", END)
    else:
        builder.add_node("write_output", lambda state: {output: state})
        builder.add_edge("finish", "write_output")
        builder.add_edge("write_output", END)
    graph = builder.compile(checkpointer=checkpointer, name="detailscribe")
    return graph.with_config(recursion_limit=recursion_limit(BACKSTOP))


def _route(route: Callable[..., Any], node: str) -> Callable[[RunState], Any]:
    """A route from a node that has no context while ``update_state`` edits that node's outcome: then it leads there
    once more, which does nothing again, and goes on from what was edited."""

    def routed(state: RunState) -> Any:
        runtime = cast("Runtime[Context] | None", get_runtime(Context))
        return [Send(node, state)] if runtime is None else route(state, runtime)

    async def awaited(state: RunState) -> Any:
        found = routed(state)
        return await found if isawaitable(found) else found

    found = awaited if iscoroutinefunction(route) else routed
    found.__name__ = route.__name__
    return found


def recursion_limit(budget: Budget) -> int:
    """Supersteps that a run within ``budget`` can take: decompose, generate, critique, finish and ``write_output``; two
    for every further round; and the one in which LangGraph finds nothing left to do."""
    return 5 + 2 * budget.rounds + 1
