"""The graph on a LangGraph server, whose clients send JSON: the models come from the server's settings."""

import asyncio
import inspect
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Self, cast

from langgraph.config import get_config
from langgraph.runtime import Runtime
from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator

from ..state import Attempt, Budget, ConceptGraph, Frozen, Population
from ..tools.errors import SettingsError, first_problem
from ..tools.files import Store
from .graph.context import Context
from .graph.graph import Graph, build_graph
from .policies import POLICIES, resolve_policy
from .settings.loading import load
from .settings.models import Models

FOLDER = Path("runs")
"""Where the server writes the files of runs, a folder for each thread."""


class Chosen(Frozen):
    """What a client may choose in place of the server's settings."""

    policy: str | None = None
    """The name of a policy that ships."""
    policy_args: dict[str, Any] = Field(default_factory=dict)
    """Parameters of its class."""
    budget: Budget | None = None
    """Further bounds; those of the server always hold."""

    @model_validator(mode="wrap")
    @classmethod
    def _refused_in_one_line(cls, given: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return read(given)
        except ValidationError as error:
            raise SettingsError(f"context: {first_problem(error)}") from None

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The schema as a reference, since a LangGraph server silently drops keys beside its properties."""
        schema = super().model_json_schema(*args, **kwargs)
        definitions = schema.pop("$defs", {}) | {cls.__name__: schema}
        return {"$ref": f"#/$defs/{cls.__name__}", "$defs": definitions}


NEEDED: dict[str, dict[str, type[Any]]] = {
    "plan": {"concepts": ConceptGraph},
    "generate": {"attempt": Attempt},
    "critique": {"concepts": ConceptGraph, "images": dict},
    "person": {"concepts": ConceptGraph, "images": dict},
    "finish": {"population": Population},
}
"""What nodes need from earlier ones; a client can go to any node, with plain data."""


class Roles:
    """The models of a server, which all runs share."""

    def __init__(self) -> None:
        self._folder = FOLDER
        self._models: Models | None = None
        self._checking = asyncio.Lock()

    async def check(self) -> None:
        """Check once that the models are usable; ``DetailScribeError`` if not."""
        async with self._checking:
            if self._models is None:
                models = Models((await asyncio.to_thread(load)).settings)
                await models.check()
                self._folder = await asyncio.to_thread(FOLDER.absolute)
                self._models = models

    def context(self, chosen: Chosen, thread: str) -> Context:
        """The context of a run on a thread; ``SettingsError`` if the client's choice is not usable."""
        if self._models is None:
            raise RuntimeError("a route was taken before the node that it leads from")
        models, own = self._models, self._models.settings.run
        if not re.fullmatch(r"\w[\w.-]*", thread):
            raise SettingsError("the id of a thread is the name of its folder: letters, digits and -, such as a UUID")
        name, parameters = own.policy, own.policy_args | chosen.policy_args
        if chosen.policy is not None:
            name, parameters = chosen.policy, chosen.policy_args
        if name not in POLICIES and (chosen.policy is not None or chosen.policy_args):
            raise SettingsError(f"a client can choose, and give parameters to, these policies: {', '.join(POLICIES)}")
        return Context(
            **models.roles,
            policy=resolve_policy(name, **models.settings.policy_parameters(name, parameters)),
            store=Store(self._folder / thread),
            budget=own.budget if chosen.budget is None else own.budget.lowered(chosen.budget),
            chat=models.language,
        )

    def bound(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """A node or route with a context of these models and of what the client chose."""
        if not inspect.iscoroutinefunction(work):

            @wraps(work)
            def route(state: Any, runtime: Runtime[Any]) -> Any:
                return work(state, self._runtime(runtime))

            return route

        @wraps(work)
        async def node(state: Any, runtime: Runtime[Any]) -> Any:
            for name, kind in NEEDED.get(work.__name__, {}).items():
                if not (state.get(name) and isinstance(state[name], kind)):
                    raise SettingsError(f"{work.__name__} needs {name} from the node before it: begin with a prompt")
            await self.check()
            return await work(state, self._runtime(runtime))

        return node

    def _runtime(self, runtime: Runtime[Any]) -> Runtime[Context]:
        if isinstance(runtime.context, Context):
            return runtime
        thread = str(get_config().get("configurable", {})["thread_id"])
        return cast("Runtime[Context]", runtime.override(context=self.context(runtime.context or Chosen(), thread)))


def make_graph() -> Graph:
    """The graph of ``langgraph.json``: clients choose in JSON, and the models are the server's."""
    return build_graph(context_schema=Chosen, bound=Roles().bound)


def make_interactive_graph() -> Graph:
    """The same graph, which asks a person after each round; see ``graph.person``."""
    return build_graph(interactive=True, context_schema=Chosen, bound=Roles().bound)


def __getattr__(name: str) -> object:
    """``app``, which a LangGraph server mounts beside its own routes: ``GET /images/{thread}/{path}`` is the PNG of an
    ``ImageRecord`` of the thread. Starlette comes with the server's packages."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import FileResponse, PlainTextResponse, Response
    from starlette.routing import Route

    def image(request: Request) -> Response:
        thread, path = request.path_params["thread"], request.path_params["path"]
        try:
            file = Store(Store(FOLDER).path(thread)).path(path)
        except SettingsError:
            file = Path()
        if file.suffix != ".png" or not file.is_file():
            return PlainTextResponse(f"there is no image {path!r} of the thread {thread!r}", status_code=404)
        return FileResponse(file, media_type="image/png")

    return Starlette(routes=[Route("/images/{thread}/{path:path}", image)])
