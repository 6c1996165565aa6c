"""The whole loop, for many prompts on one engine, against its denoiser's own time and the published schedule.

Both sides do the same work with the same model: one drawing of 28 steps from the short prompt, one critique that finds
it wrong, and four refinements by the detailed prompt, resumed at steps 0, 2, 3 and 5. A critique takes a second. The
verdicts are fixed, so that every run draws all five images; the policy is ``Paper``.

- ``floor_ratio``: seconds of the loop, as ``detailscribe batch`` runs it, with rows, traces and reports, divided by
  those of bare forward passes for as many rows, at the cost per row of the best pass size. Only the loop includes the
  critique of the last image, which cannot overlap with anything, and the work on text, images and files;
  ``floor_and_last_look_ratio`` adds that critique to the floor.
- ``published_ratio``: seconds of the published schedule divided by those of the loop. Prompt by prompt, the schedule
  draws, waits for the critique, and draws four times from noise, with the prompt swapped after k steps. It keeps no
  latents and does not critique the refinements, as the loop does; ``published_all_looked_ratio`` adds these critiques.
  ``--compiled`` compiles loop and floor, but not the published schedule.

    python -m benchmarks.loop --json
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from detailscribe.agent import Paper, arun_batch
from detailscribe.agent.policies.baselines import PUBLISHED_STEPS
from detailscribe.agent.records.reader import RESULT
from detailscribe.agent.settings.presets import EMBEDDED_DIFFUSION, EMBEDDED_GUIDANCE, EMBEDDED_STEPS, PUBLISHED_SEEDS
from detailscribe.state import ConceptGraph, Critique, ImageRecord, RunResult, Verdict
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.diffusion.embeddings import Embedding, encode
from detailscribe.tools.files import Store

from .figures import in_thread, print_json, print_table, seconds
from .held_out import Prompt, held_out_prompts
from .many import NoDecomposer

ROWS = (8, 16, 32)
"""Forward pass sizes from which the best is chosen."""
REPEATS = 5
"""Repeats of each forward pass, before the loop and again after it."""
SEED = PUBLISHED_SEEDS[0]


class SlowCritic:
    """Sleeps, while other work can go on, and fails every image."""

    model = "slow@0"

    def __init__(self, seconds: float, prompts: Sequence[Prompt]) -> None:
        self.last_asked = 0.0
        self._seconds = seconds
        self._refined = {prompt.short: prompt.detailed for prompt in prompts}

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        self.last_asked = time.perf_counter()
        await asyncio.sleep(self._seconds)
        verdicts = tuple(Verdict(check=check.id, answer="fail") for check in concepts.checks)
        return Critique(image=image.id, verdicts=verdicts, refined_prompt=self._refined[concepts.prompt])


class Published:
    """The published schedule, with diffusers' own pipeline and the same weights."""

    def __init__(self, pipe: Any, look: float, folder: Path) -> None:
        self._pipe, self._look, self._folder = pipe, look, folder
        pipe.set_progress_bar_config(disable=True)

    def run(self, prompt: Prompt) -> None:
        """Draw the five images of one prompt."""
        self._draw(prompt.short, prompt.detailed, EMBEDDED_STEPS, "first.png")
        time.sleep(self._look)
        for k in PUBLISHED_STEPS:
            self._draw(prompt.short, prompt.detailed, k, f"{k}.png")

    def _draw(self, text: str, refined: str, after: int, name: str) -> None:
        """A full drawing that switches to the refined prompt after this many steps."""
        told = self._words(text if after else refined)
        pooled = {"pooled_prompt_embeds": told[1], "negative_pooled_prompt_embeds": told[3]}
        swap = self._words(refined) if 0 < after < EMBEDDED_STEPS else None

        def change(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            return {} if swap is None or step + 1 != after else {"prompt_embeds": torch.cat([swap[2], swap[0]])}

        picture = self._pipe(
            prompt_embeds=told[0],
            negative_prompt_embeds=told[2],
            **pooled,
            generator=torch.Generator("cpu").manual_seed(SEED),
            num_inference_steps=EMBEDDED_STEPS,
            guidance_scale=EMBEDDED_GUIDANCE,
            callback_on_step_end=change,
        ).images[0]
        picture.save(self._folder / name)

    def _words(self, text: str) -> tuple[torch.Tensor, ...]:
        """Tokens and pooled of the prompt and of the empty one; the pipeline cannot encode with one CLIP alone."""
        told: Embedding = encode(self._pipe, text)
        empty = encode(self._pipe, "", length=len(told.tokens))
        return tuple(x[None] for x in (told.tokens, told.pooled, empty.tokens, empty.pooled))


async def loop(
    diffusion: LocalDiffusion, critic: SlowCritic, prompts: Sequence[Prompt], out: Path
) -> tuple[float, list[ImageRecord]]:
    """Seconds from the start of the first run to the end of the last, and all images."""
    started: list[float] = []
    batch = await arun_batch(
        [prompt.short for prompt in prompts],
        policy=Paper(),
        seed=SEED,
        decomposer=NoDecomposer(),
        diffusion=diffusion,
        critic=critic,
        concurrency=len(prompts),
        out=out,
        on_progress=lambda progress, row: started.append(time.perf_counter()),
    )
    taken = time.perf_counter() - started[0]
    return taken, list(_images(out / row.run for row in batch.rows() if row.run is not None))


def _images(folders: Iterable[Path]) -> Iterable[ImageRecord]:
    for folder in folders:
        yield from RunResult.model_validate_json((folder / RESULT).read_text(encoding="utf-8")).images


def measure(folder: Path, prompts: Sequence[Prompt], look: float, compiled: bool) -> dict[str, float]:
    """All measurements, by dotted name."""
    diffusion = _load(compiled)
    texts = [text for prompt in prompts for text in (prompt.short, prompt.detailed)]
    tokens = in_thread(lambda: {text: len(encode(diffusion.pipe, text).tokens) for text in texts})
    if compiled:
        asyncio.run(loop(diffusion, SlowCritic(0, prompts), prompts, folder / "compiling"))
    passes = _passes(diffusion, set(tokens.values()))
    past = diffusion.statistics
    critic = SlowCritic(look, prompts)
    taken, images = asyncio.run(loop(diffusion, critic, prompts, folder / "loop"))
    ended, spent = time.perf_counter(), diffusion.statistics
    passes = {size: times + passes[size] for size, times in _passes(diffusion, set(tokens.values())).items()}
    rows = Counter[int]()
    for image in images:
        rows[tokens[image.prompt]] += image.evaluations
    floor = sum(count * min(median(passes[length, size]) for size in ROWS) for length, count in rows.items())
    published = _published(_load(compiled=False), prompts, look, folder)
    return {
        "floor_ratio": taken / floor,
        "floor_and_last_look_ratio": taken / (floor + look),
        "published_ratio": published / taken,
        "published_all_looked_ratio": (published + look * len(PUBLISHED_STEPS) * len(prompts)) / taken,
        "loop.seconds": taken,
        "floor.seconds": floor,
        "published.seconds": published,
        "loop.pass_seconds": spent.seconds - past.seconds,
        "loop.engine_seconds": sum(image.seconds for image in images),
        "loop.last_look_seconds": ended - critic.last_asked,
        "loop.mean_batch": (spent.steps - past.steps) / (spent.passes - past.passes),
        "loop.rows": sum(rows.values()),
        "prompts": len(prompts),
        "look_seconds": look,
        "threads": torch.get_num_threads(),
    }


def _load(compiled: bool) -> LocalDiffusion:
    return LocalDiffusion.load(EMBEDDED_DIFFUSION, steps=EMBEDDED_STEPS, guidance=EMBEDDED_GUIDANCE, compiled=compiled)


def _published(diffusion: LocalDiffusion, prompts: Sequence[Prompt], look: float, folder: Path) -> float:
    published = Published(diffusion.pipe, look, folder)
    [taken] = seconds(lambda: [published.run(prompt) for prompt in prompts])
    return taken


def _passes(diffusion: LocalDiffusion, lengths: Iterable[int]) -> dict[tuple[int, int], list[float]]:
    """Seconds per row of bare forward passes, by prompt tokens and rows of the pass."""
    return {(length, rows): _row_seconds(diffusion.pipe, rows, length) for length in lengths for rows in ROWS}


def _row_seconds(pipe: Any, rows: int, length: int) -> list[float]:
    config, generator = pipe.transformer.config, torch.Generator().manual_seed(0)
    inputs = {
        "hidden_states": torch.randn(
            rows, config.in_channels, config.sample_size, config.sample_size, generator=generator
        ),
        "timestep": torch.full((rows,), 500.0),
        "encoder_hidden_states": torch.randn(rows, length, config.joint_attention_dim, generator=generator),
        "pooled_projections": torch.randn(rows, config.pooled_projection_dim, generator=generator),
    }

    @torch.no_grad()
    def one_pass() -> None:
        pipe.transformer(**inputs)

    return [taken / rows for taken in seconds(one_pass, 1 + REPEATS)[1:]]


def show(figures: dict[str, float]) -> None:
    """Print the measurements as tables."""
    print_table(
        ("", "ratio"),
        [
            ["loop, bare forward passes at their best = 1", f"{figures['floor_ratio']:.3f}"],
            ["loop, the same and the last look = 1", f"{figures['floor_and_last_look_ratio']:.3f}"],
            ["published schedule, loop = 1", f"{figures['published_ratio']:.3f}"],
            ["the same, had it looked at all five images", f"{figures['published_all_looked_ratio']:.3f}"],
        ],
    )
    print()
    where = ("loop", "floor", "published")
    inside = ("pass_seconds", "engine_seconds", "last_look_seconds", "mean_batch")
    print_table(
        (f"{figures['prompts']:.0f} prompts", ""),
        [[f"{name}, seconds", f"{figures[f'{name}.seconds']:.2f}"] for name in where]
        + [[f"loop, {name.replace('_', ' ')}", f"{figures[f'loop.{name}']:.2f}"] for name in inside],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=16, help="number of prompts, all in flight at once")
    parser.add_argument("--look", type=float, default=1.0, help="seconds of a critic call")
    parser.add_argument("--compiled", action="store_true", help="compile the engine's blocks, before the timing")
    parser.add_argument("--quick", action="store_true", help="a quarter of the prompts")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    chosen = parser.parse_args()
    prompts = held_out_prompts(max(1, chosen.prompts // 4) if chosen.quick else chosen.prompts)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), prompts, chosen.look, chosen.compiled)
    if chosen.json:
        print_json(figures)
    else:
        show(figures)


if __name__ == "__main__":
    main()
