"""Estimates what 1,000, 100,000 and 10 million prompts need: GPU hours, tokens, storage, and the first bottleneck.

Nothing is drawn. Everything follows from the assumptions, each of which is an option, except the memory of the driver
(the process that started the batch), which is measured with ``--sample`` rows.

    python -m benchmarks.arithmetic
    python -m benchmarks.arithmetic --images 4 --rate 5e14 --json
"""

import argparse
import tempfile
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

from detailscribe.agent import Single
from detailscribe.agent.batch.folder import Ledger
from detailscribe.agent.batch.jobs import JobRequest, Spool
from detailscribe.agent.records.rows import Row
from detailscribe.agent.settings.settings import Settings
from detailscribe.state import Spend

from .figures import print_json, print_table

SIZES = ((1_000, 1), (100_000, 16), (10_000_000, 512))
"""Number of prompts, and GPUs to draw them on."""


@dataclass(frozen=True)
class Assumed:
    """The assumptions."""

    images: float = 2.2
    """Per prompt, under ``adaptive`` in the embedded world (docs/embedded-world.md)."""
    evaluations: float = 122.7
    """Per prompt; a guided step counts as two. From the same table."""
    size: str = "large"
    """Model size of SD3.5, at 1024 pixels."""
    rate: float = 4e14
    """Floating point operations per second of a GPU in the denoiser: 40% of an H100's nominal bf16 rate."""
    beside: float = 1.15
    """Factor on that time for encoding, decoding and partly filled passes."""
    look_in: float = 2500
    """Prompt tokens of one critique: about 1,300 for a picture of 1024 pixels, the rest instructions and checklist."""
    look_out: float = 600
    """Reply tokens of one critique: a verdict for each check, and the corrected prompt."""
    parse_in: float = 1800
    """Prompt tokens of a decomposition."""
    parse_out: float = 700
    server: float = 3000
    """Tokens per second, prompts and replies together, that a GPU serves with a 7B vision model."""
    picture: float = 1.6e6
    """Bytes of a PNG of 1024 pixels."""
    latents: float = 2
    """Latents per image: the final one, and one step to resume from."""
    papers: float = 0.6e6
    """Bytes per image of trace, result, manifest, answers and report with its images."""
    files: float = 14
    """Per run folder."""
    disk: float = 5e-3
    """Seconds to sync a row to disk, which the driver does for each row."""


def row_flops(size: str) -> float:
    """Floating point operations of one evaluation, counted on the real architecture."""
    from .sd35 import ARCHITECTURES, flops_of_row

    return flops_of_row(ARCHITECTURES[size])


@dataclass(frozen=True)
class Needs:
    """What this many prompts need on this many GPUs."""

    prompts: int
    gpus: int
    gpu_hours: float
    days: float
    tokens: float
    """Tokens of all calls, prompts and replies."""
    critic_gpus: float
    """GPUs for the critic, to keep up with those that draw."""
    calls_per_minute: float
    bytes: float
    """Bytes of all run folders."""
    megabytes_per_second: float
    files: float
    rows_per_second: float
    row_capacity: float
    """Rows per second that the driver can write."""
    memory: float
    """Bytes of prompts and rows in its memory."""


def needs(prompts: int, gpus: int, assumed: Assumed, flops: float, held: float) -> Needs:
    """Computes the needs from the ``flops`` of an evaluation and the driver's ``held`` bytes per prompt."""
    seconds = assumed.evaluations * flops / assumed.rate * assumed.beside
    pace = gpus / seconds
    looked = assumed.images * (assumed.look_in + assumed.look_out)
    tokens = looked + assumed.parse_in + assumed.parse_out
    latent = 16 * 128 * 128 * 2
    stored = assumed.images * (assumed.picture + assumed.latents * latent + assumed.papers)
    return Needs(
        prompts=prompts,
        gpus=gpus,
        gpu_hours=prompts * seconds / 3600,
        days=prompts / pace / 86400,
        tokens=prompts * tokens,
        critic_gpus=pace * tokens / assumed.server,
        calls_per_minute=60 * pace * (assumed.images + 1),
        bytes=prompts * stored,
        megabytes_per_second=pace * stored / 1e6,
        files=prompts * assumed.files,
        rows_per_second=pace,
        row_capacity=1 / assumed.disk,
        memory=prompts * held,
    )


def bytes_held(count: int) -> float:
    """Measures the driver's bytes of memory per prompt of a batch."""

    def requests() -> Iterator[tuple[JobRequest, str]]:
        for number in range(count):
            yield (
                JobRequest(prompt=f"a fox number {number} riding a red bicycle, next to a bear with a balloon"),
                f"{number}",
            )

    with tempfile.TemporaryDirectory() as folder:
        tracemalloc.start()
        with tempfile.TemporaryFile() as file, Ledger(Path(folder)) as ledger:
            for job in Spool(file, requests(), Single(), Settings()):
                ledger._note(  # pyright: ignore[reportPrivateUsage] - without syncing to disk
                    Row(
                        id=job.id,
                        status="done",
                        prompt=job.prompt,
                        seed=job.seed,
                        policy="Single()",
                        budget=job.budget,
                        spend=Spend(),
                    )
                )
            held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    return held / count


def lines(found: Needs) -> list[str]:
    """The cells of a column of the table."""
    return [
        f"{found.prompts:,}",
        f"{found.gpus}",
        f"{found.gpu_hours:,.0f}",
        f"{found.days:.1f}",
        f"{found.tokens / 1e9:,.2f}",
        f"{found.critic_gpus:.1f}",
        f"{found.calls_per_minute:,.0f}",
        f"{found.bytes / 1e12:.3f}",
        f"{found.megabytes_per_second:.1f}",
        f"{found.files / 1e6:.3f}",
        f"{found.rows_per_second:.2f} of {found.row_capacity:.0f}",
        f"{found.memory / 1e9:.3f}",
    ]


NAMES = (
    "prompts",
    "GPUs that draw",
    "GPU hours",
    "days on these",
    "tokens, billions",
    "GPUs for the critic",
    "calls a minute",
    "run folders, TB",
    "to the store, MB/s",
    "files, millions",
    "rows a second",
    "driver's memory, GB",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for one in fields(Assumed):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default)
    parser.add_argument("--sample", type=int, default=20_000, help="number of rows for measuring memory")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    chosen = vars(parser.parse_args())
    assumed = replace(Assumed(), **{one.name: chosen[one.name] for one in fields(Assumed)})
    flops, held = row_flops(assumed.size), bytes_held(chosen["sample"])
    found = [needs(prompts, gpus, assumed, flops, held) for prompts, gpus in SIZES]
    if chosen["json"]:
        print_json(
            {f"{one.prompts}.{part.name}": getattr(one, part.name) for one in found for part in fields(Needs)}
            | {"evaluation_flops": flops, "bytes_held_per_prompt": held}
        )
        return
    print(f"{flops / 1e12:.2f} TFLOP per evaluation, {held:.0f} bytes per prompt in the driver.\n")
    columns = [lines(one)[1:] for one in found]
    print_table(
        ("", *(f"{one.prompts:,}" for one in found)), [list(row) for row in zip(NAMES[1:], *columns, strict=True)]
    )


if __name__ == "__main__":
    main()
