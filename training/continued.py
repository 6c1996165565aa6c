"""Trains the shipped models further.

On a GPU: ``python -m training.continued --out FOLDER --seconds 180``. On a CPU, one stage at a time:
``--stages denoiser --device cpu --batch 64 --seconds 5400``.

Words and things that the shipped models do not know get new rows, and all weights are trained: autoencoder, critic and
judge for a few seconds each, the denoiser for the rest. Meanwhile worker processes lay out scenes; the device renders
them from the sprites. A checkpoint of the denoiser is kept if its images pass more checks of held-out prompts, as the
judge sees them.

The order of the known words comes from ``--resume``, the folder of the weights to start from.
"""

import argparse
import json
import multiprocessing
import os
import queue
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import CLIPTextModelWithProjection, PreTrainedTokenizerFast

from detailscribe.tools.world.autoencoder import CellAutoencoder
from detailscribe.tools.world.critic import correction
from detailscribe.tools.world.decomposer import concepts_of
from detailscribe.tools.world.detector import WEIGHTS, AttentionDetector, ConvolutionalDetector, detections
from detailscribe.tools.world.language import corrected, detailed_caption, short_caption
from detailscribe.tools.world.layout import laid_out_specs
from detailscribe.tools.world.reading import settle
from detailscribe.tools.world.scene import Scene, Thing, far_to_near, sprite
from detailscribe.tools.world.scene import _sheet as sheet
from detailscribe.tools.world.spec import Spec, Wanted
from detailscribe.tools.world.vocabulary import CELL, COLOURS, GRID, NOUNS, PLACES, SIZE

from .autoencoder import _distance
from .common import random_scene
from .critics import loss as detector_loss
from .denoiser import _BUCKET, _DROP, _TIME_SHIFT, Drawer, _learn_positions, save_pipeline
from .planted import Truths, _ink, cells
from .text import BEGIN, END, MAX_TOKENS, PAD, build_tokenizer

_MIX: dict[int | None, float] = {None: 0.25, 1: 0.2, 2: 0.18, 3: 0.17, 4: 0.12, 5: 0.08}
"""Frequency of each complexity."""
_NEW = {"behind", "between", "wearing", "jumping over", "giving"}
"""Relations shown more often than in prompts, since the weights to start from do not know them."""
_SKINS = 8
"""Scenes per layout, with other nouns of the same groups and other colours at the same places."""
_THINGS, _FRAGMENTS = 6, 3
_SLOTS = _THINGS + _FRAGMENTS
_SPRITES = [(n.name, c) for n in NOUNS.values() for c in (COLOURS if n.coloured else (None,))]
_SPRITE_INDEX = {key: i for i, key in enumerate(_SPRITES)}
_ALL_CELLS = 63
"""Bits of the six cells of a sprite, in rows of two."""
_SHARES = {"autoencoder": 0.07, "critic": 0.12, "judge": 0.16, "denoiser": 0.65}
"""The stages in order, and their shares of the time."""
_CHUNK = 256
"""Scenes that a worker sends at once."""


@dataclass
class Chunk:
    """n scenes, as arrays."""

    slots: np.ndarray
    """(n, _SLOTS, 4): sprite or -1, column, row, bits of its cells; far to near, fragments last."""
    places: np.ndarray
    """(n,)."""
    ids: np.ndarray
    """(n, 2, MAX_TOKENS): tokens of the short and of a longer caption; both empty where a scene has no meaning."""


def work(seed: int, meaningful: float, skip_known: float, chunks: "multiprocessing.Queue[Chunk]") -> None:
    """Lay out scenes, endlessly."""
    rng, tokenizer = random.Random(seed), build_tokenizer()
    skins = _skins(rng, skip_known)
    while True:
        slots = np.zeros((_CHUNK, _SLOTS, 4), np.int16)
        places, texts = np.zeros(_CHUNK, np.int64), list[str]()
        for n in range(_CHUNK):
            spec, scene = next(skins) if rng.random() < meaningful else (None, random_scene(rng))
            slots[n] = _arranged(scene)
            _fragments(scene, rng, slots[n, _THINGS:])
            places[n] = list(PLACES).index(scene.place)
            if spec is None:
                texts += ["", ""]
            else:
                longer = _corrected if rng.random() < 0.5 else _detailed
                texts += [short_caption(spec, rng), longer(spec, scene, rng)]
        ids = tokenizer(texts, padding="max_length", max_length=MAX_TOKENS, truncation=True).input_ids
        chunks.put(Chunk(slots, places, np.asarray(ids, np.uint8).reshape(_CHUNK, 2, MAX_TOKENS)))


def _detailed(spec: Spec, scene: Scene, rng: random.Random) -> str:
    return detailed_caption(short_caption(spec, rng), scene)


def _corrected(spec: Spec, scene: Scene, rng: random.Random) -> str:
    """The text of a correction of some checks, with the rest of the scene unchanged."""
    caption, explicitness = short_caption(spec, rng), rng.choice(("place", "place", "pose", "words"))
    concepts = concepts_of(spec, caption)
    wrong = rng.sample(concepts.checks, rng.randint(1, min(4, len(concepts.checks))))
    changes = (phrase for check in wrong for phrase in correction(check, concepts, spec, scene, explicitness))
    return corrected(caption, dict.fromkeys(changes))


def _arranged(scene: Scene) -> np.ndarray:
    """The slots of a scene, far to near."""
    slots = np.full((_SLOTS, 4), -1, np.int16)
    for slot, thing in enumerate(far_to_near(scene.things)):
        slots[slot] = (_SPRITE_INDEX[thing.noun, thing.colour], thing.x, thing.y, _ALL_CELLS)
    return slots


def _skins(rng: random.Random, skip_known: float) -> Iterator[tuple[Spec, Scene]]:
    """Specs that are not held out, each with a layout; several specs per layout."""
    sources = {k: laid_out_specs(rng, lambda spec: not spec.held_out, k) for k in _MIX}
    while True:
        complexity = rng.choices(list(_MIX), list(_MIX.values()))[0]
        spec, scene = next(sources[complexity])
        if complexity and rng.random() < skip_known and not _NEW & {link.relation for link in spec.links}:
            continue
        yield spec, scene
        for _ in range(_SKINS - 1):
            other = _reskinned(spec, scene, rng)
            if not other[0].held_out:
                yield other


def _reskinned(spec: Spec, scene: Scene, rng: random.Random) -> tuple[Spec, Scene]:
    """The spec with other nouns of the same groups and other colours; two of a kind remain two of a kind."""
    nouns: dict[str, str] = {}
    for noun in dict.fromkeys(thing.noun for thing in spec.things):
        group = NOUNS[noun].group
        nouns[noun] = rng.choice([n.name for n in NOUNS.values() if n.group == group and n.name not in nouns.values()])
    colours = dict(zip(COLOURS, rng.sample(list(COLOURS), len(COLOURS)), strict=True))
    place = rng.choice(list(PLACES))
    things = tuple(Wanted(nouns[t.noun], t.colour and colours[t.colour]) for t in spec.things)
    shown = tuple(replace(t, noun=nouns[t.noun], colour=t.colour and colours[t.colour]) for t in scene.things)
    return Spec(things, spec.links, spec.place and place), Scene(place, shown)


@cache
def _shown(key: tuple[str, str | None]) -> list[tuple[int, int]]:
    """Cells of a sprite that contain much of it."""
    return [cell for cell in cells(Thing(*key, 0, 0)) if _ink(sprite(*key), cell) > 0.2]


def _fragments(scene: Scene, rng: random.Random, slots: np.ndarray) -> set[tuple[int, int]]:
    """Put pieces of other things at empty places, like ``planted.plant``; returns their cells."""
    taken = {cell for thing in scene.things for cell in cells(thing)}
    strange = set[tuple[int, int]]()
    for slot in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
        key = rng.choice(_SPRITES)
        kind, shown = NOUNS[key[0]], _shown(key)
        x, y = rng.randint(0, GRID - kind.width), rng.randint(0, GRID - kind.height)
        if len(shown) < 2:
            continue
        kept = rng.sample(shown, rng.randint(1, len(shown) - 1))
        covered = {(x + column, y + row) for column, row in kept}
        if not covered & (taken | strange):
            strange |= covered
            slots[slot] = (_SPRITE_INDEX[key], x, y, sum(1 << (2 * row + column) for column, row in kept))
    return strange


class Painter:
    """Renders images from sprites on the device, like ``scene.render``."""

    def __init__(self, device: str) -> None:
        self.device = device
        sprites = np.zeros((len(_SPRITES), 3 * CELL, 2 * CELL, 4), np.uint8)
        for i, key in enumerate(_SPRITES):
            image = np.asarray(sprite(*key))
            sprites[i, : image.shape[0], : image.shape[1]] = image
        self._sprites = _in_cells(torch.from_numpy(sprites).to(device), 3, 2).float()
        backdrops = np.asarray(sheet("places")).reshape(SIZE, len(PLACES), SIZE, 3).swapaxes(0, 1)
        self._places = _in_cells(torch.from_numpy(backdrops.copy()).to(device), GRID, GRID).float()

    def __call__(self, slots: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, SIZE, SIZE) in [-1, 1] of ``Chunk.slots`` and ``Chunk.places``."""
        canvas = self._places[places].clone()
        rows = torch.arange(len(places), device=self.device)
        for slot in range(slots.shape[1]):
            which, x, y, bits = slots[:, slot].long().unbind(1)
            there = which >= 0
            if not bool(there.any()):
                continue
            for cell in range(6):
                row, column = divmod(cell, 2)
                use = there & ((bits >> cell & 1) > 0) & (y + row < GRID) & (x + column < GRID)
                n, at = rows[use], (y[use] + row, x[use] + column)
                piece = self._sprites[which[use], row, column]
                alpha = piece[..., 3:] / 255
                canvas[(n, *at)] = piece[..., :3] * alpha + canvas[(n, *at)] * (1 - alpha)
        whole = canvas.permute(0, 5, 1, 3, 2, 4).reshape(len(places), 3, SIZE, SIZE)
        return whole.div(127.5).sub(1)


def _in_cells(images: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """(n, height, width, c) as (n, rows, columns, CELL, CELL, c)."""
    return images.unflatten(1, (rows, CELL)).unflatten(3, (columns, CELL)).transpose(2, 3)


class Pool:
    """All scenes received so far, on the device."""

    def __init__(self, chunks: "multiprocessing.Queue[Chunk]", device: str, most: int) -> None:
        self._chunks, self._device = chunks, device
        self.count = 0
        self.slots = torch.full((most, _SLOTS, 4), -1, dtype=torch.int16, device=device)
        self.places = torch.zeros(most, dtype=torch.long, device=device)
        self.ids = torch.zeros(most, 2, MAX_TOKENS, dtype=torch.uint8, device=device)
        self.latents = torch.zeros(most, 4, 3 * GRID, 3 * GRID, dtype=torch.bfloat16, device=device)
        self.encode: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
        """Latents of slots and places, once there is an autoencoder."""

    def refill(self, at_least: int = 0, chunks: int = 40) -> None:
        """Receive new scenes, and wait until there are this many."""
        known = self.count
        while (chunks > 0 or self.count < at_least) and self.count + _CHUNK <= len(self.places):
            chunks -= 1
            try:
                new = self._chunks.get(timeout=60 if self.count < at_least else 0.001)
            except queue.Empty:
                if self.count < at_least:
                    raise
                break
            begin = self.count
            self.count += _CHUNK
            for mine, theirs in ((self.slots, new.slots), (self.places, new.places), (self.ids, new.ids)):
                mine[begin : self.count] = torch.from_numpy(theirs).to(self._device)

        if self.encode is not None:  # all at once, since rendering takes hundreds of calls however few scenes there are
            self._encode(known, self.count)

    def encode_all(self, encode: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        """Encode all scenes, also those that are received later."""
        self.encode = encode
        self._encode(0, self.count)

    def _encode(self, begin: int, end: int) -> None:
        assert self.encode is not None
        for first in range(begin, end, 4096):
            rows = slice(first, min(first + 4096, end))
            self.latents[rows] = self.encode(self.slots[rows, :_THINGS], self.places[rows]).to(torch.bfloat16)

    def pick(self, count: int) -> torch.Tensor:
        """Random rows."""
        return torch.randint(self.count, (count,), device=self._device)


@dataclass
class Training:
    """Shared by the stages."""

    out: Path
    resume: Path
    device: str
    painter: Painter
    pool: Pool

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.partition(":")[0], torch.bfloat16)

    def fit(
        self,
        name: str,
        seconds: float,
        rate: float,
        parameters: list[torch.nn.Parameter],
        loss_of: Callable[[], torch.Tensor],
        after: Callable[[float], object] = lambda done: None,
        decay: float = 0.6,
    ) -> None:
        """Minimize until the time is over; ``after`` gets the share that has passed."""
        optimizer = torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
        started, step, recent = time.monotonic(), 0, 0.0
        while (done := (time.monotonic() - started) / seconds) < 1 or step < 2:
            fall = max(0.0, (done - (1 - decay)) / decay)
            lr = rate * min(1.0, (step + 1) / 50) * 0.5 * (1 + float(np.cos(np.pi * min(1.0, fall))))
            for group in optimizer.param_groups:
                group["lr"] = lr
            loss = loss_of()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            step += 1
            if step % 20 == 0:
                self.pool.refill()
                recent = loss.item()  # waits for the device, so that the time is right
            if step % 200 == 0:
                print(
                    f"{name}: step {step} loss {recent:.5f} {time.monotonic() - started:.0f} s, "
                    f"{self.pool.count} scenes",
                    flush=True,
                )
            after(done)
        print(f"{name}: {step} steps, loss {loss.item():.5f}", flush=True)


def autoencoder(training: Training, seconds: float, batch: int) -> CellAutoencoder:
    """Train the autoencoder on the cells of new things, and of things that hide others."""
    model = CellAutoencoder.from_pretrained(training.resume / "diffusion" / "vae").float().to(training.device)
    pool = training.pool

    def loss_of() -> torch.Tensor:
        rows = pool.pick(batch)
        truth = training.painter(pool.slots[rows], pool.places[rows])
        with training.autocast():
            latents = model.encode(truth).latents
            (drawn,) = model.decode(latents + 0.05 * torch.randn_like(latents), return_dict=False)
        return _distance(drawn.float(), truth) + 1e-3 * latents.float().pow(2).mean()

    if not seconds:
        return model.eval().requires_grad_(False)
    training.fit("autoencoder", seconds, 1e-3, list(model.parameters()), loss_of, decay=0.8)
    with torch.no_grad():
        rows = pool.pick(512)
        truth = training.painter(pool.slots[rows], pool.places[rows])
        latents = model.encode(truth).latents
        error = (model(truth).clamp(-1, 1) - truth).pow(2).mean()
    model.register_to_config(scaling_factor=float(1 / latents.std()), shift_factor=float(latents.mean()))
    print(f"autoencoder: {float(10 * torch.log10(4 / error)):.1f} dB", flush=True)
    return model.eval().requires_grad_(False)


def detector(
    training: Training, name: str, vae: CellAutoencoder, seconds: float, batch: int, worse: bool
) -> torch.nn.Module:
    """Train the critic or the judge further; its last layer grows by the new nouns."""
    model = {"critic": ConvolutionalDetector, "judge": AttentionDetector}[name]().to(training.device)
    shipped = load_file(training.resume / f"{name}.safetensors")
    old = shipped["cells.weight"].shape[0] - len(COLOURS) - 1
    state = {k: v.float() if v.is_floating_point() else v for k, v in shipped.items()}
    for key in ("cells.weight", "cells.bias"):
        grown = model.state_dict()[key].cpu()
        grown.fill_(0 if key.endswith("weight") else -6)  # new things are not detected at first
        grown[:old], grown[len(NOUNS) :] = state[key][:old], state[key][old:]
        state[key] = grown
    model.load_state_dict(state)
    if not seconds:
        return model.eval()
    pool, painter = training.pool, training.painter

    def loss_of() -> torch.Tensor:
        rows = pool.pick(batch)
        slots, places = pool.slots[rows], pool.places[rows]
        with torch.no_grad(), training.autocast():
            seen = painter(slots, places)
            seen = _worsened(seen) if worse else seen
            half = batch // 2
            latents = vae.encode(seen[:half]).latents
            noise = 0.3 * latents.std() * torch.rand(half, 1, 1, 1, device=seen.device) * torch.randn_like(latents)
            (drawn,) = vae.decode(latents + noise, return_dict=False)
            seen = torch.cat([drawn.float().clamp(-1, 1), seen[half:].float()])
            seen = seen + 0.03 * torch.randn(batch, 1, 1, 1, device=seen.device)
        with training.autocast():
            logits = model(seen)
        return detector_loss(logits, _truths(slots, places))

    rate = 1e-3 if name == "critic" else 5e-4
    training.fit(name, seconds, rate, list(model.parameters()), loss_of, decay=0.8)
    halves = {
        k: v.half().cpu().contiguous() if v.is_floating_point() else v.cpu() for k, v in model.state_dict().items()
    }
    save_file(halves, training.out / f"{name}.safetensors")
    return model.eval()


def _worsened(seen: torch.Tensor) -> torch.Tensor:
    """The images with blur, blocks and noise, like ``planted.worsen``."""
    n, device = len(seen), seen.device
    blurred = functional.avg_pool2d(functional.pad(seen, (1, 1, 1, 1), mode="replicate"), 3, 1)
    some = (torch.rand(n, 1, 1, 1, device=device) < 0.4) * torch.rand(n, 1, 1, 1, device=device)
    seen = seen + some * (blurred - seen)
    seen = seen * (0.93 + 0.14 * torch.rand(n, 1, 1, 1, device=device))
    seen = seen + (torch.rand(n, 1, 1, 1, device=device) - 0.5) * 0.125
    deviation = (torch.rand(n, 1, 1, 1, device=device) < 0.5) * (0.016 + 0.094 * torch.rand(n, 1, 1, 1, device=device))
    coarse = torch.randn(n, 3, SIZE // 4, SIZE // 4, device=device) * deviation
    return (seen + functional.interpolate(coarse, scale_factor=4)).clamp(-1, 1)


def _truths(slots: torch.Tensor, places: torch.Tensor) -> Truths:
    """The targets of a detector for rendered images."""
    n, device = len(slots), slots.device
    noun_of = torch.tensor([list(NOUNS).index(noun) for noun, _ in _SPRITES], device=device)
    colour_of = torch.tensor([-100 if c is None else list(COLOURS).index(c) for _, c in _SPRITES], device=device)
    nouns = torch.zeros(n, len(NOUNS), GRID, GRID, device=device)
    colours = torch.full((n, GRID, GRID), -100, device=device)
    strange = torch.zeros(n, GRID, GRID, device=device)
    rows = torch.arange(n, device=device)
    for slot in range(_SLOTS):
        which, x, y, bits = slots[:, slot].long().unbind(1)
        use = which >= 0
        if slot < _THINGS:
            nouns[rows[use], noun_of[which[use]], y[use], x[use]] = 1
            coloured = use & (colour_of[which] >= 0)
            colours[rows[coloured], y[coloured], x[coloured]] = colour_of[which[coloured]]
        else:
            for cell in range(6):
                row, column = divmod(cell, 2)
                here = use & ((bits >> cell & 1) > 0)
                strange[rows[here], y[here] + row, x[here] + column] = 1
    return Truths(nouns, colours, strange, places)


def drawer(resume: Path) -> Drawer:
    """The shipped denoiser and text encoder, with rows for new words and positions for longer captions."""
    model = Drawer.__new__(Drawer)
    torch.nn.Module.__init__(model)
    folder = resume / "diffusion" / "transformer"
    model.denoiser = SD3Transformer2DModel.from_config(SD3Transformer2DModel.load_config(folder))
    model.denoiser.load_state_dict(load_file(folder / "diffusion_pytorch_model.safetensors"))
    model.denoiser.float()
    _learn_positions(model.denoiser)
    old = CLIPTextModelWithProjection.from_pretrained(resume / "diffusion" / "text_encoder").float()
    tokenizer = build_tokenizer()
    config = old.config
    config.vocab_size, config.max_position_embeddings = len(tokenizer), MAX_TOKENS
    model.text = CLIPTextModelWithProjection(config).float()
    state, before = model.text.state_dict(), old.state_dict()
    known = PreTrainedTokenizerFast.from_pretrained(resume / "diffusion" / "tokenizer").get_vocab()
    for key, value in before.items():
        if key.endswith("token_embedding.weight"):
            for word, id in tokenizer.get_vocab().items():
                state[key][id] = (
                    value[known[word]] if word in known else value.mean(0) + 0.02 * torch.randn(value.shape[1])
                )
        elif key.endswith("position_embedding.weight"):
            state[key][: len(value)], state[key][len(value) :] = value, value[-1]
        elif not key.endswith("position_ids"):
            state[key] = value
    model.text.load_state_dict(state)
    return model


def denoiser(
    training: Training, vae: CellAutoencoder, judge: torch.nn.Module, seconds: float, batch: int, exams: int
) -> None:
    """Train the denoiser further, and keep the checkpoint whose images pass the most checks."""
    pool, device = training.pool, training.device
    model = drawer(training.resume).to(device)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    prompts = {k: _prompts(exams, k) for k in (None, 1, 3, 5)}
    best, due, figures = -1.0, [0.25, 0.5, 0.75], list[dict[str, float]]()

    def loss_of() -> torch.Tensor:
        # Captions of one padded length, as they are when images are drawn; each length as often as it comes.
        rows = pool.pick(8 * batch)
        ids = pool.ids[rows, torch.randint(2, (len(rows),), device=device)].long()
        lengths = ((ids != PAD).sum(1) + _BUCKET - 1) // _BUCKET * _BUCKET
        meant = ids[:, 2] != PAD
        length = lengths[meant][0]
        alike = (meant & (lengths == length)).nonzero()[:batch, 0]
        rows, ids = rows[alike], ids[alike, : int(length)]
        dropped = torch.rand(len(ids), 1, device=device) < _DROP
        empty = torch.full_like(ids[:1], PAD)
        empty[0, 0], empty[0, 1] = BEGIN, END
        ids = torch.where(dropped, empty, ids)
        clean = pool.latents[rows].float()
        sigma = torch.sigmoid(torch.randn(len(rows), device=device) + _TIME_SHIFT)
        noise, at = torch.randn_like(clean), sigma.view(-1, 1, 1, 1)
        with training.autocast():
            velocity = model((1 - at) * clean + at * noise, sigma, ids)
        return (velocity.float() - (noise - clean)).pow(2).mean()

    def check(done: float) -> None:
        nonlocal best
        found: dict[str, float] = {"done": done}
        for k, some in prompts.items():
            found |= {
                f"k{k}.{name}": value for name, value in _passed(average.module, vae, judge, some, device).items()
            }
        figures.append(found)
        print(json.dumps({k: round(v, 3) for k, v in found.items()}), flush=True)
        (training.out / "figures.json").write_text(json.dumps(figures, indent=1))
        if (score := sum(v for k, v in found.items() if k.endswith("checks"))) > best:
            best = score
            kept = drawer(training.resume)
            kept.load_state_dict({k: v.cpu() for k, v in average.module.state_dict().items()})
            copy = CellAutoencoder.from_config(vae.config)
            copy.load_state_dict({k: v.cpu() for k, v in vae.state_dict().items()})
            save_pipeline(kept, copy, training.out / "diffusion")

    def after(done: float) -> None:
        average.update_parameters(model)
        if due and done > due[0]:
            due.pop(0)
            check(done)

    training.fit("denoiser", seconds, 1e-3, list(model.parameters()), loss_of, after, decay=0.5)
    check(1.0)


def _prompts(count: int, complexity: int | None) -> list[tuple[Spec, str, str]]:
    """Held-out specs with both captions."""
    made, rng = list[tuple[Spec, str, str]](), random.Random(2026)
    for spec, scene in laid_out_specs(rng, lambda spec: spec.held_out, complexity):
        made.append((spec, short_caption(spec), detailed_caption(short_caption(spec), scene)))
        if len(made) == count:
            break
    return made


@torch.inference_mode()
def _passed(
    model: torch.nn.Module,
    vae: CellAutoencoder,
    judge: torch.nn.Module,
    prompts: list[tuple[Spec, str, str]],
    device: str,
) -> dict[str, float]:
    """Shares of checks passed and of images all correct, from short and from detailed captions."""
    tokenizer, found = build_tokenizer(), dict[str, float]()
    for which, name in ((1, ""), (2, "detailed_")):
        answers: list[list[bool]] = []
        ids = tokenizer([p[which] for p in prompts]).input_ids
        lengths = [-(-len(row) // _BUCKET) * _BUCKET for row in ids]
        for length in sorted(set(lengths)):
            some = [i for i, own in enumerate(lengths) if own == length]
            rows = [*(ids[i] for i in some), *([[BEGIN, END]] * len(some))]
            padded = torch.tensor([row + [PAD] * (length - len(row)) for row in rows], device=device)
            seen = detections(judge(_drawn(model, vae, padded)))
            for i, sight in zip(some, seen, strict=True):
                spec, caption, _ = prompts[i]
                answers.append([v.answer == "pass" for v in settle(concepts_of(spec, caption), spec, sight)])
        found[f"{name}all_correct"] = float(np.mean([all(a) for a in answers]))
        found[f"{name}checks"] = float(np.mean([np.mean(a) for a in answers]))
    return found


def _drawn(model: torch.nn.Module, vae: CellAutoencoder, ids: torch.Tensor) -> torch.Tensor:
    """Images of the first half of ``ids``, guided by the other half, which are empty."""
    scheduler, config = FlowMatchEulerDiscreteScheduler(shift=3.0), vae.config
    scheduler.set_timesteps(28, device=ids.device)
    count = len(ids) // 2
    latents = torch.randn(count, 4, 3 * GRID, 3 * GRID, generator=torch.Generator().manual_seed(7)).to(ids.device)
    for t in scheduler.timesteps:
        with torch.autocast(ids.device.type, torch.bfloat16):
            velocity = model(torch.cat([latents, latents]), (t / 1000).expand(2 * count), ids).float()
        wanted, empty = velocity.chunk(2)
        latents = scheduler.step(empty + 3.0 * (wanted - empty), t, latents).prev_sample
    (pictures,) = vae.decode(latents / config.scaling_factor + config.shift_factor, return_dict=False)
    return pictures.float().clamp(-1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for finished weights")
    parser.add_argument("--resume", type=Path, default=WEIGHTS, help="the weights to start from")
    parser.add_argument(
        "--seconds", type=float, default=180.0, help="seconds of training, after the first scenes arrived"
    )
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--stages", nargs="+", choices=_SHARES, default=list(_SHARES), help="stages to run")
    parser.add_argument(
        "--batch", type=int, default=1024, help="batch size of the denoiser; a quarter of it for the others"
    )
    parser.add_argument("--first", type=int, default=16_384, help="scenes to wait for before training")
    parser.add_argument("--most", type=int, default=1_000_000, help="scenes to keep")
    parser.add_argument(
        "--skip-known", type=float, default=0.5, help="share of layouts without a new relation that are skipped"
    )
    parser.add_argument("--exams", type=int, default=128, help="held-out prompts of each complexity")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    chosen = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    chosen.out.mkdir(parents=True, exist_ok=True)
    chunks: multiprocessing.Queue[Chunk] = multiprocessing.Queue(256)
    started = time.monotonic()
    meaningful = 0.8 if "denoiser" in chosen.stages else 0.5
    workers = [
        multiprocessing.Process(target=work, args=(n, meaningful, chosen.skip_known, chunks), daemon=True)
        for n in range(chosen.workers)
    ]
    for worker in workers:
        worker.start()
    try:
        torch.manual_seed(3)
        torch.set_float32_matmul_precision("high")
        pool = Pool(chunks, chosen.device, chosen.most)
        training = Training(chosen.out, chosen.resume, chosen.device, Painter(chosen.device), pool)
        pool.refill(at_least=chosen.first)
        print(f"{pool.count} scenes after {time.monotonic() - started:.0f} s", flush=True)
        given = sum(_SHARES[stage] for stage in chosen.stages)
        seconds = {stage: chosen.seconds * _SHARES[stage] / given for stage in chosen.stages}
        small = max(32, chosen.batch // 4)
        vae = autoencoder(training, seconds.get("autoencoder", 0.0), small)
        config: Any = vae.config

        @torch.no_grad()
        def encode(slots: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
            return (vae.encode(training.painter(slots, places)).latents - config.shift_factor) * config.scaling_factor

        if "critic" in seconds:
            detector(training, "critic", vae, seconds["critic"], small, worse=False)
        judge = detector(training, "judge", vae, seconds.get("judge", 0.0), small, worse=True)
        if "denoiser" in seconds:
            pool.encode_all(encode)
            denoiser(training, vae, judge, seconds["denoiser"], chosen.batch, chosen.exams)
    finally:
        for worker in workers:
            worker.terminate()
        with suppress(ValueError):
            chunks.cancel_join_thread()
    print(f"done after {time.monotonic() - started:.0f} s, {pool.count} scenes", flush=True)


if __name__ == "__main__":
    main()
