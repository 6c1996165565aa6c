"""Every parser of foreign text takes time that grows with the length of the text, and not faster.

Four times the text takes four times as long where reading is linear, 16 times where it is quadratic; between them, at
twelve, lies what a busy machine may add.
"""

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from detailscribe.agent.views.words import differences
from detailscribe.state import parse_concepts
from detailscribe.tools.language.decomposer import ConceptAnswer, read_concepts
from detailscribe.tools.language.failures import complaint_of
from detailscribe.tools.language.settings import ChatSettings
from detailscribe.tools.language.structured import read_last, validated
from detailscribe.tools.sentences import problem, repaired, sentences
from detailscribe.tools.text import brief, plain, without_secrets
from detailscribe.tools.vision.questions import CritiqueAnswer, answers_in

SETTINGS = ChatSettings(model="m")
PARSERS: dict[str, Callable[[str], object]] = {
    "flat notation": parse_concepts,
    "terms": lambda text: parse_concepts(f"(concept: a) = {text}"),
    "concepts": lambda text: read_concepts(text, "a cat"),
    "sentences": sentences,
    "corrections": lambda text: problem("a cat", f"a cat. {text}", 70),
    "repair": lambda text: repaired("a cat", text, 70),
    "json": lambda text: read_last(text, lambda value: validated(value, ConceptAnswer)),
    "json of answers": lambda text: read_last(text, lambda value: validated(value, CritiqueAnswer)),
    "answer": lambda text: validated({"answers": [{"check": text, "answer": f"yes{text}"}]}, CritiqueAnswer),
    "single answers": answers_in,
    "complaint": lambda text: complaint_of(400, text, SETTINGS),
    "differences": lambda text: differences(f"a {text}", f"b {text[::-1]}"),
    "secrets": without_secrets,
    "controls": lambda text: plain(brief(text)),
}
SHAPES = {
    **{"blanks": " ", "dots": ".", "marks": ".!", "closers": '.")', "wide dots": "。", "letters": "a", "words": "a "},
    **{"braces": "{", "pairs": '{"a":', "lists": "[", "commas": "[,", "quotes": '"', "escapes": "\\", "slashes": "/*"},
    **{"thoughts": "<think>", "channels": "<|channel|>final", "tags": "<a", "brackets": "(", "terms": "(a b c) + "},
    **{"heads": "(concept: ", "urls": "http://a:", "users": "a@", "lines": "\n ", "wide": "\u3000", "numbers": "1. "},
}
SHORT = 3000
"""Characters."""


def seconds(parse: Callable[[str], object], text: str) -> float:
    def once() -> float:
        began = time.process_time()
        with suppress(ValueError):  # what it says of such a text is tested elsewhere
            parse(text)
        return time.process_time() - began

    first = once()
    return first if first < 0.01 else min(first, once(), once())


@pytest.mark.parametrize("parser", PARSERS)
def test_the_time_of_a_parser_grows_with_the_text_and_not_faster(parser):
    parse = PARSERS[parser]
    parse_nothing = seconds(parse, "a")
    for name, unit in SHAPES.items():
        for end in ("", "a", '"', "x. "):
            long = seconds(parse, (unit * 4 * SHORT)[: 4 * SHORT] + end)
            if long > 0.02 + parse_nothing:
                short = seconds(parse, (unit * SHORT)[:SHORT] + end)
                assert long < 12 * max(short, 0.002), f"{name}, then {end!r}: {short:.4f} s, {long:.4f} s"
