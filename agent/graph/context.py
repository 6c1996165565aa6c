"""What the caller chose for a run; everything that happens is in the state instead."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from langgraph.runtime import Runtime
from pydantic import ValidationError

from ...state import Budget, Population, RunState
from ...tools.errors import SettingsError, first_problem
from ...tools.files import Store
from ...tools.roles import Asker, Critic, Decomposer, Diffusion, Lazy, require_role
from ..policies.policy import Advised, Policy
from .checkpoints import TaskCache


@dataclass(frozen=True)
class Context:
    """The roles, the policy and the bounds of a run: LangGraph's runtime context."""

    decomposer: Decomposer | Lazy[Decomposer]
    """Reads the prompt."""
    diffusion: Diffusion | Lazy[Diffusion]
    """Draws and re-denoises."""
    critic: Critic | Lazy[Critic]
    """Looks at every image once."""
    policy: Policy
    """Decides what becomes of each image."""
    store: Store
    """The run folder that images and latents go to."""
    budget: Budget = field(default_factory=Budget)
    """Bounds that no policy can exceed."""
    chat: Asker | None = None
    """A chat model for policies that ask one; None where there is none."""
    owns_store: bool = False
    """Whether no other run, thread or fork writes to the store, so that images lie there under their ids."""
    cache: TaskCache | None = None
    """Keeps what models answered and drew, so that a run that was killed, or another one with the same cache, does not
    ask and draw it again; None: only the checkpointer does."""
    shared: Path | None = None
    """Holds the folders of all runs that use the same cache: equal images are copied instead of drawn. None: no other
    run uses it."""

    def __post_init__(self) -> None:
        roles = {"decomposer": Decomposer, "diffusion": Diffusion, "critic": Critic, "policy": Policy}
        for name, role in roles.items():
            require_role(getattr(self, name), role)
        for name, kind in (("store", Store), ("budget", Budget)):
            if not isinstance(own := getattr(self, name), kind):
                raise SettingsError(f"Context: {name} should be a {kind.__name__}, not {type(own).__name__}")


def context_of(runtime: Runtime[Context]) -> Context:
    """What the caller chose; ``SettingsError`` if the graph was invoked without it."""
    context = cast("object", runtime.context)
    if not isinstance(context, Context):
        raise SettingsError(
            f"the graph needs its roles, and its context is {type(context).__name__}: graph.ainvoke(...,"
            " context=Context(...)); inside a graph with another context, invoke it so in a node"
        )
    return context


def chat_of(policy: Advised, context: Context) -> Asker:
    """The policy's own chat model, or that of the run; ``SettingsError`` where there is neither."""
    chat = policy.chat or context.chat
    if chat is None:
        raise SettingsError(f"the policy {policy!r} asks a chat model: name one with --chat-model and --chat-url")
    return chat


def population_of(state: RunState, budget: Budget) -> Population:
    """The part of a state that policies see, once every image was looked at; it may not fit together if somebody edited
    it."""
    try:
        known = {name: value for name, value in state.items() if name in Population.model_fields}
        return Population.model_validate({"decisions": {}, **known, "budget": budget})
    except ValidationError as error:
        raise SettingsError(f"the state does not fit together: {first_problem(error)}") from error
