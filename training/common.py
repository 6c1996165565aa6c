"""Shared by the trainers: checkpoints, learning rates, scenes and their pixels."""

import math
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from detailscribe.tools.world.layout import laid_out_specs
from detailscribe.tools.world.relations import overlap
from detailscribe.tools.world.scene import Scene, Thing, render
from detailscribe.tools.world.spec import Spec
from detailscribe.tools.world.vocabulary import COLOURS, GRID, NOUNS, PLACES


@dataclass(frozen=True)
class Schedule:
    """How long to train and how fast."""

    minutes: float
    """Total wall time of training, over all sessions."""
    learning_rate: float
    """The peak learning rate."""
    warmup: float = 0.01
    """Share of the time in which the learning rate rises linearly."""
    decay: float = 0.4
    """Share of the time, at the end, in which it falls to zero along a cosine."""

    def rate(self, done: float) -> float:
        """Learning rate when the share ``done`` of the time has passed."""
        rise = min(1.0, (done + 1e-4) / self.warmup)
        fall = max(0.0, (done - (1 - self.decay)) / self.decay)
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, fall)))


class Checkpoint:
    """Named parts of a training, saved atomically and loaded again at the start, so that it survives a kill."""

    def __init__(self, path: Path, **parts: Any) -> None:
        self.path = path
        self.parts = parts
        self.seconds = 0.0
        self.steps = 0
        if path.exists():
            saved = torch.load(path, weights_only=True)
            self.seconds, self.steps = saved.pop("seconds"), saved.pop("steps")
            for name, part in parts.items():
                part.load_state_dict(saved[name])

    def save(self) -> None:
        """Write to a temporary file, then move it into place."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        states = {name: part.state_dict() for name, part in self.parts.items()}
        torch.save({**states, "seconds": self.seconds, "steps": self.steps}, partial)
        os.replace(partial, self.path)


def train(
    checkpoint: Checkpoint,
    schedule: Schedule,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[int], torch.Tensor],
    after_step: Callable[[], None] = lambda: None,
    report_every: int = 200,
) -> None:
    """Minimize ``loss_of(step)`` until the schedule's time is over; saves every minute."""
    budget, started, last_save = schedule.minutes * 60, time.monotonic() - checkpoint.seconds, time.monotonic()
    recent: list[float] = []
    while checkpoint.seconds < budget:
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(checkpoint.seconds / budget)
        loss = loss_of(checkpoint.steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
        optimizer.step()
        after_step()
        recent.append(loss.item())
        checkpoint.steps += 1
        checkpoint.seconds = time.monotonic() - started
        if checkpoint.steps % report_every == 0:
            print(
                f"step {checkpoint.steps}  loss {sum(recent) / len(recent):.5f}  {checkpoint.seconds:.0f} s", flush=True
            )
            recent.clear()
        if time.monotonic() - last_save > 60:
            checkpoint.save()
            last_save = time.monotonic()
    checkpoint.save()


def scenes_for_training(rng: random.Random) -> Iterator[tuple[Spec, Scene]]:
    """Endless specs that are not held out, each with a layout."""
    return laid_out_specs(rng, lambda spec: not spec.held_out)


def random_scene(rng: random.Random, most: int = 5) -> Scene:
    """A meaningless scene: things at random places, overlapping or not, some twice, some animals with a hat."""
    things: list[Thing] = []
    for _ in range(rng.randint(0, most)):
        noun = NOUNS[rng.choice(things).noun] if things and rng.random() < 0.25 else rng.choice(list(NOUNS.values()))
        colour = rng.choice(list(COLOURS)) if noun.coloured else None
        thing = Thing(noun.name, colour, rng.randint(0, GRID - noun.width), rng.randint(0, GRID - noun.height))
        if rng.random() < 0.2 or not any(overlap(thing, other) for other in things):
            things.append(thing)
    for animal in [t for t in things if NOUNS[t.noun].group == "animal" and rng.random() < 0.4]:
        things.append(Thing("hat", rng.choice(list(COLOURS)), animal.x, animal.y))
    return Scene(rng.choice(list(PLACES)), tuple(things[:6]))


def pixels(scenes: list[Scene]) -> torch.Tensor:
    """The rendered scenes as a uint8 tensor (n, 3, SIZE, SIZE)."""
    return stacked([render(scene) for scene in scenes])


def stacked(pictures: list[Image.Image]) -> torch.Tensor:
    """RGB images of one size as a uint8 tensor (n, 3, height, width)."""
    return torch.from_numpy(np.stack([np.asarray(p) for p in pictures])).permute(0, 3, 1, 2).contiguous()


def normalized(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 images as floats in [-1, 1], the range of diffusers' autoencoders."""
    return pictures.float().div(127.5).sub(1)
