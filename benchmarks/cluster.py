"""Overhead of a Ray cluster, and the gain of a second replica, with the embedded models on one machine.

The local batch and the replicas run the same prompts with the same number of threads. Starting the cluster and loading
the models do not count: the clock of the local batch starts when its models are loaded, that of a cluster when its
last replica is ready, and rows written before that are ignored. Speeds are rows per second from then on.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.cluster --prompts 128 --concurrency 8 --json
"""

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from detailscribe.agent import Cluster, Row, load_settings, run_batch
from detailscribe.agent.batch.batch import Progress
from detailscribe.agent.settings.models import Models
from detailscribe.tools.roles import ready

from .figures import interval, print_json, print_table
from .held_out import held_out_prompts


@dataclass
class Pace:
    """Rows per second since the clock was started."""

    began: float | None = None
    """None until the clock is started."""
    asked: float = field(default_factory=time.perf_counter)
    ended: float = 0.0
    rows: int = 0

    def begin(self) -> None:
        """Start the clock."""
        self.began = time.perf_counter()

    def __call__(self, progress: Progress, row: Row | None) -> None:
        if row is not None and row.error is not None:
            raise RuntimeError(f"{row.prompt!r} failed: {row.message}")
        if row is not None and self.began is not None:
            self.rows, self.ended = self.rows + 1, time.perf_counter()

    @property
    def a_second(self) -> float:
        """Rows per second."""
        if self.began is None or not self.rows:
            raise RuntimeError("all rows came before all replicas were up: take more prompts")
        return self.rows / (self.ended - self.began)

    @property
    def start(self) -> float:
        """Seconds from construction until the clock was started."""
        return (self.began or self.asked) - self.asked


@dataclass(frozen=True)
class Setting:
    """The workload."""

    prompts: list[str]
    steps: int
    concurrency: int
    threads: int

    def local(self) -> Pace:
        """Run it in this process."""
        models, pace = Models(load_settings({"run": {"steps": self.steps}})), Pace()
        roles = {name: asyncio.run(ready(getattr(models, name))) for name in ("decomposer", "diffusion", "critic")}
        pace.begin()
        with tempfile.TemporaryDirectory() as folder:
            run_batch(self.prompts, out=Path(folder) / "out", concurrency=self.concurrency, on_progress=pace, **roles)
        return pace

    def on(self, replicas: int) -> Pace:
        """Run it on a local cluster."""
        pace, up = Pace(), list[str]()

        def news(line: str) -> None:
            up.extend([line] if " is up " in line else [])
            if len(up) == replicas and pace.began is None:
                pace.begin()

        cluster = Cluster("local", replicas, gpus_per_replica=0, cpus_per_replica=self.threads, news=news)
        with tempfile.TemporaryDirectory() as folder:
            run_batch(
                self.prompts,
                steps=self.steps,
                out=Path(folder) / "out",
                concurrency=self.concurrency,
                cluster=cluster,
                on_progress=pace,
            )
        return pace


def measure(setting: Setting, repeats: int) -> dict[str, float]:
    """Measure all variants in turn in each repeat, so that other load on the machine affects all alike."""
    paces: dict[str, list[Pace]] = {"local": [], "one": [], "two": []}
    for _ in range(repeats):
        paces["local"].append(setting.local())
        paces["one"].append(setting.on(1))
        paces["two"].append(setting.on(2))
    figures = _ratio("overhead_ratio", paces["local"], paces["one"]) | _ratio(
        "scaling_ratio", paces["two"], paces["one"]
    )
    figures |= {f"{name}_prompts_per_second": mean(pace.a_second for pace in found) for name, found in paces.items()}
    return figures | {
        "seconds_to_first_replica": mean(pace.start for pace in paces["one"]),
        "prompts": len(setting.prompts),
        "threads": setting.threads,
        "concurrency": setting.concurrency,
        "steps": setting.steps,
        "repeats": repeats,
    }


def _ratio(name: str, above: list[Pace], below: list[Pace]) -> dict[str, float]:
    found = [one.a_second / other.a_second for one, other in zip(above, below, strict=True)]
    return dict(zip((name, f"{name}_low", f"{name}_high"), interval(found), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64, help="enough that some remain when all replicas are ready")
    parser.add_argument("--steps", type=int, default=28, help="denoising steps of an image")
    parser.add_argument("--concurrency", type=int, default=16, help="prompts in flight per replica")
    parser.add_argument("--threads", type=int, default=1, help="threads of the local batch and of each replica")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of every measurement")
    parser.add_argument("--smoke", action="store_true", help="a few short runs, to test the code")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(chosen.threads)  # torch reads it when it is imported, which is later
    count, steps, repeats = (24, 2, 1) if chosen.smoke else (chosen.prompts, chosen.steps, chosen.repeats)
    prompts = [prompt.short for prompt in held_out_prompts(count)]
    figures = measure(Setting(prompts, steps, chosen.concurrency, chosen.threads), repeats)
    if chosen.json:
        print_json(figures)
    else:
        print_table(("figure", "value"), [[name, f"{value:.3f}"] for name, value in figures.items()])


if __name__ == "__main__":
    main()
