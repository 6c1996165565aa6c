"""Images that lie in the run folder already: made before a kill, and not yet told to the state."""

from ...state import ImageRecord
from ...tools.diffusion.png import read_record
from ...tools.roles import GenerateRequest, RedenoiseRequest
from ...tools.store import Store

Request = GenerateRequest | RedenoiseRequest


def image_made_for(request: Request, model: str, store: Store) -> ImageRecord | None:
    """The image that this model made for this very request, with all its latents; None where there is none.

    A picture is written last and says how it was made, so that one that is there has everything it names.
    """
    try:
        record = read_record(store.path(f"images/{request.id}.png"))
    except (OSError, ValueError):
        return None
    files = [record.path, *record.trajectory.values(), *([record.latent] if record.latent else [])]
    there = all(store.path(file).is_file() for file in files)
    return record if there and record.model == model and _answers(record, request) else None


def _answers(record: ImageRecord, request: Request) -> bool:
    """Whether the record says what was asked for."""
    if isinstance(request, RedenoiseRequest):
        lineage = ("refine", request.source.id, request.operator, request.start_step)
    else:
        lineage = ("generate" if request.parent is None else "reseed", request.parent, None, 0)
    steps, guidance = request.steps or record.steps, request.guidance
    return (
        (record.origin, record.parent, record.operator, record.start_step) == lineage
        and (record.id, record.round) == (request.id, request.round)
        and (record.prompt, record.seed) == (request.prompt, request.seed)
        and record.steps == steps
        and record.guidance == (record.guidance if guidance is None else guidance)
        and record.stop_step == (None if request.stop_step == steps else request.stop_step)
    )
