"""What every benchmark prints: a table, or one JSON object with named measurements."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

_PACKAGES = ("detailscribe", "torch", "diffusers", "transformers", "langgraph")


def in_thread(work: Callable[[], T]) -> T:
    """Run torch work in a thread that ends with it, and so do its OpenMP threads.

    The engine's thread is like that. Idle OpenMP threads of another thread would slow it down (``one_thread``).
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def seconds(work: Callable[[], object], repeats: int = 1) -> list[float]:
    """Seconds of each repeat, all in one separate thread; see ``in_thread``."""

    def timed() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return in_thread(lambda: [timed() for _ in range(repeats)])


def interval(samples: Sequence[float], seed: int = 0, resamples: int = 2000) -> tuple[float, float, float]:
    """Mean with its 95% bootstrap interval: (mean, low, high)."""
    values: NDArray[np.float64] = np.asarray(samples, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    means = values[picks].mean(axis=1)
    return float(values.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def print_json(figures: Mapping[str, float]) -> None:
    """Print one object: the measurements with the command, the versions and the machine."""
    print(json.dumps({"figures": {name: round(value, 5) for name, value in figures.items()}} | machine(), indent=2))


def machine() -> dict[str, object]:
    """The command, the versions and the machine of the measurements."""
    script = sys.argv[0].rsplit("/", 1)[-1].removesuffix(".py")
    return {
        "command": ["python", "-m", f"benchmarks.{script}", *sys.argv[1:]],
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "machine": {"platform": platform.platform(), "processor": _processor(), "cores": os.cpu_count() or 1},
    }


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table, which can be copied into the README."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
