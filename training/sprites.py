"""Draws the sprites of things and places: heads from Fluent Emoji (MIT, see its notice), the rest drawn here.

``python -m training.sprites`` writes the two sheets from which the embedded world cuts its sprites.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from PIL import Image, ImageDraw

from detailscribe.tools.world.scene import SPRITE_HEIGHT, SPRITE_WIDTH
from detailscribe.tools.world.vocabulary import CELL, COLOURS, NOUNS, PLACES, SIZE

SHEETS = Path(__file__).parents[1] / "tools" / "world" / "assets"
"""Folder of the sheets."""
RGB = tuple[int, int, int]
_RGB: dict[str, RGB] = {
    "red": (228, 52, 58),
    "blue": (48, 110, 232),
    "green": (40, 172, 84),
    "yellow": (250, 200, 38),
    "purple": (148, 82, 206),
}
_OVERSAMPLING = 8
_HEAD = 44
_INK: RGB = (52, 44, 62)
_WHITE: RGB = (250, 250, 252)
_WOOD: RGB = (132, 86, 52)

_FUR: dict[str, tuple[RGB, RGB]] = {
    "fox": ((255, 130, 42), (255, 224, 170)),
    "bear": (((166, 104, 82)), (246, 176, 110)),
    "cat": ((255, 176, 46), (255, 222, 150)),
    "dog": ((244, 194, 126), (255, 232, 196)),
    "panda": ((62, 56, 92), (244, 244, 246)),
    "rabbit": ((202, 192, 214), (244, 238, 248)),
    "frog": ((0, 208, 106), (252, 214, 62)),
    "pig": ((255, 130, 140), (255, 178, 182)),
}


class _Pen:
    """Draws in sprite pixels on an oversampled canvas."""

    def __init__(self, width: int, height: int) -> None:
        self.canvas = Image.new("RGBA", (width * _OVERSAMPLING, height * _OVERSAMPLING), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.canvas)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: RGB) -> None:
        self._draw.ellipse(_scaled(x - rx, y - ry, x + rx, y + ry), fill=fill)

    def ring(self, x: float, y: float, r: float, width: float, ink: RGB) -> None:
        self._draw.ellipse(_scaled(x - r, y - r, x + r, y + r), outline=ink, width=round(width * _OVERSAMPLING))

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: RGB, radius: float = 0) -> None:
        self._draw.rounded_rectangle(_scaled(x0, y0, x1, y1), radius * _OVERSAMPLING, fill=fill)

    def polygon(self, points: list[tuple[float, float]], fill: RGB) -> None:
        self._draw.polygon(_scaled(*(v for point in points for v in point)), fill=fill)

    def line(self, points: list[tuple[float, float]], ink: RGB, width: float) -> None:
        flat = _scaled(*(v for point in points for v in point))
        self._draw.line(flat, fill=ink, width=round(width * _OVERSAMPLING), joint="curve")
        for x, y in points:
            self.ellipse(x, y, width / 2, width / 2, ink)

    def wedge(self, x: float, y: float, r: float, start: float, end: float, fill: RGB) -> None:
        self._draw.pieslice(_scaled(x - r, y - r, x + r, y + r), start, end, fill=fill)

    def finish(self) -> Image.Image:
        width, height = (side // _OVERSAMPLING for side in self.canvas.size)
        return self.canvas.resize((width, height), Image.Resampling.LANCZOS)


def _scaled(*values: float) -> list[float]:
    return [v * _OVERSAMPLING for v in values]


def _shade(colour: RGB, factor: float) -> RGB:
    """Darker below 1, mixed with white above 1."""
    if factor <= 1:
        r, g, b = (round(c * factor) for c in colour)
    else:
        r, g, b = (round(c + (255 - c) * (factor - 1)) for c in colour)
    return r, g, b


@cache
def _heads() -> Image.Image:
    with Image.open(Path(__file__).parent / "assets" / "heads.png") as picture:
        return picture.convert("RGBA")


def _animal(pen: _Pen, name: str) -> None:
    fur, belly = _FUR[name]
    dark = _shade(fur, 0.86)
    for side in (-1, 1):
        pen.line([(24 + side * 12, 51), (24 + side * 20, 45)], dark, 7)
        pen.ellipse(24 + side * 8, 68, 7, 4, dark)
    pen.ellipse(24, 56, 14.5, 14, fur)
    pen.ellipse(24, 58.5, 8.5, 9, belly)
    index = list(_FUR).index(name)
    side = _heads().height
    head = _heads().crop((index * side, 0, (index + 1) * side, side))
    scaled = head.resize((_HEAD * _OVERSAMPLING, _HEAD * _OVERSAMPLING), Image.Resampling.LANCZOS)
    pen.canvas.alpha_composite(scaled, (2 * _OVERSAMPLING, 1 * _OVERSAMPLING))


def _car(pen: _Pen, colour: RGB) -> None:
    pen.polygon([(11, 26), (16, 11), (34, 11), (40, 26)], colour)
    pen.polygon([(14.5, 25), (18, 14), (24, 14), (24, 25)], (190, 230, 250))
    pen.polygon([(26.5, 25), (26.5, 14), (32.5, 14), (36.5, 25)], (190, 230, 250))
    pen.box(2, 23, 46, 39, colour, 6)
    pen.box(2, 33, 46, 39, _shade(colour, 0.78), 3)
    pen.ellipse(43.5, 28, 2.2, 2.6, (255, 240, 170))
    for x in (13, 35):
        pen.ellipse(x, 39.5, 7, 7, _INK)
        pen.ellipse(x, 39.5, 3, 3, (220, 222, 230))


def _bicycle(pen: _Pen, colour: RGB) -> None:
    for x in (11, 37):
        pen.ring(x, 36, 10, 2.6, _INK)
        pen.ellipse(x, 36, 2, 2, _INK)
    pen.line([(11, 36), (19, 20), (33, 20), (24, 36), (11, 36)], colour, 3.4)
    pen.line([(24, 36), (18, 15)], colour, 3.4)
    pen.line([(37, 36), (31.5, 12)], colour, 3.4)
    pen.line([(13.5, 14.5), (22, 14.5)], _INK, 4)
    pen.line([(31.5, 11.5), (37, 9.5)], _INK, 3)


def _boat(pen: _Pen, colour: RGB) -> None:
    pen.line([(24, 4), (24, 34)], _WOOD, 2.4)
    pen.polygon([(26, 4), (26, 28), (43, 28)], _WHITE)
    pen.polygon([(22, 9), (22, 28), (8, 28)], (226, 230, 240))
    pen.polygon([(2, 31), (46, 31), (38, 46), (10, 46)], colour)
    pen.polygon([(2, 31), (46, 31), (44, 35.5), (4, 35.5)], _shade(colour, 0.75))


def _box(pen: _Pen, colour: RGB) -> None:
    pen.box(4, 14, 44, 47, colour, 2)
    pen.box(1, 6, 47, 16, _shade(colour, 0.78), 2)
    pen.box(20, 6, 28, 28, _shade(colour, 1.55))
    pen.box(20, 6, 28, 16, _shade(colour, 1.3))


def _basket(pen: _Pen, colour: RGB) -> None:
    pen.polygon([(3, 16), (45, 16), (39, 47), (9, 47)], colour)
    weave = _shade(colour, 1.45)
    for row, y in enumerate((23, 30, 37)):
        for x in range(10 + 4 * (row % 2), 40, 8):
            pen.box(x - 2, y - 2, x + 3, y + 2, weave, 1)
    pen.box(1, 10, 47, 18, _shade(colour, 0.78), 4)
    pen.line([(12, 44), (36, 44)], _shade(colour, 0.78), 3)


def _house(pen: _Pen, colour: RGB) -> None:
    pen.box(33, 4, 39, 18, _shade(colour, 0.6))
    pen.box(7, 20, 41, 47, (252, 238, 210))
    pen.polygon([(24, 1), (47, 23), (1, 23)], colour)
    pen.line([(2.5, 22.5), (45.5, 22.5)], _shade(colour, 0.75), 3)
    pen.box(12, 29, 21, 47, _WOOD, 2)
    pen.box(27, 28, 37, 38, (150, 212, 246), 1)
    pen.line([(32, 28), (32, 38)], _WHITE, 1.4)


def _balloon(pen: _Pen, colour: RGB) -> None:
    pen.line([(12, 27), (11, 34), (13, 40), (11, 47)], (130, 130, 150), 1.4)
    pen.polygon([(12, 23), (15.5, 29.5), (8.5, 29.5)], _shade(colour, 0.75))
    pen.ellipse(12, 13.5, 10.5, 12.5, colour)
    pen.ellipse(8.5, 9, 2.4, 3.6, _shade(colour, 1.6))


def _umbrella(pen: _Pen, colour: RGB) -> None:
    pen.line([(12, 12), (12, 43), (14, 45.5), (17, 44)], _WOOD, 2.4)
    pen.wedge(12, 17, 11.8, 180, 360, colour)
    pen.wedge(12, 17, 4.2, 180, 360, _shade(colour, 1.4))
    pen.polygon([(7.8, 17), (12, 5.5), (16.2, 17)], _shade(colour, 1.4))
    pen.line([(12, 3), (12, 6)], _WOOD, 2)


def _flag(pen: _Pen, colour: RGB) -> None:
    pen.line([(4.5, 3), (4.5, 46)], _WOOD, 2.8)
    pen.polygon([(6, 4), (23.5, 7), (23.5, 21), (6, 24)], colour)
    pen.polygon([(6, 11.5), (23.5, 12), (23.5, 16), (6, 16.5)], _shade(colour, 1.65))


def _cup(pen: _Pen, colour: RGB) -> None:
    pen.ring(18, 36, 5, 2.6, _shade(colour, 0.78))
    pen.polygon([(2, 27), (18, 27), (16, 46.5), (4, 46.5)], colour)
    pen.ellipse(10, 27.5, 8, 2.6, _shade(colour, 0.72))
    pen.box(3, 34, 17, 38, _shade(colour, 1.6))


def _ball(pen: _Pen, colour: RGB) -> None:
    pen.ellipse(12, 36, 11.3, 11.3, colour)
    pen.line([(2, 33.5), (8, 36), (16, 36), (22, 33.5)], _WHITE, 3.6)
    pen.ellipse(8, 29.5, 2.6, 2, _shade(colour, 1.6))


def _hat(pen: _Pen, colour: RGB) -> None:
    pen.box(13, 1, 35, 18, colour, 6)
    pen.box(13, 11, 35, 17, _shade(colour, 0.66))
    pen.box(4, 16, 44, 21, _shade(colour, 0.84), 2.5)
    pen.ellipse(18.5, 6, 2.4, 2.6, _shade(colour, 1.6))


def _tree(pen: _Pen) -> None:
    pen.box(20, 46, 28, 71, _WOOD, 2)
    for x, y, r in ((24, 15, 13), (14, 31, 13), (34, 31, 13), (24, 38, 15)):
        pen.ellipse(x, y, r, r, (64, 148, 40))
    for x, y, r in ((20, 12, 6), (12, 27, 5), (31, 27, 6)):
        pen.ellipse(x, y, r, r, (96, 178, 62))


_COLOURED: dict[str, Callable[[_Pen, RGB], None]] = {
    "car": _car,
    "bicycle": _bicycle,
    "boat": _boat,
    "box": _box,
    "basket": _basket,
    "house": _house,
    "balloon": _balloon,
    "umbrella": _umbrella,
    "flag": _flag,
    "cup": _cup,
    "ball": _ball,
    "hat": _hat,
}


def draw_thing(noun: str, colour: str | None) -> Image.Image:
    """The sprite of a thing, RGBA, (height, width) cells of ``CELL`` pixels; ``colour`` is None for its natural one."""
    kind = NOUNS[noun]
    pen = _Pen(kind.width * CELL, kind.height * CELL)
    if colour is not None:
        _COLOURED[noun](pen, _RGB[colour])
    else:
        {"animal": partial(_animal, name=noun), "plant": _tree}[kind.group](pen)
    return pen.finish()


def _hills(pen: _Pen, sky: RGB, haze: RGB, ground: RGB, far: RGB) -> None:
    for y in range(96):
        mix = y / 96
        r, g, b = (round(a + (c - a) * mix) for a, c in zip(sky, haze, strict=True))
        pen.box(0, y, 144, y + 1, (r, g, b))
    pen.ellipse(30, 112, 70, 26, far)
    pen.ellipse(122, 114, 60, 24, far)
    pen.box(0, 96, 144, 144, ground)
    pen.box(0, 120, 144, 144, _shade(ground, 0.94))


def _meadow(pen: _Pen) -> None:
    _hills(pen, (126, 200, 246), (206, 236, 252), (132, 204, 92), (108, 184, 84))
    _cloud(pen, 24, 18)
    pen.ellipse(124, 18, 10, 10, (255, 226, 110))


def _beach(pen: _Pen) -> None:
    _hills(pen, (120, 206, 240), (214, 242, 250), (246, 216, 150), (84, 170, 214))
    pen.box(0, 84, 144, 96, (74, 160, 212))
    pen.ellipse(24, 20, 11, 11, (255, 214, 92))
    _cloud(pen, 112, 16)


def _snow(pen: _Pen) -> None:
    _hills(pen, (172, 190, 216), (222, 230, 242), (244, 247, 252), (208, 218, 234))
    for x, y in ((14, 16), (40, 34), (62, 10), (88, 30), (112, 14), (132, 40), (20, 62), (74, 58), (120, 70)):
        pen.ellipse(x, y, 2, 2, _WHITE)


def _night(pen: _Pen) -> None:
    _hills(pen, (24, 26, 72), (66, 64, 130), (62, 84, 92), (44, 52, 88))
    pen.ellipse(120, 20, 11, 11, (250, 240, 196))
    pen.ellipse(125, 16, 10, 10, (32, 34, 80))
    for x, y in ((12, 14), (34, 40), (56, 14), (80, 32), (96, 10), (20, 70), (66, 62), (134, 56)):
        pen.ellipse(x, y, 1.3, 1.3, (252, 248, 214))


def _cloud(pen: _Pen, x: float, y: float) -> None:
    for dx, dy, r in ((-11, 3, 6), (0, 0, 9), (11, 3, 6)):
        pen.ellipse(x + dx, y + dy, r, r, _WHITE)
    pen.box(x - 15, y + 2, x + 15, y + 9, _WHITE, 4)


def draw_place(place: str) -> Image.Image:
    """The empty scene of a place, RGB, ``SIZE`` x ``SIZE``."""
    pen = _Pen(SIZE, SIZE)
    {"meadow": _meadow, "beach": _beach, "snow": _snow, "night": _night}[place](pen)
    return pen.finish().convert("RGB")


def sheet_of_things() -> Image.Image:
    """All things: a row for each noun, a column for each colour; things of a natural colour have one column."""
    sheet = Image.new("RGBA", (SPRITE_WIDTH * len(COLOURS), SPRITE_HEIGHT * len(NOUNS)))
    for row, noun in enumerate(NOUNS.values()):
        for column, colour in enumerate(COLOURS if noun.coloured else (None,)):
            sheet.paste(draw_thing(noun.name, colour), (SPRITE_WIDTH * column, SPRITE_HEIGHT * row))
    return sheet


def sheet_of_places() -> Image.Image:
    """All places, side by side."""
    sheet = Image.new("RGB", (SIZE * len(PLACES), SIZE))
    for column, place in enumerate(PLACES):
        sheet.paste(draw_place(place), (SIZE * column, 0))
    return sheet


if __name__ == "__main__":
    sheet_of_things().save(SHEETS / "things.png", optimize=True)
    sheet_of_places().save(SHEETS / "places.png", optimize=True)
