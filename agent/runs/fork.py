"""The steps of a run, and a new run that goes on from one of them under another policy or with edited critiques."""

import shutil
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import RunControl
from pydantic import ValidationError

from ...state import Budget, Critique, RunState, Verdict
from ...tools.blocking import blocking
from ...tools.errors import SettingsError, first_problem, typed
from ...tools.files import Store, copy_file
from ...tools.roles import Critic, Decomposer, Diffusion
from ..graph.checkpoints import CACHE, COLUMNS, FILE, UNREADABLE, check_version, checkpoints_of, problem_of
from ..graph.context import population_of
from ..graph.graph import Checkpointer, Graph, build_graph
from ..graph.person import Ask
from ..policies import PolicySpec
from ..records.events import Event
from ..records.manifest import Manifest, Parent, read_manifest
from ..records.reader import Run
from ..settings.loading import with_secrets
from ..settings.models import Models
from .folder import manifest_of, new_folder, new_run_id
from .run import recorded_policy, resolve_settings
from .session import Session

PROMPT = "refined_prompt"
"""The name under which an image's corrected prompt is edited; every other name is that of a check."""


@dataclass(frozen=True)
class Step:
    """The state of a run after one step."""

    number: int
    """Of the step: 0 before anything was done."""
    state: RunState
    """The channels that had a value."""
    next: tuple[str, ...]
    """Nodes that came next; none at the end."""

    @property
    def images(self) -> tuple[str, ...]:
        """Ids of the images so far."""
        return tuple(self.state.get("images", {}))

    @property
    def judged(self) -> bool:
        """Whether every image had its critique, so that the judge came next, or had ended the run."""
        return bool(self.images) and self.state.get("critiques", {}).keys() == {*self.images}

    @property
    def best(self) -> str | None:
        """Id of the best image so far; None where some images had no critique yet."""
        if not self.judged:
            return None
        return self.state.get("best") or population_of(self.state, Budget()).best().id


@typed
async def ahistory(folder: Path | str, *, checkpointer: Checkpointer = None) -> list[Step]:
    """Every step of the run in ``folder``, from the first on; no model is asked.

    Args:
        folder: The folder of a run that is finished or not.
        checkpointer: The one that the run was given, if any.

    Raises:
        SettingsError: there is no run, it has no checkpoints, or they are of another version.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_version(manifest.state_version, f"the run in {folder}")
    config: RunnableConfig = {"configurable": {"thread_id": manifest.run}}
    try:
        async with _recorded_graph(manifest, folder, checkpointer) as graph:
            steps = [
                Step((shot.metadata or {}).get("step", -1), cast(RunState, shot.values), shot.next)
                async for shot in graph.aget_state_history(config)
            ]
    except UNREADABLE as error:
        raise SettingsError(
            f"the checkpoints of the run in {folder} cannot be read: {type(error).__name__}: {error}"
        ) from error
    steps = sorted((step for step in steps if step.number >= 0), key=lambda step: step.number)
    if not steps:
        raise SettingsError(f"the run in {folder} has no checkpoints to go back to")
    return steps


@asynccontextmanager
async def _recorded_graph(manifest: Manifest, folder: Path, checkpointer: Checkpointer) -> AsyncGenerator[Graph]:
    where = manifest.settings.run.checkpoints
    if checkpointer is not None:
        yield build_graph(checkpointer, interactive=manifest.interactive)
        return
    if where == "off":
        raise SettingsError(f"the run in {folder} was made without checkpoints (run.checkpoints is off)")
    with TemporaryDirectory(prefix="detailscribe-") as place:
        if where == "sqlite":  # opening a database writes to it, so a copy is opened
            if not (folder / FILE).exists():
                raise SettingsError(f"the run in {folder} has no checkpoints: {folder / FILE} is missing")
            _copy_database(Store(folder), FILE, Path(place))
            if problem := problem_of(Path(place) / FILE, COLUMNS):
                raise SettingsError(f"the steps of the run in {folder} cannot be read: {problem}")
        async with checkpoints_of(where, Store(place)) as saver:
            yield build_graph(saver, interactive=manifest.interactive)


def _copy_database(source: Store, name: str, folder: Path) -> None:
    """Copy a database, if it exists, with the log that a kill may have left."""
    try:
        for part in (name, f"{name}-wal"):
            if source.path(part).exists():
                shutil.copyfile(source.path(part), folder / part)
    except OSError as error:
        raise SettingsError(f"{source.root / name} cannot be copied: {error.strerror}") from error


@typed
async def afork(
    folder: Path | str,
    at: int,
    *,
    # what changes
    policy: PolicySpec | None = None,
    policy_args: Mapping[str, object] | None = None,
    budget: Budget | Mapping[str, object] | None = None,
    chat_url: str | None = None,
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

    The new run has the images and critiques up to the step, and judges these images again. The arguments that are not
    named below are those of ``run``; by default they are those of the old run, but roles that it was given as objects
    have to be given again.

    Args:
        folder: The folder of a run that is finished or not.
        at: Number of the step, as ``history`` returns it.
        budget: Of the whole run, with the images that it has already.
        chat_url: The server of the chat model.
        edits: ``IMAGE.refined_prompt`` or ``IMAGE.CHECK`` to its new value; see ``edited``.
        checkpointer: The one that the run was given, if any; it keeps the new run too.

    Raises:
        Interrupted: it was asked to stop.
        DetailScribeError: the user can mend it; the message says how.
    """
    folder, edits = Path(folder), dict(edits or {})
    manifest = read_manifest(folder)
    steps = await ahistory(folder, checkpointer=checkpointer)
    step = next((step for step in steps if step.number == at), None)
    if step is None:
        raise SettingsError(
            f"the run in {folder} has no step {at}, only {steps[0].number} to {steps[-1].number}:"
            f" see detailscribe history {folder}"
        )
    state = edited(_open_again(step), edits)
    new_id = new_run_id(manifest.prompt)
    out = Path("runs") / new_id if out is None else Path(out)
    loaded = resolve_settings(with_secrets(manifest.settings, chat_url), policy, policy_args or None, budget, out=out)
    chosen = loaded.settings.run
    if chosen.checkpoints == "off" and checkpointer is None:
        raise SettingsError("a fork needs checkpoints, and run.checkpoints is off: give the run's own checkpointer")
    judge = recorded_policy(manifest, policy, chosen, same=policy is None and not policy_args)
    models = Models(loaded.settings, decomposer=decomposer, diffusion=diffusion, critic=critic)
    facts: dict[str, Any] = {"parent": Parent(run=manifest.run, step=at, edits=edits), "interactive": ask is not None}
    new = manifest_of(new_id, manifest.prompt, manifest.seed, judge, loaded, **facts)
    with new_folder(out) as store:
        await models.check()
        for image in state.get("images", {}).values():
            if not (picture := Store(folder).path(image.path)).is_file():
                raise SettingsError(f"{picture} is missing, so the run cannot be forked with it")
            for file in filter(Path.is_file, map(Store(folder).path, image.files)):
                copy_file(file, store.path(file.relative_to(folder).as_posix()))
        _copy_database(Store(folder), CACHE, store.root)
        how: dict[str, Any] = {"checkpointer": checkpointer, "on_event": on_event, "control": control, "ask": ask}
        return await Session(store, new, models, judge, begin=state if state.get("images") else None, **how).run()


history = blocking(ahistory)
fork = blocking(afork)


def _open_again(step: Step) -> RunState:
    """The state without the decisions, advice and rulings of its last round, so that this is judged again."""
    kept = {name: value for name, value in step.state.items() if name not in ("best", "stop", "comparisons")}
    kept["decisions"] = {id: d for id, d in step.state.get("decisions", {}).items() if d.action != "stop"}
    if step.judged:
        now = str(step.state["round"])
        for name in ("advice", "rulings"):
            kept[name] = {round: made for round, made in step.state.get(name, {}).items() if round != now}
    return cast(RunState, kept)


def edited(state: RunState, edits: Mapping[str, str]) -> RunState:
    """The state with edited critiques: ``IMAGE.NAME`` to its new value; without an image, that of every image that
    waits for its decision. NAME is ``refined_prompt``, or a check, whose value is pass, fail or unknown."""
    critiques = dict(state.get("critiques", {}))
    waiting = [id for id in critiques if id not in state.get("decisions", {})]
    for place, value in edits.items():
        image, dot, name = place.partition(".")
        if dot and image not in critiques:
            raise SettingsError(f"--edit {place}: no image {image!r} was looked at; known are {', '.join(critiques)}")
        for id in [image] if dot else waiting:
            critiques[id] = _edited(critiques[id], name if dot else place, value)
    if edits and not critiques:
        raise SettingsError("--edit changes what is known of images, and at this step there are none; take a later one")
    return cast(RunState, {**state, "critiques": critiques} if critiques else dict(state))


def _edited(critique: Critique, name: str, value: str) -> Critique:
    if name != PROMPT and name not in critique.answers():
        raise SettingsError(f"--edit {name}: no check of that name; known are {', '.join(critique.answers())}")
    try:
        verdicts = critique.verdicts if name == PROMPT else [_verdict(v, name, value) for v in critique.verdicts]
        words = value if name == PROMPT else critique.refined_prompt
        return Critique.model_validate({**dict(critique), "verdicts": verdicts, "refined_prompt": words})
    except ValidationError as error:
        raise SettingsError(f"--edit {name}={value}: {first_problem(error)}") from error


def _verdict(verdict: Verdict, check: str, answer: str) -> Verdict:
    """The verdict after a check was edited; one that this check's failure had decided is unknown where that passes."""
    if verdict.check == check:
        reason = "edited" if answer == "unknown" else None
        return Verdict.model_validate({"check": check, "answer": answer, "evidence": "edited", "reason": reason})
    if verdict.settled_by == check and answer != "fail":
        return Verdict(check=verdict.check, answer="unknown", reason=f"not asked: {check} had failed before")
    return verdict
