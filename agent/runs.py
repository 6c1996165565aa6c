"""One run from a prompt to a folder: everything is checked first, then the graph is driven and its trace kept."""

import asyncio
import contextvars
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ..state import Budget, ConceptGraph, RunResult, RunState, spend_of
from ..tools.errors import SettingsError
from ..tools.roles import Critic, Decomposer, Diffusion
from .context import Context
from .doctor.require import require
from .events import Event, EventLog, RunFinished, RunStarted
from .graph import Checkpointer, Graph, build_graph, recursion_limit
from .manifest import Manifest, model_name, models_of
from .outcome import Run
from .policies import Policy, PolicySpec, resolve_policy
from .presets import preset_named
from .report import write_report
from .run_folder import claimed, new_run_id
from .settings import Given, Loaded, RunSettings, known_names, load
from .trace import Tracer, failure
from .validation import check_prompt

P = ParamSpec("P")
R = TypeVar("R")
Emit = Callable[[Event], None]
NOT_OURS = "steps and guidance belong to the preset's diffusion; set them on the one you gave"


async def arun(
    prompt: str,
    *,
    settings: Given | None = None,
    # how the run decides
    policy: PolicySpec | None = None,
    seed: int | None = None,
    budget: Budget | None = None,
    # what it works with
    preset: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    decomposer: Decomposer | None = None,
    diffusion: Diffusion | None = None,
    critic: Critic | None = None,
    # where it leaves what it made
    out: Path | str | None = None,
    on_event: Callable[[Event], object] | None = None,
    checkpointer: Checkpointer = None,
) -> Run:
    """Draw ``prompt``, check the drawing and work on it until the policy or the budget says stop.

    Everything is checked before anything is spent; a run that fails before its first image leaves nothing.

    What is not given comes from the environment, then from ``./detailscribe.toml``, then from the preset,
    as on the command line.

    Args:
        prompt: What the picture should show, at most 2000 characters.
        settings: A table by section, such as ``{"chat": {"model": "gpt-4o"}}``; or an object of ``agent.settings``,
            and then neither the environment nor a file is read. The arguments below go before it.
        policy: A known name, ``module:Name``, a policy, its class, or a function ``judge(population)``.
        seed: In [0, 2**32).
        budget: Bounds that the policy cannot exceed.
        preset: Which models take part.
        steps: Length of the denoising schedule.
        guidance: Scale of classifier-free guidance.
        decomposer: In place of the preset's.
        diffusion: In place of the preset's; it brings its own steps and guidance.
        critic: In place of the preset's.
        out: The run folder, absent or empty; a new one under ``runs/`` unless given.
        on_event: Called with each event of the trace, and with every denoising step, on the loop's thread.
        checkpointer: Makes the run a LangGraph thread, with the run's id as the thread's.

    Raises:
        DetailScribeError: the user can mend it; the message says how.
    """
    check_prompt(prompt)
    if diffusion is not None and (steps, guidance) != (None, None):
        raise SettingsError(NOT_OURS)
    loaded = settled(settings, policy, budget, seed=seed, preset=preset, steps=steps, guidance=guidance, out=out)
    chosen = loaded.settings.run
    judge = policy_of(policy, chosen)
    run_id = new_run_id(prompt)
    folder = chosen.out or Path("runs") / run_id
    with claimed(folder) as store:
        models = preset_named(chosen.preset).roles(loaded.settings)
        reader = decomposer or models.decomposer()
        await require(loaded.settings, draws=diffusion is None, looks=critic is None)
        concepts = await reader.decompose(prompt)
        with EventLog(store.path("events.jsonl")) as log:
            emit = emitter(log, on_event)
            emit(RunStarted(run=run_id, prompt=prompt, seed=chosen.seed, policy=repr(judge), budget=chosen.budget))
            looker = critic or await asyncio.to_thread(models.critic)  # first, since it loads faster
            context = Context(
                decomposer=AlreadyDecomposed(concepts, model_name(reader)),
                diffusion=diffusion or await asyncio.to_thread(models.diffusion),
                critic=looker,
                policy=judge,
                store=store,
                budget=chosen.budget,
                chat=models.chat(),
            )
            write_manifest(run_id, prompt, chosen.seed, loaded, context)
            return await complete(build_graph(checkpointer), run_id, prompt, chosen.seed, context, emit)


async def complete(graph: Graph, run_id: str, prompt: str, seed: int, context: Context, emit: Emit) -> Run:
    """Drive the graph to its end and leave result and report in the context's store."""
    state = await _drive(graph, run_id, prompt, seed, context, emit)
    result, store = result_of(run_id, state), context.store
    store.write("result.json", result.model_dump_json(indent=2).encode())
    write_report(store.root, result)
    emit(RunFinished(run=run_id, image=result.best.id, stop=result.stop, spend=result.spend))
    return Run(result, store.root)


def settled(
    settings: Given | None, policy: PolicySpec | None, budget: Budget | None, **run: str | float | Path | None
) -> Loaded:
    """All settings, with a caller's arguments on top; ``run`` are those of the section of that name."""
    given = run | {"policy": policy if isinstance(policy, str) else None, "budget": budget and budget.model_dump()}
    arguments = {"run": {name: value for name, value in given.items() if value is not None}}
    return load(*([] if settings is None else [settings]), arguments)


def policy_of(given: PolicySpec | None, chosen: RunSettings) -> Policy:
    """The policy that the caller gave, or else the one that the settings name, with its parameters."""
    if given is None or isinstance(given, str):
        return resolve_policy(chosen.policy, **chosen.policy_args)
    return resolve_policy(given)


def blocking(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """The same function for callers that cannot await; where a loop runs already, as in a notebook, in a thread."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not _loop_is_running():
            return asyncio.run(function(*args, **kwargs))
        context = contextvars.copy_context()
        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(context.run, lambda: asyncio.run(function(*args, **kwargs))).result()

    return call


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


run = blocking(arun)


@dataclass(frozen=True)
class AlreadyDecomposed:
    """Hands on what was decomposed before the run began, so that it is paid for once."""

    concepts: ConceptGraph
    model: str
    """Of the decomposer that did it."""

    async def decompose(self, prompt: str) -> ConceptGraph:
        return self.concepts


def result_of(run_id: str, state: RunState) -> RunResult:
    """The outcome of a state that ``finish`` has written."""
    ids = sorted(state["images"])
    return RunResult(
        run=run_id,
        prompt=state["prompt"],
        concepts=state["concepts"],
        best=state["images"][state["best"]],
        images=tuple(state["images"][id] for id in ids),
        critiques=tuple(state["critiques"][id] for id in ids),
        decisions=tuple(state["decisions"][id] for id in ids),
        advice=tuple(state.get("advice", {}).values()),
        comparisons=tuple(state.get("comparisons", {}).values()),
        stop=state["stop"],
        spend=spend_of(
            state["concepts"],
            state["images"],
            state["critiques"],
            state.get("advice", {}).values(),
            state.get("comparisons", {}).values(),
        ),
    )


async def _drive(graph: Graph, run_id: str, prompt: str, seed: int, context: Context, emit: Emit) -> RunState:
    """Run the graph to its end; every part of its stream becomes events."""
    tracer, state = Tracer(run_id), None
    stream = graph.astream(
        {"prompt": prompt, "seed": seed},
        {"configurable": {"thread_id": run_id}, "recursion_limit": recursion_limit(context.budget)},
        context=context,
        stream_mode=["tasks", "custom", "values"],
        version="v2",
    )
    try:
        async for part in stream:
            if part["type"] == "values":
                state = part["data"]
            else:
                for event in tracer.read(part):
                    emit(event)
    except BaseException as error:
        if not tracer.failed:
            emit(failure(run_id, error))
        raise
    if state is None:
        raise RuntimeError("the graph ended without a state")
    return state


def emitter(log: EventLog, on_event: Callable[[Event], object] | None) -> Emit:
    """Writes each event down and tells it."""

    def emit(event: Event) -> None:
        log.write(event)
        if on_event is not None:
            on_event(event)

    return emit


def write_manifest(run_id: str, prompt: str, seed: int, loaded: Loaded, context: Context) -> None:
    """Leave in the context's store what the run is made of."""
    manifest = Manifest(
        run=run_id,
        prompt=prompt,
        seed=seed,
        policy=repr(context.policy),
        settings=loaded.settings,
        sources={name: source for name in known_names() if (source := loaded.source(name)) != "default"},
        models=models_of(context),
    )
    context.store.write("manifest.json", manifest.model_dump_json(indent=2).encode())
