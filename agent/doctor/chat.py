"""Whether the chat models answer, and whether the critic's sees."""

import io
from functools import cache
from importlib import import_module
from textwrap import shorten
from time import perf_counter
from urllib.parse import urlsplit

from pydantic import Field

from ...state import Frozen
from ...tools.errors import DetailScribeError, ModelError, ReplyError
from ...tools.language.chat import ChatModel
from ...tools.language.question import Picture, Question
from ...tools.language.settings import ChatSettings
from ..settings import Settings
from .finding import Finding, ok, problem, warning

NUMBER = "7315"
"""In the test picture; no model guesses it."""
LOCAL = ("localhost", "127.0.0.1", "::1")


class Seen(Frozen):
    """What a model reads in the test picture."""

    number: str = Field(max_length=40)


async def look_at_chat(settings: Settings) -> list[Finding]:
    """Reachability with its latency, and sight; two short calls, the second from the cache where it can be."""
    if not settings.chats:
        return [ok("chat", "none: the embedded decomposer and critic, offline")]
    language, vision = settings.chat_settings(), settings.vision_settings()
    servers = (language,) if language == vision else (language, vision)
    findings = [unsafe for chat in servers if (unsafe := _unsafe(chat)) is not None]
    findings.append(await _reachable(language))
    if findings[-1].status == "ok" or language != vision:
        findings.append(await look_at_vision(vision))
    return findings


async def _reachable(chat: ChatSettings) -> Finding:
    import_module("langchain_openai")  # or its second of loading would count

    try:
        model, began = ChatModel(chat), perf_counter()
        await model.check()
    except DetailScribeError as error:
        return problem("chat", error)
    seconds = perf_counter() - began
    return ok("chat", f"{chat.name} answers in {seconds:.2g} s", seconds)


async def look_at_vision(chat: ChatSettings) -> Finding:
    """Whether the critic's model takes pictures, and whether it sees what is in them."""
    question = Question(
        name="vision_check",
        system="",
        text='Which number is written in the picture? Answer as JSON: {"number": "..."}',
        pictures=(Picture(picture_of_number(), "a test picture"),),
    )
    try:
        reply = await ChatModel(chat.model_copy(update={"attempts": 1, "max_tokens": 256})).ask(question, Seen)
    except ModelError as error:
        return problem("vision", error)
    except ReplyError as error:
        reason = shorten(error.reason, 120, placeholder=" ...")
        return warning("vision", f"{chat.name} takes pictures, but did not say what is in one: {reason}")
    if NUMBER not in reply.value.number:
        return warning("vision", f"{chat.name} takes pictures, but read {NUMBER} as {reply.value.number!r}")
    return ok("vision", f"{chat.name} sees pictures")


@cache
def picture_of_number() -> bytes:
    """A small PNG with ``NUMBER`` in black on white."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (256, 128), "white")
    ImageDraw.Draw(image).text((128, 64), NUMBER, "black", ImageFont.load_default(72), anchor="mm")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _unsafe(chat: ChatSettings) -> Finding | None:
    parts = urlsplit(chat.base_url or "https://")
    if chat.api_key is None or parts.scheme == "https" or parts.hostname in LOCAL:
        return None
    return warning("chat", f"the key goes to {chat.host} unencrypted: use https")
