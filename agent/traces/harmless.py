"""Words of anybody's, on a terminal."""

CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")
"""Characters by which a text from a model could command the terminal."""


def harmless(words: str) -> str:
    """The words, which stay words."""
    return words.translate(CONTROLS)
