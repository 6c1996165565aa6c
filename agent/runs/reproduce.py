"""Makes an image of a run again from its record, and compares it with the original."""

import asyncio
import math
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ...state import ImageRecord
from ...tools.blocking import blocking
from ...tools.errors import SettingsError, typed
from ...tools.files import Store, copy_file, picture_in
from ...tools.roles import Diffusion, model_name, ready
from ..records.reader import RecordedRun, read_run
from ..settings.loading import with_secrets
from ..settings.models import Models

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Difference:
    """How two pictures of one size differ."""

    largest: int
    """Of any pixel in any channel, 0 to 255."""
    psnr: float
    """Peak signal-to-noise ratio in dB; infinite for identical pictures. Above 40 the eye sees no difference."""

    @property
    def identical(self) -> bool:
        """Whether every pixel is the same."""
        return self.largest == 0


@dataclass(frozen=True)
class Reproduction:
    """An image that was made again."""

    image: str
    """Its id."""
    difference: Difference
    """Against the picture in the run folder."""
    made: tuple[str, ...]
    """Ids of the images that were made: ancestors whose latents are missing, and the image itself."""
    model_then: str
    """Name and content hash of the diffusion model that made it."""
    model_now: str
    """Of the one that made it again."""
    path: Path | None
    """The new picture; None where it is not kept."""


@typed
async def areproduce(
    folder: Path | str, image: str, *, diffusion: Diffusion | None = None, out: Path | str | None = None
) -> Reproduction:
    """Make an image of the run in ``folder`` again; where the files of its source are missing, that first.

    Args:
        folder: The run folder; nothing in it is changed.
        image: The image's id.
        diffusion: The one that the run was given, if any.
        out: Folder for the new picture and its latents; nothing is kept unless given.

    Raises:
        DetailScribeError: the user can mend it, such as an unknown image; the message says how.
    """
    run = read_run(folder)
    record = run.images.get(image)
    if record is None:
        raise SettingsError(f"the run in {folder} has no image {image!r}; it has {', '.join(run.images) or 'none'}")
    while record.origin == "look":
        record = run.images[record.parent or ""]
    _pixels(run.path(image))  # before anything is drawn, since it may be missing
    drawer = diffusion or await ready(Models(with_secrets(run.manifest.settings)).diffusion)
    with TemporaryDirectory(prefix="detailscribe-") if out is None else nullcontext(out) as place:
        store = Store(place)
        made = await _draw_again(run, record, drawer, store)
        path = store.path(made[-1].path)
        return Reproduction(
            image=image,
            difference=await asyncio.to_thread(difference, run.path(image), path),
            made=tuple(record.id for record in made),
            model_then=record.model,
            model_now=model_name(drawer),
            path=None if out is None else path,
        )


reproduce = blocking(areproduce)


async def _draw_again(
    run: RecordedRun, record: ImageRecord, diffusion: Diffusion, store: Store, keep: tuple[int, ...] = ()
) -> list[ImageRecord]:
    """Draw an image of a run again in another store, with x_k kept at these steps, after those of its ancestors whose
    files are missing; all images that were drawn."""
    if record.operator is None:
        return [await diffusion.draw(record.attempt(keep), store)]
    source, made, files = run.images[record.parent or ""], list[ImageRecord](), Store(run.folder)
    if record.operator != "resume":
        needed = {source.path if record.operator == "edit" else source.latent: None}
    else:
        # Steps before its start are its source's too.
        steps = {record.start_step, *(k for k in keep if k < record.start_step)}
        needed = {source.trajectory.get(k): k for k in sorted(steps)}
        needed |= {source.latent: None} if record.region else {}
    present = {reference for reference in needed if reference is not None and files.path(reference).exists()}
    if present == needed.keys():
        for reference in present:
            copy_file(files.path(reference), store.path(reference))
    else:
        kept = tuple(k for k in needed.values() if k is not None)
        made = await _draw_again(run, source, diffusion, store, kept)
        source = made[-1]
    return [*made, await diffusion.draw(record.attempt(keep), store, source=source)]


def difference(before: Path, now: Path) -> Difference:
    """How two pictures differ; ``SettingsError`` if their sizes do, or one cannot be read."""
    import numpy as np

    first, second = _pixels(before), _pixels(now)
    if first.size != second.size:
        sizes = " instead of ".join(f"{picture.width}x{picture.height}" for picture in (second, first))
        raise SettingsError(f"made again, the picture has another size: {sizes}")
    apart = np.asarray(first, float) - np.asarray(second, float)
    error = float(np.square(apart).mean())
    return Difference(int(np.abs(apart).max()), 10 * math.log10(255**2 / error) if error else math.inf)


def _pixels(path: Path) -> "Image":
    try:
        return picture_in(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be compared with: {error}") from error
