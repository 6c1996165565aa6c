"""From a request to the sample that the engine takes up."""

from typing import Any

import torch
from diffusers import StableDiffusion3Pipeline

from ...state import ImageRecord
from ..errors import ModelError, SettingsError
from ..roles import GenerateRequest, RedenoiseRequest
from .attention import mix_lengths
from .denoise import Sample
from .embeddings import Embedding, Encoder
from .jobs import Job
from .latents import Latents
from .noise import noise_for
from .operators import inject, resume
from .schedule import Schedule, make_schedule


class Samples:
    """Makes samples of requests; ``sample`` encodes prompts, so that the model's owner alone may call it.

    Args:
        pipe: The model.
        steps: N where a request names none.
        guidance: Its scale where a request names none.
        encoder: Of prompts.
        latents: Where latents are read.
        swap_pooled: See ``LocalDiffusion``.
    """

    def __init__(
        self,
        pipe: StableDiffusion3Pipeline,
        steps: int,
        guidance: float,
        encoder: Encoder,
        latents: Latents,
        swap_pooled: bool,
    ) -> None:
        config: Any = pipe.transformer.config
        self.shape: tuple[int, int, int] = (config.in_channels, config.sample_size, config.sample_size)
        self.device: torch.device = pipe._execution_device  # pyright: ignore[reportPrivateUsage] - knows of offloading
        self._pipe, self._tokens = pipe, (config.sample_size // config.patch_size) ** 2
        self._steps, self._guidance = steps, guidance
        self._encoder, self._latents, self._swap_pooled = encoder, latents, swap_pooled
        self._any_length = mix_lengths(pipe.transformer)
        self._schedules: dict[int, Schedule] = {}

    @property
    def evaluations_per_drawing(self) -> int:
        """Forward passes of the denoiser for a whole image, with the model's own steps and guidance."""
        return self._steps * (2 if self._guidance > 1 else 1)

    def sample(self, job: Job) -> Sample:
        """The image as it starts.

        Raises:
            MissingLatentError: x_k was not kept, or its file is gone.
            ModelError: the latent is of another model.
            SettingsError: a step is beyond the schedule, or the source has another schedule.
        """
        request, schedule = job.request, self.schedule(job.request.steps)
        stop = schedule.steps if request.stop_step is None else request.stop_step
        _check_steps(job, stop, schedule.steps)
        guidance = self._guidance if request.guidance is None else request.guidance
        prompt = self._prompt(job)
        return Sample(
            latent=self._start(job, schedule),
            step=job.start_step,
            stop=stop,
            schedule=schedule,
            prompt=prompt,
            negative=self._encoder.negative(prompt) if guidance > 1 else None,
            guidance=guidance,
            any_length=self._any_length,
            keep_steps=frozenset(request.keep_steps) | ({stop} if stop < schedule.steps else frozenset()),
        )

    def schedule(self, steps: int | None = None) -> Schedule:
        """The schedule of so many steps, by default of the model's own number."""
        wanted = self._steps if steps is None else steps
        if wanted < 1:
            raise SettingsError(f"an image takes at least 1 step, not {wanted}")
        if wanted not in self._schedules:
            self._schedules[wanted] = make_schedule(self._pipe.scheduler, wanted, self._tokens, self.device)
        return self._schedules[wanted]

    def _prompt(self, job: Job) -> Embedding:
        prompt = self._encoder.prompt(job.request.prompt)
        if self._swap_pooled or isinstance(job.request, GenerateRequest) or job.start_step == 0:
            return prompt
        return Embedding(prompt.tokens, self._encoder.prompt(job.request.source.prompt).pooled)

    def _start(self, job: Job, schedule: Schedule) -> torch.Tensor:
        """x_k that the request starts from, (channels, height, width)."""
        request = job.request
        if isinstance(request, GenerateRequest):
            return self._noise(request.seed)
        if request.operator == "resume":
            return self._read(job, resume(_same_schedule(request, schedule), request.start_step))
        return inject(self._read(job, request.source.latent), self._noise(request.seed), schedule, request.start_step)

    def _noise(self, seed: int) -> torch.Tensor:
        return noise_for(seed, self.shape, self._pipe.text_encoder.dtype, self.device)

    def _read(self, job: Job, reference: str | None) -> torch.Tensor:
        latent = self._latents.read(job.store, reference)
        if tuple(latent.shape) != self.shape:
            raise ModelError(f"a latent of shape {tuple(latent.shape)} is of another model; this one has {self.shape}")
        return latent.to(self.device, self._pipe.text_encoder.dtype)


def _check_steps(job: Job, stop: int, steps: int) -> None:
    start, id = job.start_step, job.request.id
    if not 0 <= start <= steps:
        raise SettingsError(f"there is no step {start} for {id!r} to start at: they go from 0 to {steps}")
    if stop > steps or stop < min(start + 1, steps):
        raise SettingsError(f"{id!r} starts at step {start} of {steps} and cannot stop at {stop}")


def _same_schedule(request: RedenoiseRequest, schedule: Schedule) -> ImageRecord:
    source, steps = request.source, schedule.steps
    if source.steps != steps:
        raise SettingsError(
            f"image {source.id!r} was drawn in {source.steps} steps and cannot be resumed in {steps}; "
            f"ask for steps={source.steps}, or use the operator 'inject'"
        )
    return source
