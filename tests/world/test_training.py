"""Training survives a kill, teaches what it says, and leaves a folder that draws."""

import asyncio
import itertools
import math
import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

import training.sprites as sprites
from detailscribe.state import Attempt
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.files import Store
from detailscribe.tools.world.detector import AttentionDetector, ConvolutionalDetector, Detector
from detailscribe.tools.world.scene import Scene, render
from detailscribe.tools.world.vocabulary import CELL, COLOURS, GRID, NOUNS, PLACES, SIZE
from training.autoencoder import train_autoencoder, train_decoder
from training.common import Checkpoint, Schedule, normalized, pixels, random_scene, train
from training.critics import loss, train_critic, train_judge
from training.denoiser import Architecture, train_denoiser
from training.planted import NO_COLOUR, cells, plant, truths, worsen

from .worlds import thing

MOMENT = 0.004
"""Minutes."""


class Lesson:
    """One number that is to become 3."""

    def __init__(self, path) -> None:
        self.model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.model.weight)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.0)
        self.checkpoint = Checkpoint(path, model=self.model, optimizer=self.optimizer)

    @property
    def learnt(self) -> float:
        return self.model.weight.item()

    def loss(self, step: int) -> torch.Tensor:
        return (self.model.weight - 3).pow(2).sum()

    def learn(self, minutes: float, loss_of=None) -> None:
        train(self.checkpoint, Schedule(minutes, 0.2), self.optimizer, loss_of or self.loss)


def test_a_training_that_ended_is_found_again_with_its_time_and_steps(tmp_path):
    lesson = Lesson(tmp_path / "a" / "lesson.pt")
    lesson.learn(MOMENT)
    assert lesson.learnt == pytest.approx(3, abs=0.1)
    again = Lesson(tmp_path / "a" / "lesson.pt")
    assert again.learnt == lesson.learnt
    assert again.checkpoint.steps == lesson.checkpoint.steps > 0
    assert again.checkpoint.seconds == lesson.checkpoint.seconds >= 60 * MOMENT


def test_a_training_whose_time_is_over_does_no_more(tmp_path):
    Lesson(tmp_path / "lesson.pt").learn(MOMENT)
    again = Lesson(tmp_path / "lesson.pt")
    before = again.checkpoint.steps
    again.learn(MOMENT)
    assert again.checkpoint.steps == before


def test_a_killed_training_goes_on_from_its_last_checkpoint(tmp_path):
    lesson = Lesson(tmp_path / "lesson.pt")

    def killed_at_the_tenth_step(step):
        if step == 5:
            lesson.checkpoint.save()
        if step == 10:
            raise KeyboardInterrupt
        return lesson.loss(step)

    with pytest.raises(KeyboardInterrupt):
        lesson.learn(10, killed_at_the_tenth_step)
    steps = []
    again = Lesson(tmp_path / "lesson.pt")
    begun = again.learnt
    again.learn(MOMENT, lambda step: steps.append(step) or again.loss(step))
    assert steps[0] == 5
    assert 0 < begun < lesson.learnt < again.learnt


def test_a_kill_while_saving_leaves_the_earlier_checkpoint_whole(tmp_path, monkeypatch):
    lesson = Lesson(tmp_path / "lesson.pt")
    lesson.checkpoint.steps = 7
    lesson.checkpoint.save()

    def half_written(states, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half_written)
    lesson.checkpoint.steps = 8
    with pytest.raises(KeyboardInterrupt):
        lesson.checkpoint.save()
    assert Lesson(tmp_path / "lesson.pt").checkpoint.steps == 7


def test_the_rate_rises_to_its_peak_stays_and_falls_to_nothing():
    schedule = Schedule(minutes=1, learning_rate=2e-3, warmup=0.1, decay=0.4)
    rates = [schedule.rate(n / 100) for n in range(101)]
    assert 0 < rates[0] < 1e-5
    assert all(a < b for a, b in itertools.pairwise(rates[:11]))
    assert rates[10:61] == [2e-3] * 51
    assert all(a > b for a, b in itertools.pairwise(rates[60:]))
    assert rates[80] == pytest.approx(1e-3)
    assert math.isclose(rates[100], 0, abs_tol=1e-12)
    assert schedule.rate(1.5) == 0


def cell(picture, column, row):
    return np.asarray(picture)[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]


def test_the_targets_say_what_was_planted_and_where():
    scene = Scene("night", (thing("fox", 0, 5), thing("red car", 3)))
    rng = random.Random(5)
    planted = plant(scene, rng, fragments=3)
    truth = truths([planted])
    assert planted.strange
    assert [tuple(at) for at in truth.nouns[0].nonzero().tolist()] == [
        (list(NOUNS).index("fox"), 2, 0),
        (list(NOUNS).index("car"), 4, 3),
    ]
    assert truth.colours[0, 4, 3] == list(COLOURS).index("red")
    assert (truth.colours != NO_COLOUR).sum() == 1
    assert {(x, y) for y, x in truth.strange[0].nonzero().tolist()} == planted.strange
    assert truth.places.tolist() == [list(PLACES).index("night")]


@pytest.mark.parametrize("seed", range(12))
def test_pieces_lie_where_nothing_stands_and_only_there_is_the_picture_changed(seed):
    rng = random.Random(seed)
    scene = random_scene(rng)
    planted, plain = plant(scene, rng, fragments=3), render(scene)
    changed = {
        (x, y)
        for x in range(GRID)
        for y in range(GRID)
        if not np.array_equal(cell(planted.picture, x, y), cell(plain, x, y))
    }
    assert changed == planted.strange
    assert not changed & {c for t in scene.things for c in cells(t)}


def test_a_picture_without_pieces_is_the_scene():
    scene = random_scene(random.Random(1))
    assert plant(scene, random.Random(1), fragments=0).picture.tobytes() == render(scene).tobytes()


def test_a_worsened_picture_is_another_one_of_the_same_size():
    picture = render(random_scene(random.Random(1)))
    worse = worsen(picture, random.Random(2))
    assert worse.size == (SIZE, SIZE)
    assert worse.tobytes() != picture.tobytes()


def test_the_pictures_in_the_package_are_those_that_are_drawn_here():
    for name, drawn in (("things", sprites.sheet_of_things()), ("places", sprites.sheet_of_places())):
        with Image.open(sprites.SHEETS / f"{name}.png") as kept:
            assert kept.mode == drawn.mode
            assert ImageChops.difference(kept, drawn).getbbox() is None


@pytest.mark.parametrize("network", [ConvolutionalDetector, AttentionDetector])
def test_a_detector_learns_what_it_is_shown(network):
    torch.manual_seed(0)
    rng = random.Random(0)
    scenes = [random_scene(rng) for _ in range(4)]
    seen, truth = normalized(pixels(scenes)), truths([plant(s, rng, 0) for s in scenes])
    model = network(width=32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        value = loss(model(seen), truth)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All stages from nothing, each for a moment."""
    folder = tmp_path_factory.mktemp("trained")
    train_autoencoder(folder, MOMENT, scenes=64)
    train_decoder(folder, MOMENT, scenes=64)
    train_critic(folder, MOMENT, pictures=64)
    train_judge(folder, MOMENT, pictures=64)
    small = Architecture(layers=1, heads=2, head_width=16, text_width=16)
    train_denoiser(folder, MOMENT, scenes=64, batch=4, size=small)
    return folder


@pytest.mark.slow
def test_the_critics_of_a_training_can_be_loaded(trained):
    assert {Detector.load(name, trained).model.partition("@")[0] for name in ("critic", "judge")} == {
        "embedded-critic",
        "embedded-judge",
    }


@pytest.mark.slow
async def test_the_folder_of_a_training_draws(trained, tmp_path):
    model = LocalDiffusion.load(trained / "diffusion", steps=2, guidance=3.0)
    attempts = [Attempt(id=f"00-{n:02d}", prompt="a fox riding a red car", seed=n) for n in range(2)]
    images = await asyncio.gather(*(model.draw(attempt, Store(tmp_path)) for attempt in attempts))
    assert [(i.width, i.height, i.steps) for i in images] == [(SIZE, SIZE, 2)] * 2
    assert all((tmp_path / i.path).exists() for i in images)


@pytest.mark.slow
def test_every_stage_leaves_its_checkpoint_and_nothing_half_written(trained):
    stages = ("autoencoder", "decoder", "critic", "judge", "denoiser")
    assert all((trained / "checkpoints" / f"{stage}.pt").exists() for stage in stages)
    assert not list(trained.rglob("*.partial"))
