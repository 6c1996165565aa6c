"""What the caller chose for a run; everything that happens is in the state instead."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from weakref import WeakValueDictionary

from cachetools import LRUCache
from langgraph.runtime import Runtime

from ...state import Budget, ImageRecord, Population, RunState
from ...tools.errors import SettingsError
from ...tools.files import Store
from ...tools.roles import Asker, Critic, Decomposer, Diffusion, Lazy
from ..policies.policy import Policy

Drawn = tuple[ImageRecord, str]
"""An image, and the folder of the run that it was drawn for, relative to the folder that shares images; empty where
nothing is shared."""


class SharedImages:
    """Lets runs with one cache copy each other's images.

    Args:
        folder: Holds the run folders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._recent: MutableMapping[str, Drawn] = LRUCache(maxsize=4096)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def once(self, key: str, draw: Callable[[], Awaitable[Drawn]]) -> Drawn:
        """Draw, unless another run of this process has just drawn the same, or is about to."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key not in self._recent:
                self._recent[key] = await draw()
            return self._recent[key]


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
    shared: SharedImages | None = None
    """Images of other runs that use the same cache; equal ones are copied instead of drawn. None: nothing is shared."""


def context_of(runtime: Runtime[Context]) -> Context:
    """What the caller chose; ``SettingsError`` if the graph was invoked without it."""
    context = cast("Context | None", runtime.context)
    if context is None:
        raise SettingsError("the graph needs its roles: graph.ainvoke(..., context=Context(...))")
    return context


def population_of(state: RunState, budget: Budget) -> Population:
    """The part of a state that policies see, once every image was looked at."""
    return Population(
        concepts=state["concepts"],
        images=state["images"],
        critiques=state["critiques"],
        decisions=state.get("decisions", {}),
        advice=state.get("advice", {}),
        comparisons=state.get("comparisons", {}),
        budget=budget,
        seed=state["seed"],
        round=state["round"],
    )
