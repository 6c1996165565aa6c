"""Fixed pictures of the embedded world, drawn by its own sprites: no model takes part in their making."""

import io
import random

from detailscribe.tools.world.grammar import parse
from detailscribe.tools.world.layout import lay_out
from detailscribe.tools.world.scene import Scene, render

PROMPT = "a cat holding a red umbrella, in the snow"


def picture(prompt: str = PROMPT, *, without: str | None = None, seed: int = 0) -> bytes:
    """A PNG of what the prompt asks for, a thing left out where one is named."""
    scene = lay_out(parse(prompt), random.Random(seed))
    if scene is None:
        raise ValueError(f"no picture can show {prompt!r}")
    things = tuple(thing for thing in scene.things if thing.noun != without)
    buffer = io.BytesIO()
    render(Scene(scene.place, things)).save(buffer, "PNG")
    return buffer.getvalue()
