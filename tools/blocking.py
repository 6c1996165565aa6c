"""Async functions for callers that cannot await, and what Ctrl-C does to them; calls side by side; small computations
beside large ones."""

import asyncio
import contextvars
import functools
import inspect
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from langgraph.runtime import RunControl
from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
R = TypeVar("R")

STOPPING = "stopping after this step; Ctrl-C again stops at once"


def blocking(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """The same function for callers that cannot await; where a loop runs already, as in a notebook, in a thread. Where
    it takes a ``control``, the first Ctrl-C asks that to stop after the step; a second one interrupts as ever."""
    stops = "control" in inspect.signature(function).parameters

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        control = None
        if stops:
            given = kwargs.get("control")
            kwargs["control"] = given = RunControl() if given is None else given
            control = given if isinstance(given, RunControl) else None  # anything else the function refuses
        before = signal.getsignal(signal.SIGINT)

        def ask(*_: object) -> None:
            signal.signal(signal.SIGINT, before)
            if control is not None:
                control.request_drain("Ctrl-C")
            print(STOPPING, file=sys.stderr, flush=True)

        with nullcontext() if control is None else on_ctrl_c(ask):
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return asyncio.run(function(*args, **kwargs))
            context = contextvars.copy_context()
            with ThreadPoolExecutor(max_workers=1) as pool:
                work: Future[R] = pool.submit(context.run, lambda: asyncio.run(function(*args, **kwargs)))
                return work.result()

    return call


@contextmanager
def on_ctrl_c(handler: Callable[[int, FrameType | None], object] = signal.default_int_handler) -> Generator[None]:
    """Ctrl-C calls the handler; by default it raises ``KeyboardInterrupt``, as ever, for where nothing is being done
    that should come to its end first. Signals reach the main thread alone; in another one nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def gather_or_cancel(calls: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """The results in order, as of ``asyncio.gather``; but the first error, which is fatal for the run, cancels the
    other calls, so that they are not paid for, and is raised itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


@contextmanager
def one_thread() -> Generator[None]:
    """Compute in the calling Python thread alone; other threads are not touched, unlike by ``torch.set_num_threads``. A
    Python thread keeps the OpenMP threads that it ever used. As soon as those of a process are more than its
    processors, the passes of a small denoiser take twice as long (``benchmarks/LOG.md``)."""
    import torch

    torch.get_num_threads()  # a thread's first use of torch sets its number anew
    with _controller().limit(limits=1, user_api="openmp"):
        yield


_controller = functools.cache(ThreadpoolController)
