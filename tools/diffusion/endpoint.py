"""Pictures from an OpenAI-compatible images endpoint (DALL·E 3, gpt-image, vLLM-Omni), drawn or edited."""

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
from .job import Job, mask_of

_LONGEST = 4000
"""Characters of a revised prompt that are kept."""


class EndpointDiffusion:
    """Draws and edits by asking a server (``POST /v1/images/generations`` and ``/v1/images/edits``); it cannot denoise
    again.

    Its records have no latent, count a drawing as one step, and say with ``seeded`` whether the seed had any effect.
    """

    evaluations_per_drawing = 0
    """No denoiser runs here, and the server does not report its own."""

    def __init__(
        self, server: ChatSettings, options: ImageOptions | None = None, extra: dict[str, Any] | None = None
    ) -> None:
        """``extra`` are more parameters of the request, such as ``num_inference_steps`` for vLLM-Omni; what concerns
        chat alone in ``server`` has no effect. ``ModelError`` without a key for OpenAI's own server."""
        self.settings, self.options, self._extra = server, options or ImageOptions(), extra or {}
        self.model: str = server.name
        self._server, self._editor = Server(server, IMAGES), Server(server, EDITS)

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """Carry an attempt out; ``keep_steps`` have no effect. An edit comes back in the size of its source.

        ``ModelError`` if server or model cannot be used, ``ReplyError`` if no picture came, and ``SettingsError`` for
        what only a model of one's own can do.
        """
        job = Job(attempt, store, source, progress)
        edited = await asyncio.to_thread(job.read_edited)
        if source is not None and edited is None:
            raise SettingsError(
                f"{self.model} gives no latents, so it cannot refine an image: "
                "use the policy 'best_of_n', which only draws, an edit, or a diffusion model of your own"
            )
        if asked := [name for name in ("stop_step", "steps", "guidance") if getattr(attempt, name) is not None]:
            raise SettingsError(
                f"{self.model} is a server that takes no {' and no '.join(asked)} (asked for {job.id!r}): "
                "leave it out, or use a diffusion model of your own"
            )
        began, options, server = perf_counter(), self.options, self.settings
        request = {"prompt": job.prompt, "model": server.model, "n": 1, "size": options.size}
        # DALL·E's pictures lie on another server unless they are asked for like this; its successors refuse the word.
        form = "b64_json" if server.model.startswith("dall-e") else None
        request |= {"quality": options.quality, "response_format": form}
        request |= {"seed": job.seed if options.send_seed else None} | self._extra
        given = {name: v for name, v in request.items() if v is not None}
        try:
            if edited is None:
                body, seconds = await self._server.post(given)
            else:
                body, seconds = await self._editor.post(given, self._files(job, edited))
            data, revised = await self._picture_in(body)
            picture = await asyncio.to_thread(picture_in, data)
            picture = picture if edited is None else job.fitted(picture, edited)
        except Declined as declined:
            words = declined.complaint.words
            raise ModelError(
                f"{server.host} takes no such request ({words}): change size, quality or extra parameters; {DOCTOR}"
            ) from None
        except (NoAnswer, ValueError) as none:
            prompt, reason = server.clean(job.prompt), brief(str(none))
            made: dict[str, Any] = {"seconds": perf_counter() - began, "no_reply": getattr(none, "transient", False)}
            asked = Exchange(model=server.name, prompt=prompt, reply="", **made)
            lack = f"{server.name} {'drew' if edited is None else 'edited'} no picture: {reason}"
            raise ReplyError(lack, reason=reason, raw="", exchanges=(asked,)) from None
        record = await asyncio.to_thread(
            job.write,
            picture,
            revised_prompt=revised,
            seeded=options.send_seed,
            steps=1,
            start_sigma=1.0,
            guidance=0.0,
            model=self.model,
            latent=None,
            evaluations=0,
            seconds=seconds,
            money=options.price,
        )
        job.report(1, 1)
        return record

    def _files(self, job: Job, edited: Image.Image) -> dict[str, tuple[str, bytes, str]]:
        """What is uploaded: the picture, without the record that its file carries, and a mask, clear where it may
        change."""
        pictures = {"image": edited}
        if self.options.mask and job.attempt.region is not None:
            pictures["mask"] = edited.convert("RGBA")
            pictures["mask"].putalpha(ImageOps.invert(mask_of(job.attempt.region, edited.size)))
        return {name: (f"{name}.png", picture_file(picture), "image/png") for name, picture in pictures.items()}

    async def _picture_in(self, body: dict[str, Any]) -> tuple[bytes, str | None]:
        """The first picture's file and the prompt as the server revised it."""
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
    """The bytes of base64, also of a data URL, with line breaks or without padding."""
    text = re.sub(r"\s+", "", text.partition(";base64,")[2] if text.startswith("data:") else text)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise NoAnswer(f"the reply is none of an images endpoint ({error})") from None
