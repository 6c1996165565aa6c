"""Many prompts with models that do nothing: the cost of graph, trace and rows, and the growth of memory.

Every prompt is drawn and critiqued once, in its own run folder with a report; it counts once its row is on disk. Memory
is that of the process, after the first tenth of the prompts and at the end.

    python -m benchmarks.many --prompts 1000 --json
"""

import argparse
import asyncio
import io
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from detailscribe.agent import BestOfN, Row, arun_batch
from detailscribe.agent.batch.batch import Progress
from detailscribe.state import Attempt, Check, ConceptGraph, Critique, Entity, ImageRecord, Verdict
from detailscribe.tools.files import Store
from detailscribe.tools.roles import Progress as Steps

from .figures import print_json, print_table

WARM = 0.1
"""Share of the prompts after which the first memory measurement is taken."""
TICKS = 10
"""Number of memory measurements."""


class NoDecomposer:
    """Returns one thing and one check for every prompt."""

    async def decompose(self, prompt: str) -> ConceptGraph:
        check = Check(id="thing", question="Is there a thing?", aspect="presence", about="t")
        return ConceptGraph(prompt=prompt, entities=(Entity(id="t", name="thing"),), checks=(check,))


class NoDiffusion:
    """Writes the same small image every time."""

    model = "none@0"

    def __init__(self) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "PNG")
        self._png = buffer.getvalue()

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Steps | None = None
    ) -> ImageRecord:
        return ImageRecord(
            id=attempt.id or "",
            round=attempt.round,
            origin="generate",
            prompt=attempt.prompt or "",
            seed=attempt.seed or 0,
            steps=1,
            start_step=0,
            start_sigma=1.0,
            guidance=1.0,
            width=8,
            height=8,
            model=self.model,
            path=store.write(f"images/{attempt.id}.png", self._png),
            latent=None,
            evaluations=1,
            seconds=0.0,
        )


class NoCritic:
    """Passes everything."""

    model = "none@0"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        return Critique(image=image.id, verdicts=(Verdict(check="thing", answer="pass"),))


@dataclass
class Watch:
    """Records time and memory as the rows arrive."""

    prompts: int
    began: float = 0.0
    rows: int = 0
    memory: dict[int, float] = field(default_factory=dict[int, float])
    """Resident MiB by the number of rows."""

    def __call__(self, progress: Progress, row: Row | None) -> None:
        if row is None:
            self.began = time.perf_counter()
            return
        self.rows += 1
        if self.rows % max(1, self.prompts // TICKS) == 0:
            self.memory[self.rows] = resident_mb()


def resident_mb() -> float:
    """Memory of this process in MiB; works on Linux only."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


async def measure(folder: Path, prompts: int, concurrency: int) -> tuple[dict[str, float], Watch]:
    """All measurements, by name."""
    watch, cpu_before = Watch(prompts), time.process_time()
    done = await arun_batch(
        (f"thing number {number}" for number in range(prompts)),
        policy=BestOfN(n=1),
        decomposer=NoDecomposer(),
        diffusion=NoDiffusion(),
        critic=NoCritic(),
        concurrency=concurrency,
        out=folder / "batch",
        on_progress=watch,
    )
    seconds, cpu = time.perf_counter() - watch.began, time.process_time() - cpu_before
    if done.tally.done != prompts:
        raise RuntimeError(f"{done.tally.failed} prompts failed: {next(done.rows()).message}")
    warm = next(memory for rows, memory in watch.memory.items() if rows >= WARM * prompts)
    last = list(watch.memory.values())[-1]
    return {
        "prompts_per_second": prompts / seconds,
        "prompts_per_cpu_second": prompts / cpu,
        "rss_growth_mb": last - warm,
        "rss_mb": last,
        "prompts": prompts,
        "concurrency": concurrency,
    }, watch


def show(figures: dict[str, float], watch: Watch) -> None:
    """Print the measurements, and memory over time as a table."""
    print(f"{figures['prompts']:.0f} prompts, {figures['concurrency']:.0f} in flight: ", end="")
    print(f"{figures['prompts_per_second']:.1f} a second, {figures['prompts_per_cpu_second']:.1f} a CPU second;")
    print(f"{figures['rss_growth_mb']:+.1f} MiB since the first tenth.\n")
    print_table(("rows", "resident MiB"), [[str(rows), f"{memory:.1f}"] for rows, memory in watch.memory.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000, help="number of prompts")
    parser.add_argument("--concurrency", type=int, default=16, help="in flight at once")
    parser.add_argument("--quick", action="store_true", help="a tenth of the prompts")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    chosen = parser.parse_args()
    prompts = chosen.prompts // 10 if chosen.quick else chosen.prompts
    with tempfile.TemporaryDirectory() as folder:
        figures, watch = asyncio.run(measure(Path(folder), prompts, chosen.concurrency))
    if chosen.json:
        print_json(figures)
    else:
        show(figures, watch)


if __name__ == "__main__":
    main()
