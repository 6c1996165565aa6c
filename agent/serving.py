"""The graph on a LangGraph server, whose clients can send no objects: the roles come from the server's settings."""

import asyncio
import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, cast

from langgraph.config import get_config
from langgraph.runtime import Runtime
from pydantic import Field

from ..state import Budget, Frozen
from ..tools.errors import SettingsError
from ..tools.store import Store
from .batch.cast import Cast, cast_of
from .graph.context import Context
from .policies import POLICIES, resolve_policy
from .settings import load

FOLDER = Path("runs")
"""Where the server keeps what runs make, a folder a thread."""


class Chosen(Frozen):
    """What a client may choose for a run, in place of the server's settings."""

    policy: str | None = None
    """A known name; a client can have no module imported."""
    policy_args: dict[str, Any] = Field(default_factory=dict)
    """Parameters of its class."""
    budget: Budget | None = None


class Roles:
    """The models of a server, loaded at the first run and shared by all."""

    def __init__(self) -> None:
        self._cast: Cast | None = None
        self._loading = asyncio.Lock()

    async def ready(self) -> None:
        """Return when they are there; ``DetailScribeError`` where they cannot be had."""
        async with self._loading:
            if self._cast is None:
                self._cast = await cast_of(await asyncio.to_thread(load))

    def context(self, chosen: Chosen, thread: str) -> Context:
        """What a run on that thread works with.

        Raises:
            SettingsError: the client's choice is not usable.
        """
        if self._cast is None:
            raise RuntimeError("a route was taken before the node that it leads from")
        own = self._cast.loaded.settings.run
        if chosen.policy is None:
            policy = resolve_policy(own.policy, **(own.policy_args | chosen.policy_args))
        elif chosen.policy in POLICIES:
            policy = resolve_policy(chosen.policy, **chosen.policy_args)
        else:
            raise SettingsError(f"the server has no policy {chosen.policy!r}; there are {', '.join(POLICIES)}")
        return Context(
            decomposer=self._cast.decomposer,
            diffusion=self._cast.diffusion,
            critic=self._cast.critic,
            policy=policy,
            store=Store(FOLDER / thread),
            budget=chosen.budget or own.budget,
            chat=self._cast.chat,
        )

    def bound(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """A node or route that is handed these roles in place of the client's choice."""
        if not inspect.iscoroutinefunction(work):

            @wraps(work)
            def route(state: Any, runtime: Runtime[Any]) -> Any:
                return work(state, self._given(runtime))

            return route

        @wraps(work)
        async def node(state: Any, runtime: Runtime[Any]) -> Any:
            await self.ready()
            return await work(state, self._given(runtime))

        return node

    def _given(self, runtime: Runtime[Any]) -> Runtime[Context]:
        if isinstance(runtime.context, Context):
            return runtime
        thread = str(get_config().get("configurable", {})["thread_id"])
        return cast("Runtime[Context]", runtime.override(context=self.context(runtime.context or Chosen(), thread)))
