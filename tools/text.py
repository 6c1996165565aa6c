"""Words of anybody's, made fit to be shown."""

CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")
"""Characters by which a text could command a terminal."""


def plain(text: str) -> str:
    """Replaces control characters, so that model output cannot command the terminal."""
    return text.translate(CONTROLS)


def one_line(text: str) -> str:
    """With every run of blanks and line breaks as one blank."""
    return " ".join(text.split())
