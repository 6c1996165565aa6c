"""LangChain's ``ChatOpenAI`` for any server, with the parameters and fields that OpenAI's protocol does not have."""

import json
from typing import Any, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI

_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Fields of a model's thoughts before it answered."""


class AnyChatOpenAI(ChatOpenAI):
    """Sends parameters unchanged, and finds the answer wherever a server puts it."""

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        # By way of extra_body, since ChatOpenAI renames the limit of a reply's length, and since the SDK, when it
        # sees a response_format, raises away replies that were cut or filtered, with their text and usage.
        streamed = {"stream": True} if kwargs.pop("stream", False) else {}
        messages = super()._get_request_payload(input_, stop=stop)["messages"]
        return {"model": self.model_name, "messages": messages, "extra_body": kwargs, **streamed}

    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> ChatResult:
        try:
            body: dict[str, Any] = response.model_dump(warnings=False)
            choice: dict[str, Any] = body["choices"][0]
            fields: dict[str, Any] = choice["message"]
            message = {"role": "assistant", "content": _content(fields), "refusal": fields.get("refusal")}
            result = super()._create_chat_result(body | {"choices": [choice | {"message": message}]}, generation_info)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        _keep_thoughts(fields, result.generations[0].message)
        return result

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        choice: dict[str, Any] = (chunk.get("choices") or [{}])[0]
        fields: dict[str, Any] = choice.get("delta") or {}
        chunk = chunk | {"choices": [choice | {"delta": fields}] if choice else []}
        converted = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        if converted is not None:
            _keep_thoughts(fields, converted.message)
        return converted


def answer_in(message: AIMessage) -> str:
    """The text of a message; where there is none, its thoughts."""
    thoughts: str = message.additional_kwargs.get(_THOUGHTS[0]) or ""
    return str(message.text) if message.text.strip() or not thoughts.strip() else thoughts


def _keep_thoughts(fields: dict[str, Any], message: BaseMessage) -> None:
    thoughts = next((fields[name] for name in _THOUGHTS if isinstance(fields.get(name), str) and fields[name]), None)
    kept = {_THOUGHTS[0]: thoughts, "refusal": fields.get("refusal")}
    message.additional_kwargs |= {name: _unicode(text) for name, text in kept.items() if text}


def _content(message: dict[str, Any]) -> str:
    """The content of a message, which may be in parts; where there is none, the arguments of a tool call."""
    content: Any = message.get("content")
    if isinstance(content, list):
        parts = [part for part in cast("list[Any]", content) if isinstance(part, dict)]
        content = "".join(str(part.get("text") or "") for part in parts if "text" in str(part.get("type", "text")))
    if content is not None and not isinstance(content, str):
        raise TypeError("its content is no text")
    if not (content and content.strip()):
        calls = message.get("tool_calls") or ({"function": message.get("function_call")},)
        given = ((call.get("function") or {}).get("arguments") for call in calls)
        if arguments := next(filter(None, given), None):
            content = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return _unicode(content or "")


def _unicode(text: str) -> str:
    """Without the halves of characters that JSON can hold, which LangChain's messages refuse."""
    return text.encode("utf-8", "replace").decode()
