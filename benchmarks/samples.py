"""The sample images in docs/embedded-world.md: one image of each of the first held-out prompts, short and detailed.

python -m benchmarks.samples docs/samples.png
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from PIL import Image

from detailscribe.agent.settings.loading import load_settings
from detailscribe.agent.settings.models import make_diffusion
from detailscribe.agent.settings.settings import Settings
from detailscribe.state import Attempt, ImageRecord
from detailscribe.tools.files import Store
from detailscribe.tools.world.vocabulary import SIZE

from .held_out import held_out_prompts

_PROMPTS = 8
_GAP = 8
"""Pixels between images."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the PNG to write")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sheet(drawn(Store(Path(folder)))).save(chosen.out, optimize=True)


def drawn(store: Store) -> list[list[Image.Image]]:
    """A row of images from the short prompts, and one from the detailed ones."""
    diffusion, prompts = make_diffusion(load_settings(Settings())), held_out_prompts(_PROMPTS)
    attempts = [Attempt(id=f"short-{i}", prompt=prompt.short, seed=i) for i, prompt in enumerate(prompts)]
    attempts += [Attempt(id=f"detailed-{i}", prompt=prompt.detailed, seed=i) for i, prompt in enumerate(prompts)]

    async def draw_all() -> list[ImageRecord]:
        return await asyncio.gather(*(diffusion.draw(attempt, store) for attempt in attempts))

    pictures = [store.picture(image.path) for image in asyncio.run(draw_all())]
    return [pictures[:_PROMPTS], pictures[_PROMPTS:]]


def sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """The images in rows on white."""
    pitch = SIZE + _GAP
    made = Image.new("RGB", (pitch * len(rows[0]) - _GAP, pitch * len(rows) - _GAP), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            made.paste(picture, (x * pitch, y * pitch))
    return made


if __name__ == "__main__":
    main()
