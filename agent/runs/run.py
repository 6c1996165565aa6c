"""Starts and resumes a run in a folder, and makes the context for a graph that the caller invokes."""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langgraph.runtime import RunControl

from ...state import Budget
from ...tools.blocking import blocking
from ...tools.errors import SettingsError, typed
from ...tools.files import Store
from ...tools.roles import Critic, Decomposer, Diffusion
from ...tools.text import check_prompt
from ..graph.checkpoints import check_version
from ..graph.context import Context
from ..graph.graph import Checkpointer
from ..graph.person import Ask
from ..policies import CODE, Policy, PolicySpec, policy_name, resolve_policy
from ..records.events import Event
from ..records.manifest import Manifest, read_manifest, write_manifest
from ..records.reader import Run
from ..settings.loading import Given, Loaded, load, with_secrets
from ..settings.models import Models
from ..settings.settings import RunSettings
from .folder import finished_run, manifest_of, new_folder, new_run_id, old_folder
from .session import Session


@typed
async def arun(
    prompt: str,
    *,
    settings: Given | None = None,
    # how the run decides
    policy: PolicySpec | None = None,
    policy_args: Mapping[str, object] | None = None,
    seed: int | None = None,
    budget: Budget | Mapping[str, object] | None = None,
    # what it works with
    preset: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    decomposer: Decomposer | None = None,
    diffusion: Diffusion | None = None,
    critic: Critic | None = None,
    # where its files go
    out: Path | str | None = None,
    on_event: Callable[[Event], object] | None = None,
    checkpointer: Checkpointer = None,
    control: RunControl | None = None,
    ask: Ask | None = None,
) -> Run:
    """Draw ``prompt``, check the drawing and work on it until the policy or the budget says stop.

    Everything is checked before anything is spent; a run that fails before its first image writes nothing.

    Arguments override the environment, which overrides ``./detailscribe.toml``, which overrides the preset.

    Args:
        prompt: What the picture should show, at most 2000 characters.
        settings: A table by section, such as ``{"chat": {"model": "gpt-4o"}}``; or a ``Settings`` object, and then
            neither the environment nor a file is read. The arguments below override it.
        policy: A known name, ``module:Name``, a policy, its class, or a function ``judge(population)``.
        policy_args: Parameters of a policy that is given by its name.
        seed: In [0, 2**32).
        budget: Bounds that the policy cannot exceed, such as ``{"images": 4}``.
        preset: Which models take part.
        steps: Length of the denoising schedule.
        guidance: Scale of classifier-free guidance.
        decomposer: In place of the preset's.
        diffusion: In place of the preset's; it brings its own steps and guidance.
        critic: In place of the preset's.
        out: The run folder, absent or empty; a new one under ``runs/`` unless given.
        on_event: Called with each event of the trace, and with every denoising step, on the loop's thread.
        checkpointer: In place of the settings'; the run is a LangGraph thread, with the run's id as the thread's.
        control: Its ``request_drain()`` stops the run after the step that is being done.
        ask: Makes a person the judge: called after each round with a ``Question``, it decides instead of the policy,
            which only proposes. ``TerminalAsker`` asks in a terminal; in a notebook, ``await arun(...)``.

    Raises:
        Interrupted: it was asked to stop; ``resume`` goes on.
        DetailScribeError: the user can mend it; the message says how.
    """
    check_prompt(prompt)
    given = {"seed": seed, "preset": preset, "steps": steps, "guidance": guidance, "out": out}
    loaded = resolve_settings(settings, policy, policy_args, budget, diffusion, **given)
    chosen = loaded.settings.run
    judge = policy_of(policy, chosen)
    models = Models(loaded.settings, decomposer=decomposer, diffusion=diffusion, critic=critic)
    run_id = new_run_id(prompt)
    with new_folder(chosen.out or Path("runs") / run_id) as store:
        await models.check()
        manifest = manifest_of(run_id, prompt, chosen.seed, judge, loaded, interactive=ask is not None)
        write_manifest(store, manifest)  # first, so that after a kill there is something to resume
        how: Any = {"checkpointer": checkpointer, "on_event": on_event, "control": control, "ask": ask}
        return await Session(store, manifest, models, judge, **how).run()


@typed
async def aresume(
    folder: Path | str,
    *,
    policy: PolicySpec | None = None,
    chat_url: str | None = None,
    decomposer: Decomposer | None = None,
    diffusion: Diffusion | None = None,
    critic: Critic | None = None,
    on_event: Callable[[Event], object] | None = None,
    checkpointer: Checkpointer = None,
    control: RunControl | None = None,
    ask: Ask | None = None,
) -> Run:
    """Go on with the run in ``folder``, with the settings of its manifest; secrets come from the environment.

    Nothing is drawn or asked twice; a finished run is returned as it is. Objects that were passed to ``run`` are passed
    again: roles, checkpointer and ``ask``. The arguments that are not named below are those of ``run``.

    Args:
        folder: The run folder.
        policy: The run's own, where it was given as an object or as ``module:Name``.
        chat_url: The server of the chat model, where the run names another than the key was set for.

    Raises:
        Interrupted: it was asked to stop.
        DetailScribeError: the user can mend it; the message says how.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_version(manifest.state_version, f"the run in {folder}")
    with old_folder(folder) as store:
        if (finished := finished_run(folder)) is not None:
            return finished
        settings = with_secrets(manifest.settings, chat_url)
        judge = recorded_policy(manifest, policy, settings.run)
        models = Models(settings, decomposer=decomposer, diffusion=diffusion, critic=critic)
        await models.check()
        how: Any = {"checkpointer": checkpointer, "on_event": on_event, "control": control, "ask": ask}
        return await Session(store, manifest, models, judge, **how).run()


run = blocking(arun)
resume = blocking(aresume)


@typed
def context(
    *,
    settings: Given | None = None,
    policy: PolicySpec | None = None,
    policy_args: Mapping[str, object] | None = None,
    budget: Budget | Mapping[str, object] | None = None,
    preset: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    decomposer: Decomposer | None = None,
    diffusion: Diffusion | None = None,
    critic: Critic | None = None,
    out: Path | str | None = None,
) -> Context:
    """What ``build_graph()`` is invoked with, of the same settings as ``run``:
    ``await build_graph().ainvoke({"prompt": "a cat"}, context=context(out="runs/cat"))``.

    Models load at their first use, once a process, and are shared by all contexts whose settings load the same. The
    arguments that are not named below are those of ``run``; the seed is part of the graph's input.

    Args:
        out: The folder for images and latents, a new one under ``runs/`` unless given. Ids of images repeat from run
            to run, so each run, and each thread, needs a folder of its own.

    Raises:
        SettingsError: a setting is wrong. A missing key or server is reported by the node that needs it.
    """
    given = {"preset": preset, "steps": steps, "guidance": guidance, "out": out}
    loaded = resolve_settings(settings, policy, policy_args, budget, diffusion, **given)
    chosen = loaded.settings.run
    models = Models(loaded.settings, decomposer=decomposer, diffusion=diffusion, critic=critic)
    return Context(
        **models.roles,
        policy=policy_of(policy, chosen),
        store=Store(chosen.out or Path("runs") / f"graph-{secrets.token_hex(4)}"),
        budget=chosen.budget,
        chat=models.language,
    )


def resolve_settings(
    settings: Given | None,
    policy: PolicySpec | None,
    policy_args: Mapping[str, object] | None,
    budget: Budget | Mapping[str, object] | None,
    diffusion: Diffusion | None = None,
    **run: str | float | Path | None,
) -> Loaded:
    """All settings, overridden by a caller's arguments; ``run`` are those of section ``run``."""
    if diffusion is not None and (run["steps"], run["guidance"]) != (None, None):
        raise SettingsError("steps and guidance belong to the preset's diffusion; set them on the one you gave")
    given: dict[str, object] = {**run, "policy": policy if isinstance(policy, str) else None}
    given["policy_args"] = None if policy_args is None else dict(policy_args)
    given["budget"] = budget.model_dump() if isinstance(budget, Budget) else budget and dict(budget)
    arguments = {"run": {name: value for name, value in given.items() if value is not None}}
    return load(*([] if settings is None else [settings]), arguments)


def policy_of(given: PolicySpec | None, chosen: RunSettings) -> Policy:
    """The policy that the caller passed, or the one in the settings with its parameters."""
    if given is None or isinstance(given, str):
        return resolve_policy(chosen.policy, **chosen.policy_args)
    return resolve_policy(given)


def recorded_policy(manifest: Manifest, given: PolicySpec | None, chosen: RunSettings, *, same: bool = True) -> Policy:
    """The policy of a recorded run, which may be a stranger's: no code is imported that the caller does not name.
    ``same``: refuse another one than the run began with."""
    if given is None and ":" in chosen.policy:
        raise SettingsError(f"the run was decided by {chosen.policy}: name it again, with --policy {chosen.policy}")
    policy = resolve_policy(given, **chosen.policy_args) if isinstance(given, str) else policy_of(given, chosen)
    before, now = (name.partition(CODE)[0] for name in (manifest.policy, policy_name(policy)))
    if same and before != now:  # its code may have changed since
        raise SettingsError(
            f"the run {manifest.run} was decided by {before}, not by {now}: go on with that one from Python,"
            " resume(folder, policy=...), or decide otherwise from any step on with detailscribe fork"
        )
    return policy
