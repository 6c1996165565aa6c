"""A run that a kill, an error or Ctrl-C cut off goes on as if nothing had happened."""

import re
from collections.abc import Callable
from pathlib import Path

from langgraph.runtime import RunControl

from ...state import RunResult
from ...tools.errors import SettingsError
from ...tools.roles import Critic, Decomposer, Diffusion
from ..graph.checkpoints import check_version
from ..graph.graph import Checkpointer
from ..graph.person import Ask
from ..policies import Policy, PolicySpec
from ..settings import Loaded, load, with_secrets
from ..traces.events import Event, RunFinished, read_events
from ..traces.manifest import Manifest, read_manifest
from .blocking import blocking
from .folder import taken_up
from .outcome import Run
from .run import policy_of
from .work import EVENTS, Work, do

RESULT = "result.json"
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Of a function, in the way that Python writes it; another one in each process."""


async def aresume(
    folder: Path | str,
    *,
    policy: PolicySpec | None = None,
    decomposer: Decomposer | None = None,
    diffusion: Diffusion | None = None,
    critic: Critic | None = None,
    on_event: Callable[[Event], object] | None = None,
    checkpointer: Checkpointer = None,
    control: RunControl | None = None,
    ask: Ask | None = None,
) -> Run:
    """Go on with the run in ``folder``, with the settings of its manifest; secrets come from the environment.

    Images that are there are not drawn again, and answers that came are not asked for again. A run that is
    at its end is handed back as it is.

    Args:
        folder: The run folder.
        policy: The one that the run began with, where it was given as an object.
        decomposer: As the run had it, where it was given.
        diffusion: As the run had it, where it was given.
        critic: As the run had it, where it was given.
        on_event: As in ``run``.
        checkpointer: As the run had it, where it was given.
        control: As in ``run``.
        ask: As in ``run``; a run that began with one needs one.

    Raises:
        Interrupted: it was asked to stop.
        SettingsError: there is no run, another process works on it, or it began with something else.
        DetailScribeError: the user can mend it; the message says how.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_version(manifest.state_version, f"the run in {folder}")
    with taken_up(folder) as store:
        if is_finished(folder):
            return Run(RunResult.model_validate_json(store.read(RESULT)), folder)
        loaded = recorded_settings(manifest)
        judge = policy_of(policy, loaded.settings.run)
        same_policy(manifest, judge)
        work = Work(
            store=store,
            manifest=manifest,
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
        return await do(work)


resume = blocking(aresume)


def is_finished(folder: Path) -> bool:
    """Whether the run in a folder came to its end."""
    events = read_events(folder / EVENTS) if (folder / EVENTS).exists() else []
    return bool(events) and isinstance(events[-1], RunFinished)


def recorded_settings(manifest: Manifest) -> Loaded:
    """The settings that the run began with, and the secrets that the environment holds now."""
    return load(with_secrets(manifest.settings))


def same_policy(manifest: Manifest, policy: Policy) -> None:
    """Refuse a policy that is not the one that the run began with."""
    before, now = (ADDRESS.sub("", name) for name in (manifest.policy, repr(policy)))
    if before != now:
        raise SettingsError(
            f"the run {manifest.run} was decided by {before}, not by {now}: go on with that one from Python,"
            " resume(folder, policy=...), or decide otherwise from any step on with detailscribe fork"
        )
