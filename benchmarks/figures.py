"""What every benchmark prints: a table for people, or one JSON object with named figures."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

_PACKAGES = ("detailscribe", "torch", "diffusers", "transformers", "langgraph")


def interval(samples: Sequence[float], seed: int = 0, resamples: int = 2000) -> tuple[float, float, float]:
    """Mean with its 95% bootstrap interval: (mean, low, high)."""
    values: NDArray[np.float64] = np.asarray(samples, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    means = values[picks].mean(axis=1)
    return float(values.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def print_json(figures: Mapping[str, float]) -> None:
    """One object: the figures beside the command, the versions and the machine."""
    print(
        json.dumps(
            {
                "figures": {name: round(value, 5) for name, value in figures.items()},
                "command": [
                    "python",
                    "-m",
                    f"benchmarks.{sys.argv[0].rsplit('/', 1)[-1].removesuffix('.py')}",
                    *sys.argv[1:],
                ],
                "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
                "machine": {"platform": platform.platform(), "processor": _processor(), "cores": os.cpu_count() or 1},
            },
            indent=2,
        )
    )


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table, so that it can stand in the README as it is."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
