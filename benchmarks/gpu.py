"""What only a GPU can show about SD3.5 at 1024 pixels, with random weights: one JSON line per stage, most useful first.

Each line is printed as soon as it is measured, so that a run that is cut off still reports. After ``--budget`` seconds
no further stage starts, and the skipped ones are listed; a stage that fails is reported with its error, and the next
one starts. Stages given by name run in that order.

The floor of an image is its arithmetic at the rate of one big matrix product, or its weights, read once per pass, at
the rate of a copy, whichever takes longer; both rates are measured first. Times of the engine include writing PNG files
and latents, times of a pipeline do not. The GPU counts as busy while it is in the denoiser or the decoder, by its own
clock. The loop is that of ``benchmarks.loop``, with a critic that takes 2 s.

    python -m benchmarks.gpu --all
    python -m benchmarks.gpu --quick --budget 130 --stages device large.eager large.block_cache large.flash_attention
    python -m benchmarks.gpu --all --smoke
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from detailscribe.state import Attempt, DrawingOptions, ImageRecord
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.diffusion.blocks import compile_rows
from detailscribe.tools.diffusion.embeddings import decode, encode
from detailscribe.tools.diffusion.job import pixel_digest, png_bytes
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.diffusion.memory import Placement
from detailscribe.tools.diffusion.placement import TransientEncoder, put, tile
from detailscribe.tools.diffusion.sampling import Sample, advance, draw_noise
from detailscribe.tools.files import Store

from .figures import machine
from .held_out import held_out_prompts
from .sd35 import ARCHITECTURES, flops_of_decoding, flops_of_row, pipeline, t5

BATCHES = (1, 4, 8)
GUIDANCE = 4.5
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "guidance_interval": {"options": DrawingOptions(guidance_interval=(0.25, 0.95))},
    "block_cache": {"options": DrawingOptions(block_cache=0.1)},
    "cudnn_attention": {"attention": "_native_cudnn"},
    "flash_attention": {"attention": "_native_flash"},
}
"""Ways to draw one image faster. Random weights change differently from step to step than trained ones, so the effect
of ``block_cache`` must be read from ``evaluations``."""
PROMPT = "a cat sails in a seashell, holding a mast"
NO_GPU = "benchmarks.gpu: there is no NVIDIA GPU here; --smoke tries the code with a tiny model on the CPU"

Figures = dict[str, float]
Stage = Callable[[], Generator[Figures]]


@dataclass
class Busy:
    """Seconds spent in modules while they are watched, by the clock of their device."""

    modules: Sequence[torch.nn.Module]
    on_gpu: bool
    _spans: list[tuple[Any, Any]] = field(default_factory=list[tuple[Any, Any]])
    _hooks: list[Any] = field(default_factory=list[Any])

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        if not self.on_gpu:
            return sum(end - start for start, end in self._spans)
        torch.cuda.synchronize()
        return sum(start.elapsed_time(end) for start, end in self._spans) / 1000

    def __enter__(self) -> Self:
        begun: list[Any] = []
        for module in self.modules:
            self._hooks.append(module.register_forward_pre_hook(lambda *_: begun.append(self._now())))
            self._hooks.append(module.register_forward_hook(lambda *_: self._spans.append((begun.pop(), self._now()))))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _now(self) -> Any:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class Waits(TorchDispatchMode):
    """Counts how often the host reads a number from a tensor, which would make it wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


def count_waits(work: Callable[[], object]) -> int:
    """How often the host waits for the device in ``work``, as reported by CUDA or counted by ``Waits``."""
    if not torch.cuda.is_available():
        with Waits() as waits:
            work()
        return waits.count
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in found)


class Bench:
    """The stages, and the models, each built when a stage first needs it."""

    def __init__(self, folder: Path, smoke: bool, quick: bool) -> None:
        self.folder, self.smoke, self.stores = folder, smoke, 0
        self.steps = 4 if smoke else 8 if quick else 28
        self.compiled = not (smoke or quick)
        """Whether to compile the stages that are compared with a plain drawing, which takes 15 s each."""
        self.device = torch.device("cpu" if smoke else "cuda")
        self.dtype = torch.float32 if smoke else torch.bfloat16
        self.flops_per_second = self.bytes_per_second = 1.0
        self._size, self._pipe = "", None

    def stages(self) -> Mapping[str, Stage]:
        """By name, most useful first; stages of one model size are adjacent, as only one model is loaded at once."""
        found: dict[str, Stage] = {"device": self.rates}
        for size in ("large", "medium"):
            found[f"{size}.eager"] = partial(self.drawing, size, (1,), compiled=False)
            found[f"{size}.syncs"] = partial(self.syncs, size)
            if size == "medium":
                found["medium.batch_difference"] = partial(self.difference, size)
            found[f"{size}.compiled"] = partial(self.drawing, size, BATCHES, compiled=not self.smoke)
            if size == "large":
                for name, how in VARIANTS.items():
                    if self.smoke and name == "cudnn_attention":
                        continue
                    found[f"large.{name}"] = partial(self.drawing, size, (1,), compiled=self.compiled, **how)
            found[f"{size}.pipeline"] = partial(self.their_pipeline, size)
            if size == "large":
                found["large.vae"] = partial(self.decoding, size)
                found["large.fp8"] = partial(self.narrow, size)
        found["medium.loop"] = partial(self.looping, "medium")
        for precision, offload, text in (
            ("bf16", "model", "keep"),
            ("fp8", "none", "keep"),
            ("bf16", "model", "once"),
            ("bf16", "group", "keep"),
        ):
            found[f"large.memory.{precision}.{offload}.{text}"] = partial(
                self.placing, "large", precision, offload, text
            )
        return found

    def rates(self) -> Generator[Figures]:
        """Best rates of arithmetic and copying on the device, and the host's time for a PNG."""
        side, kind = 64 if self.smoke else 8192, {"device": self.device, "dtype": self.dtype}
        one, other = torch.randn(side, side, **kind), torch.randn(side, side, **kind)
        much = torch.randn(8 * side * side, **kind)
        product = min(self.seconds(lambda: one @ other) for _ in range(10))
        copy = min(self.seconds(much.clone) for _ in range(10))
        self.flops_per_second = 2 * side**3 / product
        self.bytes_per_second = 2 * much.numel() * much.element_size() / copy
        yield {"flops_per_second": self.flops_per_second, "bytes_per_second": self.bytes_per_second}

    def drawing(self, size: str, batches: Sequence[int], **how: Any) -> Generator[Figures]:
        """Seconds per image of the engine, after a warm-up of two steps; share of its floor; peak memory."""
        diffusion, records = self.diffusion(size, **how), list[ImageRecord]()
        for batch in batches:
            first = self.seconds(partial(self.draw, diffusion, batch, steps=2))
            self.reset_peak()
            spent = self.seconds(lambda batch=batch: records.extend(self.draw(diffusion, batch))) / batch
            floor = max(self.floors(size, batch))
            yield {
                f"first_seconds.{batch}": first,
                f"seconds.{batch}": spent,
                f"floor_seconds.{batch}": floor,
                f"floor_share.{batch}": floor / spent,
                f"peak_gib.{batch}": self.peak(),
                f"evaluations.{batch}": records[-1].evaluations,
            }
        picture = decode(diffusion.pipe, torch.randn(1, *self.latent_shape(diffusion), **self.kind))[0]
        yield {"png_seconds": self.seconds(lambda: (pixel_digest(picture), png_bytes(picture, records[0])))}

    def narrow(self, size: str) -> Generator[Figures]:
        """``drawing`` of one image with the denoiser in 8-bit floats; it stays in this precision."""
        self.pipe(size).transformer.enable_layerwise_casting(torch.float8_e4m3fn, self.dtype)
        yield from self.drawing(size, (1,), compiled=self.compiled)

    def syncs(self, size: str) -> Generator[Figures]:
        """How often the host waits for the device in a pass of one image, and of two with different prompts."""
        diffusion = self.diffusion(size, compiled=False)
        shape = self.latent_shape(diffusion)
        for count in (1, 2):
            samples = [
                Sample(
                    draw_noise(seed, shape, self.dtype, self.device),
                    diffusion.schedule,
                    encode(diffusion.pipe, PROMPT),
                    encode(diffusion.pipe, ""),
                    guidance=GUIDANCE,
                    step=seed,
                )
                for seed in range(count)
            ]
            advance(diffusion.pipe.transformer, samples)
            yield {f"waits.{count}": count_waits(partial(advance, diffusion.pipe.transformer, samples))}

    def difference(self, size: str) -> Generator[Figures]:
        """Difference of a latent, drawn alone or in a batch of eight, eager, in units of its standard deviation."""
        diffusion, latents = self.diffusion(size, compiled=False), list[torch.Tensor]()
        for batch in (1, 8):
            record = self.draw(diffusion, batch)[0]
            latents.append(read_latent(Store(self.folder / f"{self.stores}"), record.latent).float())
        gap = (latents[0] - latents[1]).abs() / latents[0].std()
        yield {"largest": gap.max().item(), "mean": gap.mean().item()}

    def their_pipeline(self, size: str) -> Generator[Figures]:
        """Seconds per image of diffusers' own pipeline with the same blocks, compiled if an earlier stage did so."""
        pipe = self.diffusion(size).pipe
        compiled = "forward" in vars(pipe.transformer.transformer_blocks[0])

        def draw(batch: int, steps: int) -> None:
            generators = [torch.Generator("cpu").manual_seed(seed) for seed in range(batch)]
            pipe([PROMPT] * batch, generator=generators, num_inference_steps=steps, guidance_scale=GUIDANCE)

        for batch in BATCHES[:2]:
            draw(batch, 2)
            self.reset_peak()
            spent = self.seconds(partial(draw, batch, self.steps)) / batch
            yield {f"seconds.{batch}": spent, f"peak_gib.{batch}": self.peak(), "compiled": compiled}

    @torch.no_grad()
    def decoding(self, size: str) -> Generator[Figures]:
        """Seconds to decode a latent: as in the pipeline, in channels_last, compiled, and four at once."""
        vae, side = self.pipe(size).vae, ARCHITECTURES["smoke" if self.smoke else size].side
        one = torch.randn(1, 16, side, side, **self.kind)

        def timed(name: str, latents: torch.Tensor) -> Figures:
            vae.decode(latents)
            self.reset_peak()
            spent = min(self.seconds(lambda: vae.decode(latents)) for _ in range(3))
            return {f"seconds.{name}": spent / len(latents), f"peak_gib.{name}": self.peak()}

        yield timed("plain", one) | timed("plain.4", one.repeat(4, 1, 1, 1))
        tile(vae, always=True)
        yield timed("tiled", one)
        vae.disable_tiling()
        vae.to(memory_format=torch.channels_last)
        yield timed("channels_last", one) | timed("channels_last.4", one.repeat(4, 1, 1, 1))
        if not self.smoke:
            compile_rows(vae.decoder)
            yield {"compile_seconds": self.seconds(lambda: vae.decode(one))} | timed("compiled", one)

    def looping(self, size: str) -> Generator[Figures]:
        """How busy the GPU is in the loop with four prompts, and how long the loop takes."""
        from .loop import SlowCritic, loop

        diffusion = self.diffusion(size, compiled=self.compiled, steps=min(8, self.steps))
        prompts = held_out_prompts(4)
        with Busy((diffusion.pipe.transformer, diffusion.pipe.vae.decoder), self.device.type == "cuda") as busy:
            critic = SlowCritic(0.01 if self.smoke else 2.0, prompts)
            seconds, images = asyncio.run(loop(diffusion, critic, prompts, self.folder / "loop"))
            share = busy.seconds / seconds
        yield {"busy_share": share, "seconds": seconds, "images": len(images), "prompts": len(prompts)}

    def placing(self, size: str, precision: Any, offload: Any, text: Any) -> Generator[Figures]:
        """Peak memory and seconds for two overlapping prompts with a full-size T5, for one way of loading it."""
        self.free()
        chosen = ARCHITECTURES["smoke" if self.smoke else size]
        pipe, make = pipeline(chosen, self.device, self.dtype), partial(t5, chosen, dtype=self.dtype)
        if text == "once":
            pipe.register_modules(text_encoder_3=TransientEncoder(partial(make, self.device), self.dtype))
        else:
            pipe.register_modules(text_encoder_3=make(self.device))
        pipe.register_modules(tokenizer_3=pipe.tokenizer)
        placement = Placement(self.device, "fp32" if self.smoke else precision, offload, text)
        pipe = put(pipe, placement)
        gc.collect()
        diffusion = LocalDiffusion(
            pipe, "random@0", steps=4, guidance=GUIDANCE, max_batch=1, in_turns=offload == "model"
        )
        self.reset_peak()
        seconds = self.seconds(lambda: self.draw(diffusion, 2, prompts=("a cat", "a dog")))
        yield {"peak_gib": self.peak(), "seconds": seconds, "steps": 4}

    @property
    def kind(self) -> dict[str, Any]:
        """Device and dtype of the models."""
        return {"device": self.device, "dtype": self.dtype}

    def pipe(self, size: str) -> Any:
        """The pipeline of this size, the only one in memory."""
        if self._size != size:
            self.free()
            self._pipe = pipeline(ARCHITECTURES["smoke" if self.smoke else size], self.device, self.dtype)
            self._size = size
        return self._pipe

    def free(self) -> None:
        """Free the model and what was compiled for it."""
        self._size, self._pipe = "", None
        torch.compiler.reset()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def diffusion(self, size: str, **how: Any) -> LocalDiffusion:
        """The diffusion role with the pipeline of this size."""
        how = {"steps": self.steps, "guidance": GUIDANCE, "max_batch": max(BATCHES)} | how
        return LocalDiffusion(self.pipe(size), "random@0", **how)

    def latent_shape(self, diffusion: LocalDiffusion) -> tuple[int, ...]:
        """(channels, height, width)"""
        config = diffusion.pipe.transformer.config
        return config.in_channels, config.sample_size, config.sample_size

    def draw(
        self, diffusion: LocalDiffusion, batch: int, steps: int | None = None, prompts: Sequence[str] = (PROMPT,)
    ) -> Any:
        """The records of this many images, requested at the same time; each call has its own store."""
        self.stores += 1
        name = f"{self.stores}"
        attempts = [
            Attempt(id=f"{name}-{i}", prompt=prompts[i % len(prompts)], seed=i, steps=steps) for i in range(batch)
        ]

        async def draw_all() -> Any:
            store = Store(self.folder / name)
            return await asyncio.gather(*(diffusion.draw(attempt, store) for attempt in attempts))

        return asyncio.run(draw_all())

    def floors(self, size: str, batch: int) -> tuple[float, float]:
        """Lower bounds per image in a batch: arithmetic with guidance and decoding, and the weights that it reads."""
        chosen = ARCHITECTURES["smoke" if self.smoke else size]
        flops = 2 * self.steps * flops_of_row(chosen) + flops_of_decoding(chosen)
        weights = sum(weight.numel() * weight.element_size() for weight in self.pipe(size).transformer.parameters())
        return flops / self.flops_per_second, weights * self.steps / batch / self.bytes_per_second

    def seconds(self, work: Callable[[], object]) -> float:
        """Seconds that the device needs at least."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def reset_peak(self) -> None:
        """Start to measure peak memory."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> float:
        """GiB of the device's memory since ``reset_peak``; 0 on a CPU."""
        return torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0


def measure(stages: Mapping[str, Stage], budget: float) -> int:
    """Run the stages and print their lines; returns the number of failed stages."""

    def say(name: str, **said: Any) -> None:
        print(json.dumps({"stage": name, "took": round(time.perf_counter() - started, 1)} | said), flush=True)

    began, failed, skipped = time.perf_counter(), 0, list[str]()
    for name, stage in stages.items():
        started = time.perf_counter()
        if started - began > budget:
            skipped.append(name)
            continue
        try:
            for figures in stage():
                say(name, figures={key: float(f"{value:.5g}") for key, value in figures.items()})
        except Exception as error:  # noqa: BLE001 - the other stages should still run
            failed += 1
            traceback.print_exc()
            say(name, error=f"{type(error).__name__}: {error}"[:500])
    if skipped:
        print(json.dumps({"skipped": skipped}), flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every stage, which is the default")
    parser.add_argument("--stages", nargs="+", metavar="NAME", help="only these stages")
    parser.add_argument("--budget", type=float, default=540, help="seconds after which no stage starts")
    parser.add_argument("--quick", action="store_true", help="8 steps per image instead of 28, and less compiling")
    parser.add_argument("--smoke", action="store_true", help="a tiny model on the CPU, to test the code")
    chosen = parser.parse_args()
    if not chosen.smoke and not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), chosen.smoke, chosen.quick)
        stages = bench.stages()
        if unknown := set(chosen.stages or ()) - set(stages):
            parser.error(f"{', '.join(sorted(unknown))}: the stages are {', '.join(stages)}")
        print(json.dumps(machine() | {"steps": bench.steps}), flush=True)
        return int(measure({name: stages[name] for name in chosen.stages or stages}, chosen.budget) > 0)


if __name__ == "__main__":
    sys.exit(main())
