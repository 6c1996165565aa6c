"""What the caller chose for a run; everything that happens is in the state instead."""

from dataclasses import dataclass, field

from ...state import Budget, Population, RunState
from ...tools.roles import Asker, Critic, Decomposer, Diffusion
from ...tools.store import Store
from ..policies.policy import Policy
from .answers import Answers


@dataclass(frozen=True)
class Context:
    """The roles, the policy and the bounds of a run: LangGraph's runtime context."""

    decomposer: Decomposer
    """Reads the prompt."""
    diffusion: Diffusion
    """Draws and re-denoises."""
    critic: Critic
    """Looks at every image once."""
    policy: Policy
    """Decides what becomes of each image."""
    store: Store
    """The run folder that images and latents go to."""
    budget: Budget = field(default_factory=Budget)
    """Bounds that no policy can exceed."""
    chat: Asker | None = None
    """A chat model for policies that ask one; None where there is none."""
    answers: Answers | None = None
    """Of this run so far: what is among them, and every image that lies in the store, is not asked for again.
    None where nothing is to be found again."""


def population_of(state: RunState, context: Context) -> Population:
    """The part of the state that policies see."""
    return Population(
        concepts=state["concepts"],
        images=state["images"],
        critiques=state["critiques"],
        decisions=state.get("decisions", {}),
        advice=state.get("advice", {}),
        comparisons=state.get("comparisons", {}),
        budget=context.budget,
        seed=state["seed"],
        round=state["round"],
    )
