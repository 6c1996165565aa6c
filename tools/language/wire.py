"""Between pydantic models and the wire: schemas that every server takes, and JSON out of whatever text comes back."""

import json
import re
from typing import Any, cast

from pydantic import BaseModel, ValidationError

_DROPPED = frozenset({"title", "default", "format", "examples", "discriminator"})
_REFUSED_BY_STRICT = frozenset({"minLength", "maxLength"})
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
_SHOWN_ERRORS = 5


def portable_schema(model: type[BaseModel], *, strict: bool) -> dict[str, Any]:
    """The model's JSON schema as OpenAI's strict mode, vLLM, Ollama and llama.cpp all take it.

    References are inlined, every field is required and no other is allowed.

    Args:
        strict: Leave out bounds on the length of strings, which OpenAI's strict mode refuses; the
            other servers need them, since a small model may never end a string.

    Raises:
        TypeError: the model refers to itself.
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
        # Below `properties` stand names of fields, which may well be called `title`.
        plain["properties"] = {k: _plain(v, definitions, dropped, above) for k, v in fields.items()}
        plain |= {"required": list(fields), "additionalProperties": False}
    return plain


def without_thoughts(text: str) -> str:
    """The answer without what a reasoning model thought aloud before it."""
    shown = _THOUGHT.sub("", text)
    # Some chat templates open the thought themselves, so that only its end is in the reply.
    return re.split(r"</think(?:ing)?>", shown)[-1].strip()


def json_object(text: str) -> str:
    """The longest JSON object in a text, whatever fences and words stand around it.

    Raises:
        ValueError: there is none.
    """
    text, decoder, at = without_thoughts(text), json.JSONDecoder(), 0
    found = ""
    while (start := text.find("{", at)) >= 0:
        try:
            _, at = decoder.raw_decode(text, start)
        except ValueError:
            at = start + 1
        except RecursionError as error:
            raise ValueError("the JSON is nested too deeply") from error
        else:
            found = max(found, text[start:at], key=len)
    if not found:
        raise ValueError("there is no complete JSON object in the answer")
    return found


def what_is_wrong(error: ValueError) -> str:
    """Why an answer cannot be used, in one line that a model can act on."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    wrong = error.errors(include_url=False, include_input=False, include_context=False)
    told = [f"{'.'.join(map(str, e['loc'])) or 'the whole'}: {e['msg']}" for e in wrong[:_SHOWN_ERRORS]]
    more = [f"and {len(wrong) - _SHOWN_ERRORS} more"] if len(wrong) > _SHOWN_ERRORS else []
    return " ".join("; ".join([*told, *more]).split())
