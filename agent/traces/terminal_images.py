"""Pictures in a terminal: by the protocol of kitty or of iTerm2 where it is spoken, or as half blocks in colour."""

import io
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from rich.color import Color
from rich.style import Style
from rich.text import Text

Protocol = Literal["kitty", "iterm2"]
"""kitty: kitty's graphics protocol; iterm2: iTerm2's inline images."""

CHUNK = 4096
"""Bytes of base64 in one command of kitty's protocol, at most."""
COLUMNS = 24
"""Of the terminal, that a picture takes."""


def protocol_of(environment: Mapping[str, str]) -> Protocol | None:
    """What a terminal says it speaks; None where it says neither, and inside tmux or screen, which pass neither on."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or term.startswith(("screen", "tmux")):
        return None
    if "KITTY_WINDOW_ID" in environment or term in ("xterm-kitty", "xterm-ghostty"):
        return "kitty"
    return "iterm2" if program in ("iTerm.app", "WezTerm") else None


def escape(path: Path, protocol: Protocol, columns: int = COLUMNS) -> str:
    """The command that draws a PNG at the cursor, so many columns wide."""
    data = b64encode(path.read_bytes()).decode("ascii")
    if protocol == "iterm2":
        return f"\x1b]1337;File=inline=1;width={columns};preserveAspectRatio=1:{data}\a"
    chunks = [data[n : n + CHUNK] for n in range(0, len(data), CHUNK)]
    commands = [f"m={int(n < len(chunks) - 1)};{chunk}" for n, chunk in enumerate(chunks)]
    return "".join(f"\x1b_G{f'a=T,f=100,c={columns},' if not n else ''}{c}\x1b\\" for n, c in enumerate(commands))


def half_blocks(path: Path, columns: int = COLUMNS) -> Text:
    """A picture of so many columns, two pixels above each other in each character."""
    from PIL import Image  # not needed to import the package

    with Image.open(io.BytesIO(path.read_bytes())) as opened:
        rows = max(1, round(columns * opened.height / opened.width / 2))
        small = opened.convert("RGB").resize((columns, 2 * rows))
    pixels = small.tobytes()
    text = Text(no_wrap=True)
    for row in range(rows):
        for column in range(columns):
            upper, lower = (_color(pixels, column, 2 * row + below, columns) for below in (0, 1))
            text.append("▀", Style(color=upper, bgcolor=lower))
        text.append("\n" if row < rows - 1 else "")
    return text


def _color(pixels: bytes, column: int, row: int, columns: int) -> Color:
    at = 3 * (row * columns + column)
    return Color.from_rgb(*pixels[at : at + 3])
