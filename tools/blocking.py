"""Sync versions of async functions, Ctrl-C, concurrent calls, and computing in one thread."""

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
    """A sync version of an async function, run in a thread if a loop is running, as in a notebook. If it takes a
    ``control``, the first Ctrl-C asks that to stop after the step; a second one interrupts."""
    stops = "control" in inspect.signature(function).parameters

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if stops and kwargs.get("control") is None:
            kwargs["control"] = RunControl()
        control = kwargs["control"] if stops else None
        task: asyncio.Task[Any] | None = None

        async def stoppable() -> R:
            nonlocal task
            task = asyncio.current_task()
            with stopping_on_ctrl_c(control):
                return await function(*args, **kwargs)

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(stoppable())
        context = contextvars.copy_context()
        with on_ctrl_c(), stopping_on_ctrl_c(control), ThreadPoolExecutor(max_workers=1) as pool:
            work: Future[R] = pool.submit(context.run, lambda: asyncio.run(stoppable()))
            try:
                return work.result()
            except KeyboardInterrupt:
                if task is not None:
                    task.get_loop().call_soon_threadsafe(task.cancel)
                raise

    return call


@contextmanager
def stopping_on_ctrl_c(control: object) -> Generator[None]:
    """Make the first Ctrl-C ask the control to stop; a second one does what Ctrl-C did before.

    Entered inside the coroutine, that is to cancel the main task. Before ``asyncio.run`` it would be to raise
    ``KeyboardInterrupt`` anywhere inside the event loop, which can hang it.
    """
    before = signal.getsignal(signal.SIGINT)

    def ask(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        if isinstance(control, RunControl):  # the function refuses anything else
            control.request_drain("Ctrl-C")
        print(STOPPING, file=sys.stderr, flush=True)

    with nullcontext() if control is None else on_ctrl_c(ask):
        yield


@contextmanager
def on_ctrl_c(handler: Callable[[int, FrameType | None], object] = signal.default_int_handler) -> Generator[None]:
    """Make Ctrl-C call the handler; by default it raises ``KeyboardInterrupt``. Does nothing outside the main thread,
    which alone receives signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def gather_or_cancel(calls: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """Like ``asyncio.gather``, but the first error cancels the other calls, so that they cost nothing more."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


@contextmanager
def one_thread() -> Generator[None]:
    """Compute without OpenMP threads in the calling Python thread; ``torch.set_num_threads`` would change all threads.
    Each Python thread keeps its OpenMP threads, and with more of them than processors a small denoiser is half as fast
    (``benchmarks/LOG.md``)."""
    import torch

    torch.get_num_threads()  # a thread's first use of torch resets its number of threads
    with _controller().limit(limits=1, user_api="openmp"):
        yield


_controller = functools.cache(ThreadpoolController)
