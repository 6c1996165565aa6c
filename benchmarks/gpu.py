"""SD3.5 at 1024 pixels with random weights on a GPU: the engine against diffusers' pipeline, and how busy the GPU is.

Both sides have the same denoiser, whose blocks are compiled alike, and draw 1, 4 and 8 images at once; the engine
also writes PNG files and latents. It takes an image alone through its blocks uncompiled, so that the image is what
the pipeline makes, bit for bit: in batches of one it runs eagerly against a compiled pipeline.

The floor of an image is its arithmetic at the rate of one big matrix product, or its weights, read once a pass, at
the rate of a copy, whichever takes longer; both rates are measured first. The GPU counts as busy while it is in the
denoiser or the decoder, by its own clock. The loop is that of ``benchmarks.loop``, with 8 prompts and a look of 2 s.

    python -m benchmarks.gpu --model medium --json
    python -m benchmarks.gpu --smoke
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

import torch

from detailscribe.state import Attempt
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.files import Store

from .figures import print_json, print_table
from .held_out import held_out_prompts
from .loop import SlowCritic, loop
from .sd35 import ARCHITECTURES, Architecture, flops_of_decoding, flops_of_row, pipeline

BATCHES = (1, 4, 8)
GUIDANCE = 4.5
PROMPT = "a cat sails in a seashell, holding a mast"
NO_GPU = "benchmarks.gpu: there is no NVIDIA GPU here; --smoke tries the code with a tiny model on the CPU"


@dataclass(frozen=True)
class Setting:
    """What is measured, and with how much patience."""

    size: Architecture
    device: torch.device
    dtype: torch.dtype
    steps: int
    repeats: int
    compiled: bool
    prompts: int
    """In the loop."""
    look: float
    """Seconds that its critic takes a call."""
    product: int
    """Side of the matrices whose product tells the rate of arithmetic."""


@dataclass
class Busy:
    """Seconds in modules while they are watched, by the clock of the device that they are on."""

    modules: Sequence[torch.nn.Module]
    on_gpu: bool
    _spans: list[tuple[Any, Any]] = field(default_factory=list[tuple[Any, Any]])
    _hooks: list[Any] = field(default_factory=list[Any])

    @property
    def seconds(self) -> float:
        """Until now."""
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


def measure(folder: Path, chosen: Setting) -> dict[str, float]:
    """Everything measured, by dotted name."""
    pipe = pipeline(chosen.size, chosen.device, chosen.dtype)
    diffusion = LocalDiffusion(
        pipe, "random@0", steps=chosen.steps, guidance=GUIDANCE, max_batch=max(BATCHES), compiled=chosen.compiled
    )
    figures = _rates(chosen) | _work(pipe, chosen)
    for batch in BATCHES:
        figures |= _drawing(pipe, diffusion, Store(folder / f"{batch}"), batch, chosen)
        by_bytes = figures["pass.bytes"] * chosen.steps / batch / figures["device.bytes_per_second"]
        by_flops = figures["image.flops"] / figures["device.flops_per_second"]
        figures |= {f"floor.flops_seconds.{batch}": by_flops, f"floor.bytes_seconds.{batch}": by_bytes}
        figures[f"engine_floor_ratio.{batch}"] = figures[f"engine.seconds.{batch}"] / max(by_bytes, by_flops)
        figures[f"engine_ratio.{batch}"] = figures[f"pipeline.seconds.{batch}"] / figures[f"engine.seconds.{batch}"]
    return figures | _looping(pipe, diffusion, folder / "loop", chosen)


def _drawing(pipe: Any, diffusion: LocalDiffusion, store: Store, batch: int, chosen: Setting) -> dict[str, float]:
    """Seconds an image on either side, in turn, after one of each; and memory at its peak."""

    def theirs() -> None:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in range(batch)]
        pipe([PROMPT] * batch, generator=generators, num_inference_steps=chosen.steps, guidance_scale=GUIDANCE)

    def ours() -> None:
        async def draw_all() -> None:
            attempts = [Attempt(id=f"{i}", prompt=PROMPT, seed=i) for i in range(batch)]
            await asyncio.gather(*(diffusion.draw(attempt, store) for attempt in attempts))

        asyncio.run(draw_all())

    figures: dict[str, float] = {}
    for name, draw in (("pipeline", theirs), ("engine", ours)):
        draw()
        if chosen.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        draw()
        if chosen.device.type == "cuda":
            figures[f"{name}.peak_gib.{batch}"] = torch.cuda.max_memory_allocated() / 2**30
    times = [(_seconds(theirs, chosen), _seconds(ours, chosen)) for _ in range(chosen.repeats)]
    figures[f"pipeline.seconds.{batch}"] = median(pair[0] for pair in times) / batch
    figures[f"engine.seconds.{batch}"] = median(pair[1] for pair in times) / batch
    return figures


def _looping(pipe: Any, diffusion: LocalDiffusion, out: Path, chosen: Setting) -> dict[str, float]:
    prompts = held_out_prompts(chosen.prompts)
    with Busy((pipe.transformer, pipe.vae.decoder), chosen.device.type == "cuda") as busy:
        seconds, images = asyncio.run(loop(diffusion, SlowCritic(chosen.look, prompts), prompts, out))
        share = busy.seconds / seconds
    return {"busy_share": share, "loop.seconds": seconds, "loop.images": len(images), "prompts": len(prompts)}


def _rates(chosen: Setting) -> dict[str, float]:
    """What the device does of arithmetic and of copying, at their best."""
    side, kind = chosen.product, {"device": chosen.device, "dtype": chosen.dtype}
    one, other = torch.randn(side, side, **kind), torch.randn(side, side, **kind)
    much = torch.randn(8 * side * side, **kind)
    product = min(_seconds(lambda: one @ other, chosen) for _ in range(10))
    copy = min(_seconds(much.clone, chosen) for _ in range(10))
    return {
        "device.flops_per_second": 2 * side**3 / product,
        "device.bytes_per_second": 2 * much.numel() * much.element_size() / copy,
    }


def _work(pipe: Any, chosen: Setting) -> dict[str, float]:
    """Of a whole image with guidance, and the weights that every pass reads."""
    return {
        "image.flops": 2 * chosen.steps * flops_of_row(chosen.size) + flops_of_decoding(chosen.size),
        "pass.bytes": sum(weight.numel() * weight.element_size() for weight in pipe.transformer.parameters()),
        "steps": chosen.steps,
    }


def _seconds(work: Callable[[], object], chosen: Setting) -> float:
    if chosen.device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if chosen.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def setting(model: str, quick: bool) -> Setting:
    """On the GPU in bf16; the tiny model is for the CPU."""
    if model == "smoke":
        cpu = torch.device("cpu")
        return Setting(ARCHITECTURES[model], cpu, torch.float32, 5, 1, False, prompts=2, look=0.01, product=64)
    gpu, steps, repeats = torch.device("cuda"), 8 if quick else 28, 1 if quick else 3
    return Setting(ARCHITECTURES[model], gpu, torch.bfloat16, steps, repeats, True, prompts=8, look=2.0, product=8192)


def show(figures: dict[str, float]) -> None:
    """The figures as tables."""
    columns = ("pipeline.seconds", "engine.seconds", "engine_ratio", "floor.flops_seconds", "floor.bytes_seconds")
    memory = ("pipeline.peak_gib", "engine.peak_gib")
    names = [name for name in (*columns, *memory) if f"{name}.{BATCHES[0]}" in figures]
    print_table(
        ("batch", *(name.replace(".", " ").replace("_", " ") for name in names)),
        [[str(batch), *(f"{figures[f'{name}.{batch}']:.3f}" for name in names)] for batch in BATCHES],
    )
    print(f"\nBusy {100 * figures['busy_share']:.1f}% of a loop over {figures['prompts']:.0f} prompts.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("medium", "large"), default="medium", help="of SD3.5")
    parser.add_argument("--smoke", action="store_true", help="a tiny model on the CPU: the code, not the figures")
    parser.add_argument("--quick", action="store_true", help="8 steps an image, each measured once")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    chosen = parser.parse_args()
    if not chosen.smoke and not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), setting("smoke" if chosen.smoke else chosen.model, chosen.quick))
    if chosen.json:
        print_json(figures)
    else:
        show(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
