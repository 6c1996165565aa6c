"""The runtime context: what the caller chose for a run."""

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
    """The roles, the policy and the bounds of a run."""

    decomposer: Decomposer | Lazy[Decomposer]
    """Turns the prompt into concepts."""
    diffusion: Diffusion | Lazy[Diffusion]
    """Draws and re-denoises images."""
    critic: Critic | Lazy[Critic]
    """Critiques every image."""
    policy: Policy
    """Decides what happens next to each image."""
    store: Store
    """The run folder, for images and latents."""
    budget: Budget = field(default_factory=Budget)
    """Bounds that no policy can exceed."""
    chat: Asker | None = None
    """The chat model of policies that ask one."""
    owns_store: bool = False
    """Whether no other run, thread or fork writes to the store, so that files can be named after image ids."""
    cache: TaskCache | None = None
    """Caches answers and drawings, for this run when it is resumed and for others with the same cache; None: only the
    checkpointer keeps them."""
    shared: Path | None = None
    """Parent folder of all runs that share the cache, so that equal images are copied instead of drawn; None: the cache
    is not shared."""

    def __post_init__(self) -> None:
        roles = {"decomposer": Decomposer, "diffusion": Diffusion, "critic": Critic, "policy": Policy}
        for name, role in roles.items():
            require_role(getattr(self, name), role)
        for name, kind in (("store", Store), ("budget", Budget)):
            if not isinstance(own := getattr(self, name), kind):
                raise SettingsError(f"Context: {name} should be a {kind.__name__}, not {type(own).__name__}")


def context_of(runtime: Runtime[Context]) -> Context:
    """The runtime's context; ``SettingsError`` if the graph was invoked without one."""
    context = cast("object", runtime.context)
    if not isinstance(context, Context):
        raise SettingsError(
            f"the graph needs its roles, and its context is {type(context).__name__}: graph.ainvoke(...,"
            " context=Context(...)); inside a graph with another context, invoke it so in a node"
        )
    return context


def chat_of(policy: Advised, context: Context) -> Asker:
    """The policy's own chat model, or the run's; ``SettingsError`` if there is neither."""
    chat = policy.chat or context.chat
    if chat is None:
        raise SettingsError(f"the policy {policy!r} asks a chat model: name one with --chat-model and --chat-url")
    return chat


def population_of(state: RunState, budget: Budget) -> Population:
    """The part of a state that policies see, once every image has its critique; ``SettingsError`` if the state was
    edited so that it is inconsistent."""
    try:
        fields = {name: value for name, value in state.items() if name in Population.model_fields}
        return Population.model_validate({"decisions": {}, **fields, "budget": budget})
    except ValidationError as error:
        raise SettingsError(f"the state does not fit together: {first_problem(error)}") from error
