"""Schemas that every server takes, and what is read of replies: the last JSON that fits, and P(yes)."""

import ast
import json
import math
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_DROPPED = frozenset({"title", "default", "format", "examples", "discriminator"})
_REFUSED_BY_STRICT = frozenset({"minLength", "maxLength"})
_NAMES = "think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad"
_OPENED = rf"<\|?(?:seed:|begin_of_|start_)?(?:{_NAMES})\|?>|\[think\]|◁think▷"
_CLOSED = rf"</(?:seed:)?(?:{_NAMES})>|<\|end_(?:of_)?(?:{_NAMES})\|>|\[/think\]|◁/think▷"
_THOUGHT = re.compile(rf"(?:{_OPENED}).*?(?:{_CLOSED}|\Z)", re.DOTALL | re.IGNORECASE)
_FINAL = re.compile(r"<\|channel\|>final[^<]{0,40}(?:<\|constrain\|>[^<]{0,40})?<\|message\|>")
_NOT_JSON = re.compile(r'("(?:[^"\\]|\\.)*"?)|//[^\n]*|/\*.*?(?:\*/|\Z)|,(?=\s*[}\]])', re.DOTALL)
"""Strings, which stay, and what JSON forbids: comments, and a comma after the last item."""
_BRACKET = re.compile(r"[{\[]")
LONGEST_READ = 200_000
"""Characters of a reply that are read."""
_MOST_WORK, _MOST_FAILED = 20, 1000
"""Passes over a reply, and brackets in it that begin no JSON, at most."""
_MOST_VALUES = 50
"""Values of one reply that are tried, from the last."""
_DEEPEST = 64
"""Levels of JSON that are read, so that code may recurse into a value."""
_SHOWN_ERRORS = 5
_AROUND = " \t\r\n.,:;!?*_`\"'()[]{}▁Ġ"


def portable_schema(model: type[BaseModel], *, strict: bool) -> dict[str, Any]:
    """The model's JSON schema as OpenAI's strict mode, vLLM, Ollama and llama.cpp all take it: without references, and
    with every field required and no other allowed. ``TypeError`` for a model that refers to itself.

    ``strict`` drops the bounds on the length of strings, which OpenAI's strict mode refuses; other servers need them,
    since a small model may never end a string.
    """
    schema = model.model_json_schema()
    definitions: dict[str, Any] = schema.pop("$defs", {})
    return _plain(schema, definitions, _DROPPED | (_REFUSED_BY_STRICT if strict else frozenset()), ())


def _plain(node: Any, definitions: dict[str, Any], dropped: frozenset[str], above: tuple[str, ...]) -> Any:
    if isinstance(node, list):
        return [_plain(item, definitions, dropped, above) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    node = cast("dict[str, Any]", node)
    if "$ref" in node:
        name = str(node["$ref"]).rpartition("/")[2]
        if name in above:
            raise TypeError(f"the schema of {name} refers to itself; servers do not take that")
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return _plain({**definitions[name], **beside}, definitions, dropped, (*above, name))
    plain = {k: _plain(v, definitions, dropped, above) for k, v in node.items() if k not in dropped}
    if "properties" in node:
        fields = cast("dict[str, Any]", node["properties"])
        # The keys of `properties` are names of fields, such as `title`.
        plain["properties"] = {k: _plain(v, definitions, dropped, above) for k, v in fields.items()}
        plain |= {"required": list(fields), "additionalProperties": False}
    return plain


def without_thoughts(text: str) -> str:
    """The answer without the thoughts of a reasoning model, in any marks that current models use."""
    text = text[:LONGEST_READ]
    if (finals := list(_FINAL.finditer(text))) or "<|channel|>" in text:
        text = re.split(r"<\|(?:end|return|call|start)\|>", text[finals[-1].end() :])[0] if finals else ""
    shown = _THOUGHT.sub("", text)
    # Some chat templates open the thought themselves, so that only its end is in the reply.
    return re.split(_CLOSED, shown, flags=re.IGNORECASE)[-1].strip()


def read_last(text: str, read: Callable[[Any], T]) -> T:
    """What ``read`` makes of the last JSON object or list in a reply that it accepts: models write drafts first.

    Comments, a comma after the last item, line breaks in strings and single quotes are accepted where nothing else can
    be read. ``read`` raises a ``ValueError`` that tells the model what is wrong; if it accepts no value, that of the
    longest is raised.
    """
    text = without_thoughts(text)
    values, whole = _json_values(text)
    if not whole:
        # Twice, since a comment may stand after the comma.
        lenient = (_json_values(_NOT_JSON.sub(r"\1", _NOT_JSON.sub(r"\1", text)))[0], _python(text))
        # The reading with the longest value wins, the strict one among equals.
        values = max((values, *lenient), key=lambda pairs: max((length for length, _ in pairs), default=0))
    errors: list[tuple[int, ValueError]] = []
    for length, value in reversed(values[-_MOST_VALUES:]):
        try:
            if is_deep(value):
                raise ValueError(f"the JSON has more than {_DEEPEST} levels")
            return read(value)
        except ValueError as error:
            errors.append((length, error))
    if not errors:
        raise ValueError("there is no complete JSON object in the answer")
    raise max(errors, key=lambda error: error[0])[1]


def is_deep(value: Any) -> bool:
    """Whether parsed JSON has more than 64 levels."""
    level = [value]
    for _ in range(_DEEPEST):
        held = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list)]
        level = [inner for inners in held for inner in cast("Iterable[Any]", inners)]
    return bool(level)


def validated(value: Any, answer: type[M], context: list[str] | None = None) -> M:
    """The answer in parsed JSON, which may be its only list alone, or an envelope of one field.

    ``context``, a list for notes, is passed to the answer's validators. Raises ``ValidationError``.
    """
    failure: ValidationError | None = None
    for shape in _shapes(value, answer, 3):
        if context is not None:
            context.clear()
        try:
            return answer.model_validate(shape, context=context)
        except ValidationError as error:
            failure = failure or error
    raise failure or ValueError("there is nothing in the answer")


def _shapes(value: Any, answer: type[BaseModel], depth: int) -> Iterable[Any]:
    """The value, and what it may contain."""
    yield value
    if not isinstance(value, dict | list) or not value or depth == 0:
        return
    lists = [n for n, s in answer.model_json_schema()["properties"].items() if s.get("type") == "array"]
    if isinstance(value, list) and len(lists) == 1:
        yield {lists[0]: value}
    inner = list(cast("dict[str, Any]", value).values() if isinstance(value, dict) else cast("list[Any]", value))
    envelope = not isinstance(value, dict) or not (value.keys() & answer.model_fields.keys())
    if len(inner) == 1 and isinstance(inner[0], dict | list) and envelope:
        yield from _shapes(inner[0], answer, depth - 1)


def _json_values(text: str) -> tuple[list[tuple[int, Any]], bool]:
    """Length and value of each JSON object and list in a text that is not inside another, in order; and whether every
    bracket belongs to one."""
    decoder, values, at, work, failed = json.JSONDecoder(strict=False), list[tuple[int, Any]](), 0, 0, 0
    while (start := _BRACKET.search(text, at)) and work <= _MOST_WORK * len(text) and failed < _MOST_FAILED:
        try:
            value, at = decoder.raw_decode(text, start.start())
            values.append((at - start.start(), value))
        except (ValueError, RecursionError) as error:
            at, failed = start.end(), failed + 1
            work += getattr(error, "pos", len(text)) - at
    return values, not failed


def _python(text: str) -> list[tuple[int, Any]]:
    """The object of a text in Python's notation, which some models write."""
    written = text[text.find("{") : text.rfind("}") + 1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [(len(written), ast.literal_eval(written))]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return []


def what_is_wrong(error: ValueError) -> str:
    """What is wrong with an answer, in one line for the model."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    wrong = error.errors(include_url=False, include_input=False, include_context=False)
    shown = [f"{'.'.join(map(str, e['loc'])) or 'the whole'}: {e['msg']}" for e in wrong[:_SHOWN_ERRORS]]
    more = [f"and {len(wrong) - _SHOWN_ERRORS} more"] if len(wrong) > _SHOWN_ERRORS else []
    return " ".join("; ".join([*shown, *more]).split())


def probability_of(logprobs: Sequence[Any], answers: Collection[str] = ("yes",)) -> tuple[float | None, str | None]:
    """P(answer), summed over spellings, at the first token of ``logprobs`` that holds a letter, or a digit for others
    than yes; or None, and the reason.

    That of yes is P(yes) / (P(yes) + P(no)); any other is of all words, as in Soft-TIFA (arXiv 2512.16853), and a token
    that begins the answer counts as it.
    """
    if not logprobs:
        return None, "the server gives no logprobs"
    is_yes = tuple(answers) == ("yes",)
    counts = str.isalpha if is_yes else str.isalnum
    words = (token for token in _mappings(logprobs) if any(map(counts, str(token.get("token", "")))))
    first = next(words, None)
    if first is None:
        return None, "the reply holds no word"
    likely = list(_candidates(first))
    if sum(p for _, p in likely) > 1.05:  # with room for rounding
        return None, "the logprobs of the server are not those of probabilities: these add up to more than 1"
    if not is_yes:
        begun = [word for word, _ in likely if len(word) > 2 and any(answer.startswith(word) for answer in answers)]
        return min(1.0, sum(p for word, p in likely if word in answers or word in begun)), None
    yes, no = (sum(p for spelling, p in likely if spelling == word) for word in ("yes", "no"))
    if yes + no <= 0:
        return None, f"neither yes nor no is among the likely words, the first of which is {first['token']!r}"
    return yes / (yes + no), None


def _candidates(token: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    """The spellings that a token may have had, and their probabilities; skips what is no number."""
    for candidate in _mappings(token.get("top_logprobs") or [token]):
        logprob = candidate.get("logprob")
        # A whole number may be too large for a float; NaN is not equal to itself.
        if isinstance(logprob, int | float) and logprob == logprob:
            spelling = str(candidate.get("token", ""))[:100].strip(_AROUND).lower()
            yield spelling, math.exp(min(max(logprob, -1e6), 1.0))


def _mappings(items: Any) -> list[Mapping[str, Any]]:
    return [cast("Mapping[str, Any]", item) for item in items if isinstance(item, dict)]
