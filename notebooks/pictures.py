"""Images and plots of the notebooks, small enough to be committed."""

import warnings
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from PIL import Image, ImageDraw, ImageFont

warnings.filterwarnings("ignore", "IProgress not found")  # text progress bars are enough

GAP, LINE = 10, 15
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
"""The colour-blind safe palette of Okabe and Ito."""


def sheet(
    pictures: Sequence[Image.Image], captions: Sequence[str] = (), columns: int = 6
) -> Image.Image:
    """Images of one size, each above its caption, which may have several lines."""
    width, height = pictures[0].size
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    tall, wide = height + lines * LINE + 2 * GAP, width + GAP
    rows = -(-len(pictures) // columns)
    whole = Image.new(
        "RGB", (min(columns, len(pictures)) * wide - GAP, rows * tall - GAP), "white"
    )
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(12)
    for place, picture in enumerate(pictures):
        x, y = place % columns * wide, place // columns * tall
        whole.paste(picture, (x, y))
        if place < len(captions):
            pen.multiline_text((x, y + height + 4), captions[place], "#333333", font, spacing=2)
    return whole.quantize(192)


def axes(title: str, x: str, y: str) -> Axes:
    """An empty plot."""
    plt.rcParams.update({"figure.dpi": 90, "font.size": 10})
    _, made = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    made.set(title=title, xlabel=x, ylabel=y)
    made.grid(alpha=0.25)
    made.spines[["top", "right"]].set_visible(False)
    return made
