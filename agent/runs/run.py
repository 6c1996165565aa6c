"""One run from a prompt to a folder."""

from collections.abc import Callable
from pathlib import Path

from langgraph.runtime import RunControl

from ...state import Budget
from ...tools.errors import SettingsError
from ...tools.roles import Critic, Decomposer, Diffusion
from ..graph.graph import Checkpointer
from ..graph.person import Ask
from ..policies import Policy, PolicySpec, resolve_policy
from ..settings import Given, Loaded, RunSettings, load
from ..traces.events import Event
from ..validation import check_prompt
from .blocking import blocking
from .folder import claimed, new_run_id
from .outcome import Run
from .work import Work, do, manifest_of

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
    control: RunControl | None = None,
    ask: Ask | None = None,
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
        checkpointer: In place of the settings'; the run is a LangGraph thread, with the run's id as the thread's.
        control: Its ``request_drain()`` stops the run after the step that is being done.
        ask: Makes a person the judge: called after each round with a ``Question``, it decides instead of the policy,
            which only proposes. ``TerminalAsker`` asks in a terminal; in a notebook, ``await arun(...)``.

    Raises:
        Interrupted: it was asked to stop; ``resume`` goes on.
        DetailScribeError: the user can mend it; the message says how.
    """
    check_prompt(prompt)
    if diffusion is not None and (steps, guidance) != (None, None):
        raise SettingsError(NOT_OURS)
    loaded = settled(settings, policy, budget, seed=seed, preset=preset, steps=steps, guidance=guidance, out=out)
    chosen = loaded.settings.run
    judge = policy_of(policy, chosen)
    run_id = new_run_id(prompt)
    with claimed(chosen.out or Path("runs") / run_id) as store:
        work = Work(
            store=store,
            manifest=manifest_of(run_id, prompt, chosen.seed, judge, loaded, interactive=ask is not None),
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


run = blocking(arun)
