"""The picture of samples in the README: one image of each of the first held-out prompts, at both levels of detail.

python -m benchmarks.samples docs/samples.png
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from PIL import Image

from detailscribe.agent.roles import roles_of
from detailscribe.agent.settings import Settings, load_settings
from detailscribe.tools.roles import GenerateRequest
from detailscribe.tools.store import Store
from detailscribe.tools.world.eyes import read_picture
from detailscribe.tools.world.vocabulary import SIZE

from .held_out import held_out_prompts

_PROMPTS = 8
_GAP = 8
"""Pixels between pictures."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the PNG to write")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sheet(drawn(Store(Path(folder)))).save(chosen.out, optimize=True)


def drawn(store: Store) -> list[list[Image.Image]]:
    """A row of pictures from the short prompts, and one from the detailed ones."""
    diffusion, prompts = roles_of(load_settings(Settings())).diffusion(), held_out_prompts(_PROMPTS)
    requests = [GenerateRequest(f"short-{i}", 0, prompt.short, seed=i) for i, prompt in enumerate(prompts)]
    requests += [GenerateRequest(f"detailed-{i}", 0, prompt.detailed, seed=i) for i, prompt in enumerate(prompts)]
    pictures = [read_picture(store, image) for image in asyncio.run(diffusion.generate(requests, store))]
    return [pictures[:_PROMPTS], pictures[_PROMPTS:]]


def sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """The pictures in rows on white."""
    pitch = SIZE + _GAP
    made = Image.new("RGB", (pitch * len(rows[0]) - _GAP, pitch * len(rows) - _GAP), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            made.paste(picture, (x * pitch, y * pitch))
    return made


if __name__ == "__main__":
    main()
