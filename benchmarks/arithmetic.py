"""What 1,000, 100,000 and 10 million prompts take: GPU hours, tokens, storage, and what gives way first.

Nothing is drawn. Every figure follows from the assumptions, each of which is an option; memory of the process that
started the batch is measured here, with as many rows as ``--sample`` says.

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
from detailscribe.agent.batch.jobs import Ask, Spool
from detailscribe.agent.records.rows import Row
from detailscribe.agent.settings.settings import Settings
from detailscribe.state import Spend

from .figures import print_json, print_table

SIZES = ((1_000, 1), (100_000, 16), (10_000_000, 512))
"""Prompts, and GPUs that one might take for them."""


@dataclass(frozen=True)
class Assumed:
    """What is taken for granted."""

    images: float = 2.2
    """A prompt, under `adaptive`: what the embedded world takes (README)."""
    evaluations: float = 122.7
    """A prompt; a guided step counts two. From the same table."""
    size: str = "large"
    """Of SD3.5, at 1024 pixels."""
    rate: float = 4e14
    """Floating point operations a second of a GPU in the denoiser: 40% of what an H100 is sold with in bf16."""
    beside: float = 1.15
    """Times that for encoding, decoding, and passes that are not full."""
    look_in: float = 2500
    """Prompt tokens of one look: about 1,300 for a picture of 1024 pixels, the rest instructions and checklist."""
    look_out: float = 600
    """Reply tokens of one look: a verdict for each check, and the corrected prompt."""
    parse_in: float = 1800
    """Prompt tokens of taking a prompt apart."""
    parse_out: float = 700
    server: float = 3000
    """Tokens a second, of prompts and replies together, that a GPU serves with a vision model of 7 billion weights."""
    picture: float = 1.6e6
    """Bytes of a PNG of 1024 pixels."""
    latents: float = 2
    """Kept for each image: the final one, and one step to resume at."""
    papers: float = 0.6e6
    """Bytes of trace, result, manifest, answers and report, with its pictures, for each image."""
    files: float = 14
    """A run folder."""
    disk: float = 5e-3
    """Seconds until a disk has a row: the process that started the batch waits for it with each."""


def row_flops(size: str) -> float:
    """Floating point operations of one evaluation, counted over the real architecture."""
    from .sd35 import ARCHITECTURES, flops_of_row

    return flops_of_row(ARCHITECTURES[size])


@dataclass(frozen=True)
class Needs:
    """What so many prompts take on so many GPUs."""

    prompts: int
    gpus: int
    gpu_hours: float
    days: float
    tokens: float
    """Of all calls, prompts and replies."""
    critic_gpus: float
    """To keep pace with so many that draw."""
    calls_per_minute: float
    bytes: float
    """Of run folders."""
    megabytes_per_second: float
    files: float
    rows_per_second: float
    row_capacity: float
    """Rows a second that the process that started the batch can write."""
    memory: float
    """Bytes that it holds of prompts and rows."""


def needs(prompts: int, gpus: int, assumed: Assumed, flops: float, held: float) -> Needs:
    """The arithmetic; ``flops`` of an evaluation, ``held`` bytes a prompt."""
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
    """Bytes that the prompts and the rows of a batch hold in the process that started it, for each; measured."""

    def asks() -> Iterator[tuple[Ask, str]]:
        for number in range(count):
            yield Ask(prompt=f"a fox number {number} riding a red bicycle, next to a bear with a balloon"), f"{number}"

    with tempfile.TemporaryDirectory() as folder:
        tracemalloc.start()
        with tempfile.TemporaryFile() as file, Ledger(Path(folder)) as ledger:
            for job in Spool(file, asks(), Single(), Settings()):
                ledger._note(  # pyright: ignore[reportPrivateUsage] - without waiting for the disk
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
    """One column of the table."""
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
    parser.add_argument("--sample", type=int, default=20_000, help="rows by which memory is measured")
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
    print(f"{flops / 1e12:.2f} TFLOP an evaluation, {held:.0f} bytes a prompt in the process that started the batch.\n")
    columns = [lines(one)[1:] for one in found]
    print_table(
        ("", *(f"{one.prompts:,}" for one in found)), [list(row) for row in zip(NAMES[1:], *columns, strict=True)]
    )


if __name__ == "__main__":
    main()
