"""One images endpoint: what is sent, and the picture in what comes back."""

import asyncio
import base64
import io
import re
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

from PIL import Image
from pydantic import Field

from ...state import Exchange, Frozen
from ..errors import ModelError, ReplyError
from ..language.failures import DOCTOR, IMAGES, Declined, NoAnswer, one_line
from ..language.settings import ChatSettings
from ..language.wire import Server


class EndpointSettings(Frozen):
    """One model behind ``POST /v1/images/generations``."""

    server: ChatSettings
    """Model, URL, key, time limit, retries and concurrency; what concerns chat alone has no effect."""
    size: str | None = Field(default="1024x1024", pattern=r"^(auto|\d+x\d+)$")
    """Width and height in pixels, or ``auto``; None leaves it to the server."""
    quality: str | None = None
    """Such as ``hd`` or ``high``; None leaves it to the server."""
    price: float = Field(default=0.0, ge=0)
    """In US dollars for one image; it depends on model, size and quality, and is the caller's to look up."""
    send_seed: bool = False
    """Whether the server takes a ``seed``, as vLLM-Omni does; OpenAI's own refuses it."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """More parameters of the request, such as ``num_inference_steps`` for vLLM-Omni."""


@dataclass(frozen=True)
class Drawn:
    """One picture as it came."""

    picture: Image.Image
    revised_prompt: str | None
    """What the server says it made of the prompt; None if it says nothing."""
    seconds: float
    """Wall time with the retries of the transport."""


class EndpointServer:
    """Asks for pictures; holds the cap on calls in flight.

    Raises:
        ModelError: OpenAI's own server is to be used and no key is there.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self._server = Server(settings.server, IMAGES)

    async def draw(self, prompt: str, seed: int) -> Drawn:
        """One picture of the prompt.

        Raises:
            ModelError: the server or the model cannot be used.
            ReplyError: no picture came, also after the transport's retries.
        """
        began, server = perf_counter(), self.settings.server
        try:
            body, seconds = await self._server.post({"prompt": prompt, **self._wire(seed)})
            data, revised = await self._picture_in(body)
            picture = await asyncio.to_thread(_decode, data)
        except Declined as declined:
            words = declined.complaint.words
            raise ModelError(
                f"{server.host} takes no such request ({words}): change size, quality or extra parameters; {DOCTOR}"
            ) from None
        except NoAnswer as none:
            asked = Exchange(model=server.name, prompt=server.clean(prompt), reply="", seconds=perf_counter() - began)
            raise ReplyError(
                f"{server.name} drew no picture: {none.reason}", reason=none.reason, raw="", exchanges=(asked,)
            ) from None
        return Drawn(picture, revised, seconds)

    def _wire(self, seed: int) -> dict[str, Any]:
        settings = self.settings
        asked = {"model": settings.server.model, "n": 1, "size": settings.size, "quality": settings.quality}
        seeded = {"seed": seed} if settings.send_seed else {}
        return {name: value for name, value in (asked | seeded | settings.extra).items() if value is not None}

    async def _picture_in(self, body: dict[str, Any]) -> tuple[bytes, str | None]:
        """The first picture's file and the prompt as the server revised it."""
        pictures = body.get("data") or body.get("images")
        first: Any = cast("list[Any]", pictures)[0] if isinstance(pictures, list) else None
        if not isinstance(first, dict):
            raise NoAnswer("the reply holds no picture")
        first = cast("dict[str, Any]", first)
        revised = first.get("revised_prompt")
        revised = self.settings.server.clean(revised) if isinstance(revised, str) and revised else None
        data, url = str(first.get("b64_json") or ""), str(first.get("url") or "")
        if data or url.startswith("data:"):
            return _decoded(data or url), revised
        if not url.startswith(("https://", "http://")):
            raise NoAnswer("the reply holds neither a picture nor its URL")
        return await self._server.fetch(url), revised


def _decoded(text: str) -> bytes:
    """The bytes of base64, also of a data URL, with line breaks or without padding."""
    text = re.sub(r"\s+", "", text.partition(";base64,")[2] if text.startswith("data:") else text)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise NoAnswer(f"the reply is none of an images endpoint ({error})") from None


def _decode(data: bytes) -> Image.Image:
    """The picture in a file, on white where it is transparent."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.mode.startswith("I;16"):
                return picture.point(lambda value: value / 256).convert("RGB")
            if not picture.has_transparency_data:
                return picture.convert("RGB")
            clear = picture.convert("RGBA")
            white = Image.new("RGBA", clear.size, "white")
            return Image.alpha_composite(white, clear).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise NoAnswer(f"what came is no picture ({one_line(str(error))})") from None
