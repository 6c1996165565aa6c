"""Draws and edits with an OpenAI-compatible images endpoint (DALL·E 3, gpt-image, vLLM-Omni)."""

import asyncio
import base64
import re
from time import perf_counter
from typing import Any, cast

from PIL import Image, ImageOps

from ...state import Attempt, Exchange, ImageRecord
from ..errors import ModelError, ReplyError, SettingsError
from ..files import Store, picture_file, picture_in
from ..language.failures import DOCTOR, EDITS, IMAGES, Declined, NoAnswer
from ..language.settings import ChatSettings, ImageOptions
from ..language.wire import Server
from ..roles import Progress
from ..text import brief
from .job import DrawJob, mask_of

_LONGEST = 4000
"""Characters of a revised prompt that are kept, at most."""


class EndpointDiffusion:
    """Draws and edits on a server (``POST /v1/images/generations`` and ``/v1/images/edits``); it cannot refine.

    Its records have no latent, count a drawing as one step, and state in ``seeded`` whether the seed was sent.
    """

    evaluations_per_drawing = 0
    """No denoiser runs here, and the server does not report its own."""

    def __init__(
        self, server: ChatSettings, options: ImageOptions | None = None, extra: dict[str, Any] | None = None
    ) -> None:
        """``extra`` are further parameters of the request, such as ``num_inference_steps`` for vLLM-Omni; settings of
        ``server`` for chat have no effect. ``ModelError`` without a key for OpenAI's own server."""
        self.settings, self.options, self._extra = server, options or ImageOptions(), extra or {}
        self.model: str = server.name
        self._server, self._editor = Server(server, IMAGES), Server(server, EDITS)

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """Draw or edit; ``keep_steps`` have no effect. An edit has the size of its source.

        ``ModelError`` if server or model cannot be used, ``ReplyError`` if no picture came, and ``SettingsError`` for
        what only a local model can do.
        """
        job = DrawJob(attempt, store, source, progress)
        edited = await asyncio.to_thread(job.read_edited)
        if source is not None and edited is None:
            advice = "use the policy 'best_of_n', which only draws, an edit, or a diffusion model of your own"
            raise SettingsError(f"{self.model} gives no latents, so it cannot refine an image: {advice}")
        if unused := [name for name in ("stop_step", "steps", "guidance") if getattr(attempt, name) is not None]:
            takes = f"{self.model} is a server that takes no {' and no '.join(unused)} (asked for {job.id!r})"
            raise SettingsError(f"{takes}: leave it out, or use a diffusion model of your own")
        began, options, server = perf_counter(), self.options, self.settings
        request = {"prompt": job.prompt, "model": server.model, "n": 1, "size": options.size}
        # DALL·E returns URLs of another server unless base64 is requested; its successors refuse the parameter.
        form = "b64_json" if server.model.startswith("dall-e") else None
        request |= {"quality": options.quality, "response_format": form}
        request |= {"seed": job.seed if options.send_seed else None} | self._extra
        request = {name: value for name, value in request.items() if value is not None}
        try:
            if edited is None:
                body, seconds = await self._server.post(request)
            else:
                body, seconds = await self._editor.post(request, self._files(job, edited))
            data, revised = await self._picture_in(body)
            picture = await asyncio.to_thread(picture_in, data)
            picture = picture if edited is None else job.fitted(picture, edited)
        except Declined as declined:
            refusal = f"{server.host} takes no such request ({declined.complaint.words})"
            raise ModelError(f"{refusal}: change size, quality or extra parameters; {DOCTOR}") from None
        except (NoAnswer, ValueError) as error:
            prompt, reason = server.clean(job.prompt), brief(str(error))
            made: dict[str, Any] = {"seconds": perf_counter() - began, "no_reply": getattr(error, "transient", False)}
            exchange = Exchange(model=server.name, prompt=prompt, reply="", **made)
            message = f"{server.name} {'drew' if edited is None else 'edited'} no picture: {reason}"
            raise ReplyError(message, reason=reason, raw="", exchanges=(exchange,)) from None
        made = {"model": self.model, "latent": None, "steps": 1, "start_sigma": 1.0, "guidance": 0.0, "evaluations": 0}
        made |= {"seeded": options.send_seed, "revised_prompt": revised, "seconds": seconds, "money": options.price}
        record = await asyncio.to_thread(job.write, picture, **made)
        job.report(1, 1)
        return record

    def _files(self, job: DrawJob, edited: Image.Image) -> dict[str, tuple[str, bytes, str]]:
        """The files to upload: the picture without its record, and a mask, transparent where it may change."""
        pictures = {"image": edited}
        if self.options.mask and job.attempt.region is not None:
            pictures["mask"] = edited.convert("RGBA")
            pictures["mask"].putalpha(ImageOps.invert(mask_of(job.attempt.region, edited.size)))
        return {name: (f"{name}.png", picture_file(picture), "image/png") for name, picture in pictures.items()}

    async def _picture_in(self, body: dict[str, Any]) -> tuple[bytes, str | None]:
        """The file of the first picture, and the prompt as revised by the server."""
        pictures = body.get("data") or body.get("images")
        first: Any = cast("list[Any]", pictures)[0] if isinstance(pictures, list) else None
        if not isinstance(first, dict):
            raise NoAnswer("the reply holds no picture")
        first = cast("dict[str, Any]", first)
        revised = first.get("revised_prompt")
        revised = self.settings.clean(revised)[:_LONGEST] if isinstance(revised, str) and revised else None
        data, url = str(first.get("b64_json") or ""), str(first.get("url") or "")
        if data or url.startswith("data:"):
            return _decoded(data or url), revised
        if not url.startswith(("https://", "http://")):
            raise NoAnswer("the reply holds neither a picture nor its URL")
        return await self._server.fetch(url, self.options.picture_hosts), revised


def _decoded(text: str) -> bytes:
    """Decodes base64 or a data URL, with line breaks or without padding."""
    text = re.sub(r"\s+", "", text.partition(";base64,")[2] if text.startswith("data:") else text)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise NoAnswer(f"the reply is none of an images endpoint ({error})") from None
