"""The HTTP client below the SDK: one time limit for a whole call, and no connection that outlives its event loop."""

import asyncio
import importlib
from typing import Any

import openai

from .failures import takes_no_pictures

_CONNECT = 10
"""Seconds within which a server that is there takes a connection."""
_SERVERS_FAULT = 500
"""The lowest status of its kind; the SDK tries again after these."""


class UnreachableError(openai.APIConnectionError):
    """No connection could be made to a server that was never reached; not tried again."""


def http_client(seconds: float) -> openai.DefaultAsyncHttpxClient:
    """A client whose calls take at most that long.

    Connections are not kept for a later call: that call may come from another event loop, where
    they would fail, and a model's seconds hide the handshake.
    """
    http = library()

    class Client(openai.DefaultAsyncHttpxClient):
        reached = False

        async def send(self, request: Any, **options: Any) -> Any:
            try:
                async with asyncio.timeout(seconds):
                    response = await super().send(request, **options)
            except TimeoutError as error:
                raise http.ReadTimeout(f"no reply within {seconds:g} s", request=request) from error
            except (http.ConnectError, http.ConnectTimeout) as error:
                if self.reached:
                    raise
                # A wrong URL must not cost a minute of retries.
                raise UnreachableError(message=str(error), request=request) from error
            self.reached = True
            if response.status_code >= _SERVERS_FAULT:
                await _end_retries_where_they_cannot_help(response, seconds)
            return response

    return Client(limits=http.Limits(max_keepalive_connections=0))


async def _end_retries_where_they_cannot_help(response: Any, seconds: float) -> None:
    """Tell the SDK, in the way that servers can, not to try again with a picture that will not be taken."""
    try:
        async with asyncio.timeout(seconds):
            await response.aread()
    except (TimeoutError, library().HTTPError):
        return
    if takes_no_pictures(response.text):
        response.headers["x-should-retry"] = "false"


def time_limits(seconds: float) -> Any:
    """Of one call, for the SDK: a server that takes no connection is not waited for as long as a model that thinks."""
    return library().Timeout(seconds, connect=min(_CONNECT, seconds))


def library() -> Any:
    """httpx or httpx2: whichever the SDK's own client is made of."""
    return importlib.import_module(openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])
