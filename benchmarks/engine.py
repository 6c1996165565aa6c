"""The engine against serial calls of diffusers' own pipelines, with the embedded model.

Sixteen requests are in flight: four from pure noise, the others from a finished latent at steps 1, 2, 4 and 8 of 28. A
serial call encodes its prompt, denoises, decodes and saves a PNG, one after another; a refinement starts from the
latent, not from the image, which saves it a pass of the autoencoder. Every repeat times both in turn, each in a thread
that ends with it, as the engine's does, since idle OpenMP threads of one would slow the other down. The embedded model
encodes prompts in lengths of 8, 16, 24 ... tokens, and prompts that share a pass are padded to the longest; SD3.5
encodes all prompts in one length, which ``one_length_throughput_ratio`` represents.

    python -m benchmarks.engine --json
"""

import argparse
import asyncio
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from diffusers import StableDiffusion3Img2ImgPipeline
from PIL import Image, ImageChops

from detailscribe.agent.settings.presets import EMBEDDED_DIFFUSION, EMBEDDED_GUIDANCE, EMBEDDED_STEPS
from detailscribe.state import Attempt, ImageRecord
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.diffusion.embeddings import encode
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.files import Store

from .figures import in_thread, interval, print_json, print_table, seconds
from .held_out import Prompt, held_out_prompts

STARTS = (0, 1, 2, 4, 8)
"""Start steps of the requests, in turn."""
ROWS = (1, 2, 4, 8, 16, 32)
"""Forward pass sizes whose cost per row is measured; a guided image takes two rows."""


@dataclass(frozen=True)
class Request:
    """One image to make, by the engine or serially."""

    prompt: str
    seed: int
    source: ImageRecord | None
    """None for a drawing from pure noise."""
    start: int

    def attempt(self, id: str) -> Attempt:
        """The request for the engine."""
        made = Attempt(id=id, prompt=self.prompt, seed=self.seed)
        if self.source is None:
            return made
        source = self.source.id
        return made.model_copy(
            update={"round": 1, "parent": source, "source": source, "operator": "inject", "start_step": self.start}
        )


class Serial:
    """Diffusers' pipelines over the same weights, one call after another."""

    def __init__(self, diffusion: LocalDiffusion, store: Store) -> None:
        self._store = store
        self._draw: Any = diffusion.pipe
        self._again: Any = StableDiffusion3Img2ImgPipeline(
            **self._draw.components | {"scheduler": type(self._draw.scheduler).from_config(self._draw.scheduler.config)}
        )
        for pipe in (self._draw, self._again):
            pipe.set_progress_bar_config(disable=True)

    def make(self, request: Request) -> bytes:
        """The image as a PNG."""
        chosen = {
            **self._words(request.prompt),
            "generator": torch.Generator("cpu").manual_seed(request.seed),
            "num_inference_steps": EMBEDDED_STEPS,
            "guidance_scale": EMBEDDED_GUIDANCE,
        }
        if request.source is None:
            picture = self._draw(**chosen).images[0]
        else:
            latent = read_latent(self._store, request.source.latent)[None]
            strength = (EMBEDDED_STEPS - request.start - 0.5) / EMBEDDED_STEPS
            picture = self._again(**chosen, image=latent, strength=strength).images[0]
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()

    def _words(self, prompt: str) -> dict[str, torch.Tensor]:
        """Prompt embeddings, since the pipelines cannot encode for a model with a single CLIP."""
        told = encode(self._draw, prompt)
        empty = encode(self._draw, "", length=len(told.tokens))
        return {
            "prompt_embeds": told.tokens[None],
            "pooled_prompt_embeds": told.pooled[None],
            "negative_prompt_embeds": empty.tokens[None],
            "negative_pooled_prompt_embeds": empty.pooled[None],
        }


class Engine:
    """The engine, which gets all requests at once, as from many graphs."""

    def __init__(self, diffusion: LocalDiffusion, store: Store) -> None:
        self._diffusion, self._store = diffusion, store

    def make(self, requests: Sequence[Request]) -> list[Image.Image]:
        """The images, read back from their files outside of the timing."""
        records = asyncio.run(self._all(requests))
        return [Image.open(io.BytesIO(self._store.read(record.path))) for record in records]

    async def _all(self, requests: Sequence[Request]) -> list[ImageRecord]:
        draw = self._diffusion.draw
        return await asyncio.gather(
            *(
                draw(request.attempt(f"made-{i:02d}"), self._store, source=request.source)
                for i, request in enumerate(requests)
            )
        )


def mixed_requests(diffusion: LocalDiffusion, store: Store, count: int) -> list[Request]:
    """Requests that start at ``STARTS`` in turn: drawings of short prompts, refinements by detailed ones.

    The sources of the refinements are drawn here.
    """
    prompts, starts = held_out_prompts(count), [STARTS[i % len(STARTS)] for i in range(count)]
    refined = [i for i in range(count) if starts[i]]

    async def draw_all() -> list[ImageRecord]:
        attempts = [Attempt(id=f"source-{i:02d}", prompt=prompts[i].short, seed=i) for i in refined]
        return await asyncio.gather(*(diffusion.draw(attempt, store) for attempt in attempts))

    drawn = asyncio.run(draw_all())
    sources = dict(zip(refined, drawn, strict=True))
    return [_request(prompts[i], i, sources.get(i), starts[i]) for i in range(count)]


def _request(prompt: Prompt, number: int, source: ImageRecord | None, start: int) -> Request:
    return Request(prompt.short if source is None else prompt.detailed, number, source, start)


def measure(folder: Path, count: int, repeats: int, compiled: bool) -> dict[str, float]:
    """All measurements, by dotted name."""
    store, plain = Store(folder), _load(compiled=False)
    serial, engine = Serial(plain, store), Engine(plain, store)
    requests = mixed_requests(plain, store, count)
    alike = [replace(request, prompt=requests[1].prompt) for request in requests]
    one = requests[:1]
    theirs = [Image.open(io.BytesIO(png)) for png in in_thread(lambda: [serial.make(request) for request in requests])]
    difference = max(_difference(a, b) for a, b in zip(theirs, engine.make(requests), strict=True))
    before = plain.statistics
    many = _times(serial, engine, requests, repeats)
    after = plain.statistics
    same_length = _times(serial, engine, alike, repeats)
    alone = _times(serial, engine, one, 4 * repeats)
    by_rows = {rows: _milliseconds(plain, rows, 5 * repeats) for rows in ROWS}
    theirs_seconds = median(theirs for theirs, _ in many)
    row_steps = 2 * sum(EMBEDDED_STEPS - request.start for request in requests)
    figures = {
        **_with_interval("throughput_ratio", [theirs / ours for theirs, ours in many]),
        **_with_interval("one_length_throughput_ratio", [theirs / ours for theirs, ours in same_length]),
        **_with_interval("batch1_ratio", [ours / theirs for theirs, ours in alone]),
        "serial.seconds": theirs_seconds,
        "engine.seconds": median(ours for _, ours in many),
        "mean_batch": (after.steps - before.steps) / (after.passes - before.passes),
        "largest_pixel_difference": difference,
        "threads": torch.get_num_threads(),
        "ceiling_ratio": theirs_seconds / (row_steps * min(ms / rows for rows, ms in by_rows.items()) / 1000),
        **{f"row_ms.{rows}": ms / rows for rows, ms in by_rows.items()},
    }
    return figures | (_compiled(serial, store, requests, repeats) if compiled else {})


def _compiled(serial: Serial, store: Store, requests: Sequence[Request], repeats: int) -> dict[str, float]:
    """The same comparison with the engine's blocks compiled, and the time that compiling takes."""
    engine = Engine(_load(compiled=True), store)
    [first] = seconds(lambda: engine.make(requests))
    many = _times(serial, engine, requests, repeats)
    return _with_interval("compiled_throughput_ratio", [theirs / ours for theirs, ours in many]) | {
        "compiled.first_seconds": first,
        "compiled.seconds": median(ours for _, ours in many),
    }


def _load(compiled: bool) -> LocalDiffusion:
    return LocalDiffusion.load(EMBEDDED_DIFFUSION, steps=EMBEDDED_STEPS, guidance=EMBEDDED_GUIDANCE, compiled=compiled)


def _with_interval(name: str, samples: Sequence[float]) -> dict[str, float]:
    _, low, high = interval(samples)
    return {name: median(samples), f"{name}_low": low, f"{name}_high": high}


def _times(serial: Serial, engine: Engine, requests: Sequence[Request], repeats: int) -> list[tuple[float, float]]:
    """Seconds of the serial calls and of the engine, in turn."""
    pairs: list[tuple[float, float]] = []
    for _ in range(repeats):
        [theirs] = seconds(lambda: [serial.make(request) for request in requests])
        [ours] = seconds(lambda: engine.make(requests))
        pairs.append((theirs, ours))
    return pairs


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Largest difference of a channel of a pixel, of 255."""
    return max(high for _, high in ImageChops.difference(one, other).getextrema())


def _milliseconds(diffusion: LocalDiffusion, rows: int, repeats: int) -> float:
    """The fastest forward pass of this many rows, for prompts of 24 tokens."""
    config, generator = diffusion.pipe.transformer.config, torch.Generator().manual_seed(0)
    side, width = config.sample_size, config.joint_attention_dim
    inputs = {
        "hidden_states": torch.randn(rows, config.in_channels, side, side, generator=generator),
        "timestep": torch.full((rows,), 500.0),
        "encoder_hidden_states": torch.randn(rows, 24, width, generator=generator),
        "pooled_projections": torch.randn(rows, config.pooled_projection_dim, generator=generator),
    }

    @torch.no_grad()
    def one_pass() -> None:
        diffusion.pipe.transformer(**inputs)

    return 1000 * min(seconds(one_pass, repeats))


def show(figures: dict[str, float]) -> None:
    """Print the measurements as tables."""
    print_table(
        ("", "ratio", "95%"),
        [
            [label, f"{figures[name]:.3f}", f"{figures[f'{name}_low']:.3f} to {figures[f'{name}_high']:.3f}"]
            for name, label in (
                ("throughput_ratio", "throughput of the engine, serial calls = 1"),
                ("one_length_throughput_ratio", "the same with prompts of one length"),
                ("compiled_throughput_ratio", "the same with the engine's blocks compiled"),
                ("batch1_ratio", "time of one image alone, a call = 1"),
            )
            if name in figures
        ],
    )
    print(
        f"\nWere every pass as good a row as the best size of pass, the throughput would be "
        f"{figures['ceiling_ratio']:.2f}. Mean batch: {figures['mean_batch']:.1f} images. "
        f"Threads: {figures['threads']:.0f}. Largest difference of a pixel: "
        f"{figures['largest_pixel_difference']:.0f} of 255.\n"
    )
    print_table(("rows in a pass", "ms a row"), [[str(rows), f"{figures[f'row_ms.{rows}']:.2f}"] for rows in ROWS])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=16, help="in flight at once")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of every measurement")
    parser.add_argument("--quick", action="store_true", help="half the requests, once, nothing compiled")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    chosen = parser.parse_args()
    count, repeats = (8, 1) if chosen.quick else (chosen.requests, chosen.repeats)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), count, repeats, compiled=not chosen.quick)
    if chosen.json:
        print_json(figures)
    else:
        show(figures)


if __name__ == "__main__":
    main()
