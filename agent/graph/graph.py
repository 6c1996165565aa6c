"""The state machine: decompose, draw, critique, judge each image, and finish with the best."""

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
"""Wraps a node or a route in a function with the same signature."""

BACKSTOP = Budget(rounds=100, images=1000)
"""The budget of the default recursion limit; ``run`` sets the limit of its own budget."""

EXITS: dict[Any, str] = {"refine ": "refine", "reseed": "generate", "stop": "finish"}
"""The judge's exits by label. LangGraph omits a label that equals its target, hence the space."""


def build_graph(
    checkpointer: Checkpointer = None,
    *,
    interactive: bool = False,
    output: str | None = None,
    context_schema: type[Any] = Context,
    bound: Bound = lambda work: work,
) -> Graph:
    """Compile the graph; no model is loaded until it is invoked.

    Every run ends within the budget of its context. A budget of more than 100 rounds needs
    ``{"recursion_limit": recursion_limit(budget)}`` in the config.

    A second input on a thread starts a new run. A parent graph with the same context, or none, can have the compiled
    graph as a node; with another context, invoke it in a node:
    ``await build_graph().ainvoke({"prompt": ...}, context=context())``.

    Args:
        checkpointer: Saves the state.
        interactive: Whether a node ``person`` interrupts after each round, with ``{"round": ..., "proposed": [...]}``,
            to ask for one decision for each image that waits.
        output: As a node of a parent graph, the key of the parent's state that takes the final ``RunState``; its other
            keys are unchanged. None: every key of ``RunState`` is an output.
        context_schema: Type of the callers' ``context``, from which ``bound`` makes a ``Context``.
        bound: Wraps every node and route.
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
    """The route from a node. ``update_state`` calls it without a context: it then leads to the same node again, which
    finds its work done and continues from the edited state."""

    def routed(state: RunState) -> Any:
        runtime = cast("Runtime[Context] | None", get_runtime(Context))
        return [Send(node, state)] if runtime is None else route(state, runtime)

    async def awaited(state: RunState) -> Any:
        sends = routed(state)
        return await sends if isawaitable(sends) else sends

    wrapped = awaited if iscoroutinefunction(route) else routed
    wrapped.__name__ = route.__name__
    return wrapped


def recursion_limit(budget: Budget) -> int:
    """Supersteps that a run within ``budget`` can take: decompose, generate, critique, finish and ``write_output``; two
    for every further round; and LangGraph's last one, which finds nothing to do."""
    return 5 + 2 * budget.rounds + 1
