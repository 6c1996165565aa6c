"""A run that leaves another one after any of its steps, and goes on under another policy or with other facts."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import RunControl

from ...state import Budget, ImageRecord, RunState
from ...tools.errors import SettingsError
from ...tools.roles import Critic, Decomposer, Diffusion
from ...tools.store import Store
from ..graph.answers import ANSWERS
from ..graph.graph import Checkpointer, build_graph
from ..graph.person import Ask
from ..policies import PolicySpec
from ..settings import load
from ..traces.events import Event
from ..traces.manifest import Parent, read_manifest
from .blocking import blocking
from .edits import edited
from .folder import claimed, new_run_id
from .outcome import Run
from .resuming import recorded_settings, same_policy
from .run import policy_of
from .steps import Step, ahistory
from .work import Work, checkpointer_of, do, manifest_of


async def afork(
    folder: Path | str,
    at: int,
    *,
    # what is to be different
    policy: PolicySpec | None = None,
    policy_args: Mapping[str, object] | None = None,
    budget: Budget | None = None,
    edits: Mapping[str, str] | None = None,
    # as in run
    decomposer: Decomposer | None = None,
    diffusion: Diffusion | None = None,
    critic: Critic | None = None,
    out: Path | str | None = None,
    on_event: Callable[[Event], object] | None = None,
    checkpointer: Checkpointer = None,
    control: RunControl | None = None,
    ask: Ask | None = None,
) -> Run:
    """Go on from a step of the run in ``folder`` as a new run, in a folder of its own; the old one stays as it is.

    Images and critiques up to the step are taken over. What comes after is decided anew: images that were looked at
    are judged again.

    Args:
        folder: Of a run that is finished or not.
        at: Number of the step, as ``history`` tells it.
        policy: As in ``run``; the run's own unless given.
        policy_args: Parameters of a policy that is given by its name.
        budget: Of the whole run, with what it takes over; the run's own unless given.
        edits: ``IMAGE.refined_prompt`` or ``IMAGE.CHECK`` to its new value; see ``edits.edited``.
        decomposer: As the run had it, where it was given.
        diffusion: As the run had it, where it was given, or another one.
        critic: As the run had it, where it was given, or another one.
        out: The new run folder, absent or empty; a new one under ``runs/`` unless given.
        on_event: As in ``run``.
        checkpointer: As the run had it, where it was given; it takes the new run too.
        control: As in ``run``.
        ask: As in ``run``.

    Raises:
        Interrupted: it was asked to stop.
        SettingsError: there is no such run or step, or nothing to be edited under a name.
        DetailScribeError: the user can mend it; the message says how.
    """
    folder, edits = Path(folder), dict(edits or {})
    manifest = read_manifest(folder)
    step = _step(await ahistory(folder, checkpointer=checkpointer), at, folder)
    state = edited(open_again(step), edits)
    loaded = load(recorded_settings(manifest), {"run": _changes(policy, policy_args, budget, out)})
    if loaded.settings.run.checkpoints == "off" and checkpointer is None:
        raise SettingsError("a fork needs checkpoints, and run.checkpoints is off: give the run's own checkpointer")
    judge = policy_of(policy, loaded.settings.run)
    if policy is None and not policy_args:
        same_policy(manifest, judge)
    run_id = new_run_id(manifest.prompt)
    parent = Parent(run=manifest.run, step=at, edits=edits)
    new = manifest_of(run_id, manifest.prompt, manifest.seed, judge, loaded, parent=parent, interactive=ask is not None)
    with claimed(Path(out) if out else Path("runs") / run_id) as store:
        work = Work(
            store=store,
            manifest=new,
            loaded=loaded,
            policy=judge,
            decomposer=decomposer,
            diffusion=diffusion,
            critic=critic,
            on_event=on_event,
            checkpointer=checkpointer,
            control=control,
            ask=ask,
        )
        take_over(state.get("images", {}).values(), Store(folder), store)
        await _seed(work, state)
        return await do(work)


fork = blocking(afork)


def open_again(step: Step) -> RunState:
    """The state after a step without what followed from its last critique, where the judge came next, or the end."""
    kept = {name: value for name, value in step.state.items() if name not in ("best", "stop", "comparisons")}
    kept["decisions"] = {id: d for id, d in step.state.get("decisions", {}).items() if d.action != "stop"}
    if step.judged:
        now = str(step.state["round"])
        for name in ("advice", "rulings"):
            kept[name] = {round: said for round, said in step.state.get(name, {}).items() if round != now}
    return cast(RunState, kept)


def _step(steps: list[Step], at: int, folder: Path) -> Step:
    found = next((step for step in steps if step.number == at), None)
    if found is None:
        raise SettingsError(
            f"the run in {folder} has no step {at}, only {steps[0].number} to {steps[-1].number}:"
            f" see detailscribe history {folder}"
        )
    return found


def _changes(
    policy: PolicySpec | None, policy_args: Mapping[str, object] | None, budget: Budget | None, out: Path | str | None
) -> dict[str, object]:
    """What is said of the new run, as settings of the section of that name."""
    changes: dict[str, object] = {"out": None if out is None else Path(out)}
    if isinstance(policy, str):
        changes["policy"] = policy
    if policy_args:
        changes["policy_args"] = dict(policy_args)
    if budget is not None:
        changes["budget"] = budget.model_dump()
    return changes


def take_over(images: Iterable[ImageRecord], source: Store, target: Store) -> None:
    """Give the files of these images, and the answers that are kept, to another run folder.

    Raises:
        SettingsError: a picture is gone.
    """
    for image in images:
        if not source.path(image.path).exists():
            raise SettingsError(f"{source.path(image.path)} is gone, so the run cannot be forked with it")
        for reference in (image.path, image.latent, *image.trajectory.values()):
            if reference is not None and source.path(reference).exists():
                share(source.path(reference), target.path(reference))
    if source.path(ANSWERS).exists():
        target.write(ANSWERS, source.read(ANSWERS))


def share(source: Path, target: Path) -> None:
    """The same file under another name, or a copy; files of a run are never changed in place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


async def _seed(work: Work, state: RunState) -> None:
    """Make the state the new run's first one; before the first images there is none to make."""
    if not state.get("images"):
        return
    config: RunnableConfig = {"configurable": {"thread_id": work.manifest.run}}
    async with checkpointer_of(work) as saver:
        # As if drawn just now: critique comes next, finds what was looked at, and leaves it to the judge.
        await build_graph(saver).aupdate_state(config, dict(state), as_node="generate")
