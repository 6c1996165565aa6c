"""The painter of the embedded world."""

from detailscribe.tools.world.painter import EmbeddedPainter
from detailscribe.tools.world.scene import Scene, Thing, render
from detailscribe.tools.world.vocabulary import COLOURS

MISTAKES = {1: "purple", 16: "purple", 23: "purple", 25: "yellow", 29: "green", 35: "green"}
"""Colour that the painter chooses by mistake, by seed."""


def fox_beside(colour):
    return render(Scene("meadow", (Thing("car", colour, 0, 4), Thing("fox", None, 3, 3))))


def test_mistakes_are_the_same_in_every_process():
    paint, pictures = EmbeddedPainter(mistakes=1), {fox_beside(colour).tobytes(): colour for colour in COLOURS}
    edited = {seed: paint(fox_beside("red"), "a blue car next to a fox", seed) for seed in MISTAKES}
    assert {seed: pictures[picture.tobytes()] for seed, picture in edited.items()} == MISTAKES
