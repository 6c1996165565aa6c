"""The rules of a corrected prompt: the user's own words first, then corrections, in a bounded number of words."""

import re
from itertools import pairwise

_ENDS = ".!?…。！？"
_PAUSES = ",;:"
_CLOSERS = "\"'”’»)]"
_STOP = rf"(?:[{_ENDS}]*[。！？]|[{_ENDS}]++(?=\s|$))"
"""Marks that end a sentence; where no blanks part sentences, none need follow."""
_END = re.compile(rf"(?<![{_ENDS}])(?:{_STOP}|[{_ENDS}]++[{re.escape(_CLOSERS)}]++(?=\s|$))")
"""A run of marks is looked at once, from its first one, so that a long text takes no longer than its length."""
_WORD = re.compile(r"[a-z]+(?:['’-][a-z]+)*")
_IDLE = re.compile("an?|the|and|of|in|on|at|with|to|its|their|his|her|is|are|while|as|it|they|from|into|by")
_QUOTES = str.maketrans("“”„‘’‚`", "\"\"\"''''")


def count_words(text: str) -> int:
    """As blanks part them."""
    return len(text.split())


def sentences(text: str) -> list[str]:
    """The sentences of a text; a rest without an end counts as one."""
    bounds = [0, *(end.end() for end in _END.finditer(text)), len(text)]
    return [found for start, end in pairwise(bounds) if (found := text[start:end].strip())]


def opening(prompt: str) -> str:
    """The user's prompt as a first sentence: unchanged, with a full stop where no mark ends it."""
    prompt = prompt.strip()
    return prompt if _is_ended(prompt) else f"{prompt}."


def corrections(prompt: str, answer: str) -> str | None:
    """What ``answer`` says after the user's prompt; None where it does not begin with that as a sentence. Letter case,
    blanks and the shape of quotation marks are no difference."""
    exact = rf"{_pattern(opening(prompt))}(?=\s|$)"
    otherwise_ended = rf"{_pattern(prompt.strip().rstrip(f'{_ENDS} '))}\s*(?:{_STOP}|$)"
    begins = re.match(rf"\s*(?:{exact}|{otherwise_ended})", answer.translate(_QUOTES), re.IGNORECASE)
    return None if begins is None else answer[begins.end() :].strip()


def problem(prompt: str, answer: str, words: int) -> str | None:
    """What is wrong with a corrected prompt, as the model is told it; None where it keeps to the rules."""
    rest = corrections(prompt, answer)
    if rest is None:
        return f"It does not begin with the given prompt, unchanged, as its first sentence: {opening(prompt)}"
    if not rest:
        return "It only repeats the given prompt and mends no failure."
    length = count_words(joined(prompt, rest))
    return f"It has {length} words; at most {words} are allowed." if length > words else None


def repaired(prompt: str, answer: str, words: int) -> str:
    """A corrected prompt that keeps to the rules, whatever ``answer`` is: the user's prompt is put before it where it
    was changed, and the end is cut off after the last whole sentence that fits."""
    rest = corrections(prompt, answer)
    return shortened(prompt, answer if rest is None else rest, words)


def joined(prompt: str, rest: str) -> str:
    """The user's prompt as first sentence, and the corrections after it."""
    return f"{opening(prompt)} {rest}".rstrip()


def shortened(prompt: str, rest: str, words: int) -> str:
    """The user's prompt and as many whole sentences of ``rest`` as fit into ``words`` words with it."""
    kept = opening(prompt)
    for sentence in sentences(rest):
        longer = joined(kept, sentence)
        if count_words(longer) > words:
            break
        kept = longer
    return kept


def _is_ended(text: str) -> bool:
    return text.rstrip(_CLOSERS).endswith((*_ENDS, *_PAUSES))


def _pattern(text: str) -> str:
    return r"\s+".join(map(re.escape, text.translate(_QUOTES).split()))


def gist(prompt: str) -> frozenset[str]:
    """The words that carry its meaning, in their short form."""
    return frozenset(_stem(word) for word in _WORD.findall(prompt.lower()) if not _IDLE.fullmatch(word))


def _stem(word: str) -> str:
    """Rough: ``stirring``, ``stirs`` and ``stir`` are one; so are ``weave`` and ``weaving``."""
    for ending in ("ing", "ies", "es", "ed", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls" else word
