"""What is put down about an image that is done, and where its data goes."""

from PIL import Image

from ...state import ImageRecord
from .engine_ticket import Done
from .jobs import Job
from .latents import Latents, final_reference, kept_reference
from .png import png_bytes


def write_image(job: Job, done: Done[Image.Image], model: str, latents: Latents) -> ImageRecord:
    """Write the picture and the latents of an image to its store; the record says how it was made.

    The picture is written last, so that what it says of itself is there.
    """
    request, store, sample = job.request, job.store, done.sample
    start, schedule = job.start_step, sample.schedule
    kept = {k: latents.write(store, kept_reference(request.id, k), x) for k, x in sorted(sample.kept.items())}
    record = ImageRecord(
        id=request.id,
        round=request.round,
        prompt=request.prompt,
        seed=request.seed,
        steps=schedule.steps,
        start_step=start,
        start_sigma=schedule.sigma(start),
        stop_step=sample.stop if sample.stop < schedule.steps else None,
        guidance=sample.guidance,
        width=done.result.width,
        height=done.result.height,
        model=model,
        path=f"images/{request.id}.png",
        latent=latents.write(store, final_reference(request.id), sample.final),
        trajectory=job.inherited | kept,
        evaluations=(sample.stop - start) * sample.rows,
        seconds=done.seconds,
        waited=done.waited,
        **job.lineage,
    )
    store.write(record.path, png_bytes(done.result, record))
    return record
