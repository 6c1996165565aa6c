"""The rules of a corrected prompt: the user's prompt first, then corrections, in a limited number of words."""

import re
from itertools import pairwise

_ENDS = ".!?…。！？"
_PAUSES = ",;:"
_CLOSERS = "\"'”’»)]"
_STOP = rf"(?:[{_ENDS}]*[。！？]|[{_ENDS}]++(?=\s|$))"
"""Marks that end a sentence; CJK ones need no blank after them."""
_END = re.compile(rf"(?<![{_ENDS}])(?:{_STOP}|[{_ENDS}]++[{re.escape(_CLOSERS)}]++(?=\s|$))")
"""Matches a run of marks only from its first one, so that it takes linear time."""
_WORD = re.compile(r"[a-z]+(?:['’-][a-z]+)*")
_IDLE = re.compile("an?|the|and|of|in|on|at|with|to|its|their|his|her|is|are|while|as|it|they|from|into|by")
_QUOTES = str.maketrans("“”„‘’‚`", "\"\"\"''''")


def count_words(text: str) -> int:
    """The number of words, separated by blanks."""
    return len(text.split())


def sentences(text: str) -> list[str]:
    """The sentences of a text, the last one even if it has no end."""
    bounds = [0, *(end.end() for end in _END.finditer(text)), len(text)]
    return [sentence for start, end in pairwise(bounds) if (sentence := text[start:end].strip())]


def opening(prompt: str) -> str:
    """The user's prompt as a first sentence: unchanged, with a full stop if no mark ends it."""
    prompt = prompt.strip()
    return prompt if prompt.rstrip(_CLOSERS).endswith((*_ENDS, *_PAUSES)) else f"{prompt}."


def corrections(prompt: str, answer: str) -> str | None:
    """What ``answer`` says after the user's prompt; None if it does not begin with that as a sentence. Letter case,
    blanks and the shape of quotation marks do not matter."""
    exact = rf"{_pattern(opening(prompt))}(?=\s|$)"
    otherwise_ended = rf"{_pattern(prompt.strip().rstrip(f'{_ENDS} '))}\s*(?:{_STOP}|$)"
    begins = re.match(rf"\s*(?:{exact}|{otherwise_ended})", answer.translate(_QUOTES), re.IGNORECASE)
    return None if begins is None else answer[begins.end() :].strip()


def problem(prompt: str, answer: str, words: int) -> str | None:
    """What is wrong with a corrected prompt, in words for the model; None if it follows the rules."""
    rest = corrections(prompt, answer)
    if rest is None:
        return f"It does not begin with the given prompt, unchanged, as its first sentence: {opening(prompt)}"
    if not rest:
        return "It only repeats the given prompt and mends no failure."
    length = count_words(joined(prompt, rest))
    return f"It has {length} words; at most {words} are allowed." if length > words else None


def repaired(prompt: str, answer: str, words: int) -> str:
    """A corrected prompt that follows the rules: the user's prompt, and as many sentences of ``answer`` as fit into
    ``words`` words with it."""
    rest, kept = corrections(prompt, answer), opening(prompt)
    for sentence in sentences(answer if rest is None else rest):
        longer = joined(kept, sentence)
        if count_words(longer) > words:
            break
        kept = longer
    return kept


def joined(prompt: str, rest: str) -> str:
    """The user's prompt as first sentence, then the corrections."""
    return f"{opening(prompt)} {rest}".rstrip()


def _pattern(text: str) -> str:
    return r"\s+".join(map(re.escape, text.translate(_QUOTES).split()))


def gist(prompt: str) -> frozenset[str]:
    """The stems of its content words."""
    return frozenset(_stem(word) for word in _WORD.findall(prompt.lower()) if not _IDLE.fullmatch(word))


def _stem(word: str) -> str:
    """Roughly: ``stirring``, ``stirs`` and ``stir`` are the same, so are ``weave`` and ``weaving``."""
    for ending in ("ing", "ies", "es", "ed", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls" else word
