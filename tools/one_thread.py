"""Keeps small computations off the cores that the denoiser uses."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Generator[None]:
    """Compute in the calling Python thread alone; other threads are not touched, unlike by ``torch.set_num_threads``.

    A Python thread that computes with several OpenMP threads keeps them as long as it lives. As soon as those of a
    process are more than its processors, libgomp stops waiting for them busily, and the passes of a small denoiser
    take twice as long (``benchmarks/LOG.md``).
    """
    torch.get_num_threads()  # a thread's first use of torch sets its number anew
    with _controller().limit(limits=1, user_api="openmp"):
        yield


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
