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
from ..tools.files import Store
from .graph.context import Context
from .graph.graph import Graph, build_graph
from .policies import POLICIES, resolve_policy
from .settings.loading import load
from .settings.models import Models

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
    """The models of a server, loaded at their first use and shared by all runs."""

    def __init__(self) -> None:
        self._models: Models | None = None
        self._checking = asyncio.Lock()

    async def check(self) -> None:
        """Return when it is known that the models can be had; ``DetailScribeError`` where they cannot."""
        async with self._checking:
            if self._models is None:
                models = Models((await asyncio.to_thread(load)).settings)
                await models.check()
                self._models = models

    def context(self, chosen: Chosen, thread: str) -> Context:
        """What a run on that thread works with.

        Raises:
            SettingsError: the client's choice is not usable.
        """
        if self._models is None:
            raise RuntimeError("a route was taken before the node that it leads from")
        models, own = self._models, self._models.settings.run
        if chosen.policy is None:
            policy = resolve_policy(own.policy, **(own.policy_args | chosen.policy_args))
        elif chosen.policy in POLICIES:
            policy = resolve_policy(chosen.policy, **chosen.policy_args)
        else:
            raise SettingsError(f"the server has no policy {chosen.policy!r}; there are {', '.join(POLICIES)}")
        return Context(
            decomposer=models.decomposer,
            diffusion=models.diffusion,
            critic=models.critic,
            policy=policy,
            store=Store(FOLDER / thread),
            budget=chosen.budget or own.budget,
            chat=models.chat,
        )

    def bound(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """A node or route that is given these roles, as far as the client may not choose them."""
        if not inspect.iscoroutinefunction(work):

            @wraps(work)
            def route(state: Any, runtime: Runtime[Any]) -> Any:
                return work(state, self._given(runtime))

            return route

        @wraps(work)
        async def node(state: Any, runtime: Runtime[Any]) -> Any:
            await self.check()
            return await work(state, self._given(runtime))

        return node

    def _given(self, runtime: Runtime[Any]) -> Runtime[Context]:
        if isinstance(runtime.context, Context):
            return runtime
        thread = str(get_config().get("configurable", {})["thread_id"])
        return cast("Runtime[Context]", runtime.override(context=self.context(runtime.context or Chosen(), thread)))


def make_graph() -> Graph:
    """The graph as ``langgraph.json`` names it: clients choose in JSON, and the server brings the rest."""
    return build_graph(context_schema=Chosen, bound=Roles().bound)
