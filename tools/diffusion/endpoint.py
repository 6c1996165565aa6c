"""Pictures from an OpenAI-compatible images endpoint (DALL·E 3, gpt-image, vLLM-Omni): a generator to compare with."""

import asyncio
from collections.abc import Sequence

from ...state import ImageRecord
from ..errors import SettingsError
from ..roles import GenerateRequest, Progress, RedenoiseRequest
from ..store import Store
from .endpoint_server import Drawn, EndpointServer, EndpointSettings
from .png import png_bytes

_WHOLE = 1
"""What a record says of a drawing whose steps nobody tells: that it was one."""


class EndpointDiffusion:
    """Draws by asking a server; it can draw, and that is all it can do.

    Its records have no latent, take a drawing for one step, and say with ``seeded`` whether the seed meant anything.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        """Raises ``ModelError`` if OpenAI's own server is to be used and no key is there."""
        self.settings = settings
        self.model: str = settings.server.name
        self._server = EndpointServer(settings)

    @property
    def evaluations_per_drawing(self) -> int:
        """0: no denoiser runs here, and the server does not tell of its own."""
        return 0

    async def generate(
        self, requests: Sequence[GenerateRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """One record for each request, in order; ``keep_steps`` have no effect.

        Raises:
            ModelError: the server or the model cannot be used.
            ReplyError: the server gave no picture.
            SettingsError: a request asks for what only a model of one's own can do.
        """
        for request in requests:
            self._check(request)
        drawing = (self._draw(request, store, progress) for request in requests)
        # All are awaited before an error is raised, so that none is paid for behind the caller's back.
        drawn = await asyncio.gather(*drawing, return_exceptions=True)
        return [_record_or_raise(outcome) for outcome in drawn]

    async def redenoise(
        self, requests: Sequence[RedenoiseRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """Refuses: raises ``SettingsError`` if there is any request."""
        if not requests:
            return []
        raise SettingsError(
            f"{self.model} draws anew and cannot take an image up again, for it gives no latents: "
            "use the policy 'best_of_n', which only draws, or a diffusion model of your own"
        )

    def _check(self, request: GenerateRequest) -> None:
        asked = [name for name in ("stop_step", "steps", "guidance") if getattr(request, name) is not None]
        if asked:
            raise SettingsError(
                f"{self.model} is a server that takes no {' and no '.join(asked)} (asked for {request.id!r}): "
                "leave it out, or use a diffusion model of your own"
            )

    async def _draw(self, request: GenerateRequest, store: Store, progress: Progress | None) -> ImageRecord:
        drawn = await self._server.draw(request.prompt, request.seed)
        record = self._record(request, drawn)
        await asyncio.to_thread(lambda: store.write(record.path, png_bytes(drawn.picture, record)))
        if progress is not None:
            progress(request.id, _WHOLE, _WHOLE)
        return record

    def _record(self, request: GenerateRequest, drawn: Drawn) -> ImageRecord:
        return ImageRecord(
            id=request.id,
            round=request.round,
            origin="generate" if request.parent is None else "reseed",
            parent=request.parent,
            prompt=request.prompt,
            revised_prompt=drawn.revised_prompt,
            seed=request.seed,
            seeded=self.settings.send_seed,
            steps=_WHOLE,
            start_step=0,
            start_sigma=1.0,
            guidance=0.0,
            width=drawn.picture.width,
            height=drawn.picture.height,
            model=self.model,
            path=f"images/{request.id}.png",
            latent=None,
            evaluations=0,
            seconds=drawn.seconds,
            money=self.settings.price,
        )


def _record_or_raise(outcome: ImageRecord | BaseException) -> ImageRecord:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
