"""Async functions for callers that cannot await, and what Ctrl-C does to them."""

import asyncio
import contextvars
import functools
import inspect
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from langgraph.runtime import RunControl

P = ParamSpec("P")
R = TypeVar("R")

STOPPING = "stopping after this step; Ctrl-C again stops at once"


def blocking(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """The same function for callers that cannot await; where a loop runs already, as in a notebook, in a thread.

    Where it takes a ``control``, Ctrl-C asks that to stop.
    """
    stops = "control" in inspect.signature(function).parameters

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        control = None
        if stops:
            given = kwargs.get("control")
            kwargs["control"] = given = RunControl() if given is None else given
            control = given if isinstance(given, RunControl) else None  # anything else the function refuses
        with stopped_by_ctrl_c(control):
            if not _loop_is_running():
                return asyncio.run(function(*args, **kwargs))
            context = contextvars.copy_context()
            with ThreadPoolExecutor(max_workers=1) as pool:
                work: Future[R] = pool.submit(context.run, lambda: asyncio.run(function(*args, **kwargs)))
                return work.result()

    return call


@contextmanager
def stopped_by_ctrl_c(control: RunControl | None) -> Generator[None]:
    """The first Ctrl-C asks ``control``, if there is one, to stop after the step; a second one interrupts as ever."""
    before = signal.getsignal(signal.SIGINT)

    def ask(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        if control is not None:
            control.request_drain("Ctrl-C")
        print(STOPPING, file=sys.stderr, flush=True)

    with nullcontext() if control is None else _ctrl_c_calls(ask):
        yield


def ctrl_c_at_once() -> AbstractContextManager[None]:
    """Where nothing is being done that should come to its end first: Ctrl-C raises ``KeyboardInterrupt``, as ever."""
    return _ctrl_c_calls(signal.default_int_handler)


@contextmanager
def _ctrl_c_calls(handler: Callable[[int, FrameType | None], object]) -> Generator[None]:
    """Signals reach the main thread alone; in another one nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
