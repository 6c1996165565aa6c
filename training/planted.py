"""Images with planted errors, and a detector's targets for them."""

import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter

from detailscribe.tools.world.scene import Scene, Thing, render, sprite
from detailscribe.tools.world.vocabulary import CELL, COLOURS, GRID, NOUNS, PLACES, SIZE

_NOUN_INDEX = {noun: i for i, noun in enumerate(NOUNS)}
_COLOUR_INDEX = {colour: i for i, colour in enumerate(COLOURS)}
_PLACE_INDEX = {place: i for i, place in enumerate(PLACES)}
NO_COLOUR = -100
"""Target of cells without a coloured thing; ignored by the loss."""


@dataclass(frozen=True)
class Truths:
    """Targets for n images, shaped as ``Logits``."""

    nouns: torch.Tensor
    colours: torch.Tensor
    strange: torch.Tensor
    places: torch.Tensor


@dataclass(frozen=True)
class Planted:
    """An image, the complete things in it, and the cells that show anything else."""

    picture: Image.Image
    scene: Scene
    strange: frozenset[tuple[int, int]]
    """(column, row)."""


def plant(scene: Scene, rng: random.Random, fragments: int) -> Planted:
    """Render a scene and put pieces of other things at empty places."""
    picture = render(scene)
    taken = {cell for thing in scene.things for cell in cells(thing)}
    strange: set[tuple[int, int]] = set()
    for _ in range(fragments):
        piece, covered = _fragment(rng)
        if not covered & (taken | strange):
            picture.paste(piece, (0, 0), piece)
            strange |= covered
    return Planted(picture, scene, frozenset(strange))


def cells(thing: Thing) -> set[tuple[int, int]]:
    """The cells of a thing's box, (column, row)."""
    return {(x, y) for x in range(thing.x, thing.right) for y in range(thing.y, thing.bottom)}


def _fragment(rng: random.Random) -> tuple[Image.Image, set[tuple[int, int]]]:
    """A transparent image with some cells of a thing, but not all of those that contain much of it."""
    noun = NOUNS[rng.choice(list(NOUNS))]
    colour = rng.choice(list(COLOURS)) if noun.coloured else None
    x, y = rng.randint(0, GRID - noun.width), rng.randint(0, GRID - noun.height)
    whole = sprite(noun.name, colour)
    shown = [cell for cell in cells(Thing(noun.name, colour, 0, 0)) if _ink(whole, cell) > 0.2]
    kept = rng.sample(shown, rng.randint(1, len(shown) - 1)) if len(shown) > 1 else []
    picture = Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 0))
    for column, row in kept:
        piece = whole.crop(_box(column, row))
        picture.paste(piece, ((x + column) * CELL, (y + row) * CELL), piece)
    return picture, {(x + column, y + row) for column, row in kept}


def _ink(image: Image.Image, cell: tuple[int, int]) -> float:
    """Share of the cell that is not transparent."""
    alpha = np.asarray(image.crop(_box(*cell)))[..., 3]
    return float((alpha > 127).mean())


def _box(column: int, row: int) -> tuple[int, int, int, int]:
    return column * CELL, row * CELL, (column + 1) * CELL, (row + 1) * CELL


def worsen(picture: Image.Image, rng: random.Random) -> Image.Image:
    """The image with blur, blocks or noise, such as the artifacts of an autoencoder."""
    if rng.random() < 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.4)))
    array = np.asarray(picture).astype(np.float32)
    array = array * rng.uniform(0.93, 1.07) + rng.uniform(-8, 8)
    if rng.random() < 0.5:
        generator = np.random.default_rng(rng.getrandbits(32))
        coarse = generator.normal(0, rng.uniform(2, 14), (SIZE // 4, SIZE // 4, 3))
        array += np.kron(coarse, np.ones((4, 4, 1)))
    return Image.fromarray(array.clip(0, 255).astype(np.uint8))


def truths(planted: list[Planted]) -> Truths:
    """The targets for these images."""
    count = len(planted)
    nouns = torch.zeros(count, len(NOUNS), GRID, GRID)
    colours = torch.full((count, GRID, GRID), NO_COLOUR)
    strange = torch.zeros(count, GRID, GRID)
    for n, item in enumerate(planted):
        for thing in item.scene.things:
            nouns[n, _NOUN_INDEX[thing.noun], thing.y, thing.x] = 1
            if thing.colour is not None:
                colours[n, thing.y, thing.x] = _COLOUR_INDEX[thing.colour]
        for column, row in item.strange:
            strange[n, row, column] = 1
    return Truths(nouns, colours, strange, torch.tensor([_PLACE_INDEX[p.scene.place] for p in planted]))
