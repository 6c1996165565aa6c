"""Pictures from an OpenAI-compatible images endpoint (DALL·E 3, gpt-image, vLLM-Omni): a generator to compare with."""

import asyncio

from ...state import Attempt, ImageRecord
from ..errors import SettingsError
from ..files import Store
from ..roles import Progress
from .endpoint_server import EndpointServer, EndpointSettings
from .job import Job


class EndpointDiffusion:
    """Draws by asking a server; it cannot refine.

    Its records have no latent, count a drawing as one step, and say with ``seeded`` whether the seed had any effect.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        """Raises ``ModelError`` if OpenAI's own server is to be used and no key is there."""
        self.settings = settings
        self.model: str = settings.server.name
        self._server = EndpointServer(settings)

    @property
    def evaluations_per_drawing(self) -> int:
        """0: no denoiser runs here, and the server does not report its own."""
        return 0

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """Carry an attempt out; ``keep_steps`` have no effect.

        Raises:
            ModelError: the server or the model cannot be used.
            ReplyError: the server gave no picture.
            SettingsError: the attempt asks for what only a model of one's own can do.
        """
        job = Job(attempt, store, source, progress)
        if source is not None:
            raise SettingsError(
                f"{self.model} gives no latents, so it cannot refine an image: "
                "use the policy 'best_of_n', which only draws, or a diffusion model of your own"
            )
        if asked := [name for name in ("stop_step", "steps", "guidance") if getattr(attempt, name) is not None]:
            raise SettingsError(
                f"{self.model} is a server that takes no {' and no '.join(asked)} (asked for {job.id!r}): "
                "leave it out, or use a diffusion model of your own"
            )
        drawn = await self._server.draw(job.prompt, job.seed)
        record = await asyncio.to_thread(
            job.write,
            drawn.picture,
            revised_prompt=drawn.revised_prompt,
            seeded=self.settings.send_seed,
            steps=1,
            start_sigma=1.0,
            guidance=0.0,
            model=self.model,
            latent=None,
            evaluations=0,
            seconds=drawn.seconds,
            money=self.settings.price,
        )
        job.report(1, 1)
        return record
