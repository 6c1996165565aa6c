"""The graph is driven to its end, from wherever it stands, and its stream becomes the trace."""

from collections.abc import Callable, Iterable
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command

from ...state import STATE_VERSION, RunInput, RunResult, RunState, spend_of
from ...tools.errors import Interrupted
from ..graph.checkpoints import check_version
from ..graph.context import Context
from ..graph.graph import Graph, recursion_limit
from ..graph.person import Ask, answer_of
from ..report import write_report
from ..traces.events import Event, EventLog, RunFinished
from ..traces.trace import Tracer, failure
from .outcome import Run

Emit = Callable[[Event], None]


async def complete(
    graph: Graph,
    run_id: str,
    prompt: str,
    seed: int,
    context: Context,
    emit: Emit,
    told: Iterable[Event] = (),
    control: RunControl | None = None,
    ask: Ask | None = None,
) -> Run:
    """Drive the graph to its end and leave result and report in the context's store.

    Where the graph's checkpointer knows the run, it goes on from there.

    Args:
        graph: Compiled; the run is its thread of the name ``run_id``.
        run_id: Of the run.
        prompt: What the picture should show.
        seed: Of the run.
        context: What the caller chose.
        emit: Takes every event.
        told: What the trace tells already, which is not told again.
        control: Stops the run after a step.
        ask: Decides where the graph is interactive.

    Raises:
        Interrupted: ``control`` asked for it.
        SettingsError: the checkpointer knows the run in another version of the state.
    """
    tracer = Tracer(run_id, told)
    state = await _drive(graph, {"prompt": prompt, "seed": seed}, context, tracer, emit, control, ask)
    result, store = result_of(run_id, state), context.store
    store.write("result.json", result.model_dump_json(indent=2).encode())
    write_report(store.root, result)
    emit(RunFinished(run=run_id, image=result.best.id, stop=result.stop, spend=result.spend))
    return Run(result, store.root)


async def _drive(
    graph: Graph,
    start: RunInput,
    context: Context,
    tracer: Tracer,
    emit: Emit,
    control: RunControl | None,
    ask: Ask | None,
) -> RunState:
    """The final state; every part of the graph's stream becomes events."""
    config: RunnableConfig = {
        "configurable": {"thread_id": tracer.run},
        "recursion_limit": recursion_limit(context.budget),
    }
    state, begun = await _standing(graph, config)
    if state is not None:
        _tell(tracer.missing(state), emit)
        if "best" in state:
            return state
    given: RunInput | Command[Any] | None = None if begun else start
    try:
        while state is None or "best" not in state:
            state, waiting = await _stretch(graph, given, config, context, tracer, emit, control)
            if waiting is not None:
                given = Command(resume=await answer_of(ask, state, context, waiting))
    except GraphDrained as drained:
        interrupted = Interrupted(f"stopped after this step; go on with: detailscribe resume {context.store.root}")
        emit(failure(tracer.run, interrupted))
        raise interrupted from drained
    except BaseException as error:
        if not tracer.failed:
            emit(failure(tracer.run, error))
        raise
    return state


async def _stretch(
    graph: Graph,
    given: RunInput | Command[Any] | None,
    config: RunnableConfig,
    context: Context,
    tracer: Tracer,
    emit: Emit,
    control: RunControl | None,
) -> tuple[RunState, Any]:
    """Run to the end, or until a person is asked: the state then, and what they are asked, None at the end."""
    state, waiting = None, None
    async for part in graph.astream(
        given,
        config,
        context=context,
        stream_mode=["tasks", "custom", "values"],
        version="v2",
        control=control,
    ):
        if part["type"] == "values":
            state = part["data"]
            waiting = part["interrupts"][0].value if part["interrupts"] else None
            _tell(tracer.missing(state), emit)
        else:
            _tell(tracer.read(part), emit)
    if state is None or (waiting is None and "best" not in state):
        raise RuntimeError("the graph ended before its end")
    return state, waiting


async def _standing(graph: Graph, config: RunnableConfig) -> tuple[RunState | None, bool]:
    """What the checkpointer knows of the run, if anything, and whether it knows what to do next.

    It does not at the run's end, nor after a kill between the first input and the first step.
    """
    if graph.checkpointer is None:
        return None, False
    snapshot = await graph.aget_state(config)
    if not snapshot.values:
        return None, False
    state = cast(RunState, snapshot.values)
    check_version(state.get("version", STATE_VERSION), "the run")
    return state, bool(snapshot.next)


def _tell(events: Iterable[Event], emit: Emit) -> None:
    for event in events:
        emit(event)


def emitter(log: EventLog, on_event: Callable[[Event], Any] | None) -> Emit:
    """Writes each event down and tells it."""

    def emit(event: Event) -> None:
        log.write(event)
        if on_event is not None:
            on_event(event)

    return emit


def result_of(run_id: str, state: RunState) -> RunResult:
    """The outcome of a state that ``finish`` has written."""
    ids = sorted(state["images"])
    advice, comparisons = state.get("advice", {}).values(), state.get("comparisons", {}).values()
    return RunResult(
        run=run_id,
        prompt=state["prompt"],
        concepts=state["concepts"],
        best=state["images"][state["best"]],
        images=tuple(state["images"][id] for id in ids),
        critiques=tuple(state["critiques"][id] for id in ids),
        decisions=tuple(state["decisions"][id] for id in ids),
        advice=tuple(advice),
        comparisons=tuple(comparisons),
        stop=state["stop"],
        spend=spend_of(state["concepts"], state["images"], state["critiques"], advice, comparisons),
    )
