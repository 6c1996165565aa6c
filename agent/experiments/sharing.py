"""Draws what several runs ask for alike only once: variants on one prompt begin with the same drawings."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Any

from ...state import ImageRecord
from ...tools.roles import Diffusion, GenerateRequest, KnowsItsCost, Progress, RedenoiseRequest
from ...tools.store import Store
from ..traces.manifest import model_name

Request = GenerateRequest | RedenoiseRequest
Key = tuple[object, ...]
MEMORY = 256 * 2**20
"""Bytes of pictures and latents that are remembered, at most."""


@dataclass(frozen=True)
class _Made:
    """An image, apart from the run that it was made for."""

    record: ImageRecord
    files: dict[str, bytes]
    """By reference."""

    @property
    def size(self) -> int:
        return sum(map(len, self.files.values()))


class Sharing:
    """Another diffusion role that makes equal images once, and hands every run a copy under its own id.

    A copy's record tells the evaluations and seconds that the image took, so that each run's cost is what it would
    be alone. Images of a server that takes no seed are never shared.
    """

    def __init__(self, diffusion: Diffusion, memory: int = MEMORY) -> None:
        self._diffusion = diffusion
        self._memory = memory
        self._held = 0
        self._made: OrderedDict[Key, asyncio.Future[_Made | None]] = OrderedDict()

    @property
    def model(self) -> str:
        """The other role's."""
        return model_name(self._diffusion)

    async def generate(
        self, requests: Sequence[GenerateRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """One record for each request, in order."""

        async def one(request: GenerateRequest) -> ImageRecord:
            how = (request.keep_steps, request.stop_step, request.steps, request.guidance)
            key = ("draw", request.prompt, request.seed, *how)
            return await self._once(key, request, store, lambda: self._diffusion.generate([request], store, progress))

        return list(await asyncio.gather(*map(one, requests)))

    async def redenoise(
        self, requests: Sequence[RedenoiseRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """One record for each request, in order."""

        async def one(request: RedenoiseRequest) -> ImageRecord:
            start = _start_of(request, store)
            if start is None:
                [image] = await self._diffusion.redenoise([request], store, progress)
                return image
            how = (request.keep_steps, request.stop_step, request.steps, request.guidance)
            key = (request.operator, request.start_step, start, request.prompt, request.seed, *how)
            return await self._once(key, request, store, lambda: self._diffusion.redenoise([request], store, progress))

        return list(await asyncio.gather(*map(one, requests)))

    async def _once(
        self, key: Key, request: Request, store: Store, make: Callable[[], Awaitable[list[ImageRecord]]]
    ) -> ImageRecord:
        """A copy of what was made or is being made; made now where nothing was, or where that came to nothing."""
        if key in self._made:
            self._made.move_to_end(key)
            made = await asyncio.shield(self._made[key])
            if made is not None:
                return await asyncio.to_thread(_copied, made, request, store)
            [image] = await make()
            return image
        promise = self._made[key] = asyncio.get_running_loop().create_future()
        try:
            [image] = await make()
            self._keep(key, promise, await asyncio.to_thread(_taken, image, store))
        finally:
            if not promise.done():
                self._made.pop(key, None)
                promise.set_result(None)
        return image

    def _keep(self, key: Key, promise: "asyncio.Future[_Made | None]", made: _Made) -> None:
        if not made.record.seeded:
            return
        promise.set_result(made)
        self._held += made.size
        for old in [k for k in self._made if k != key]:
            if self._held <= self._memory:
                return
            if self._made[old].done():
                forgotten = self._made.pop(old).result()
                self._held -= forgotten.size if forgotten else 0


class SharingAtKnownCost(Sharing):
    """The same for a role that tells what a drawing costs."""

    def __init__(self, diffusion: Diffusion, evaluations: int) -> None:
        super().__init__(diffusion)
        self.evaluations_per_drawing = evaluations
        """Forward passes of the denoiser for one full drawing; a guided step counts two."""


def sharing(diffusion: Diffusion) -> Sharing:
    """``diffusion``, with equal images made once."""
    if isinstance(diffusion, KnowsItsCost):
        return SharingAtKnownCost(diffusion, diffusion.evaluations_per_drawing)
    return Sharing(diffusion)


def _start_of(request: RedenoiseRequest, store: Store) -> str | None:
    """Hash of the latent that it starts from; None where the image could not be told apart from its source's run."""
    source = request.source
    if any(k < request.start_step for k in request.keep_steps):
        return None  # it would refer to latents of its source
    reference = source.latent if request.operator == "inject" else source.trajectory.get(request.start_step)
    if reference is None or not store.path(reference).exists():
        return None
    return sha256(store.read(reference)).hexdigest()


def _taken(image: ImageRecord, store: Store) -> _Made:
    references = [image.path, *([image.latent] if image.latent else []), *image.trajectory.values()]
    return _Made(
        image, {reference: store.read(reference) for reference in references if store.path(reference).exists()}
    )


def _copied(made: _Made, request: Request, store: Store) -> ImageRecord:
    """The image under the id of ``request``, in its store."""
    from PIL import Image

    from ...tools.diffusion.png import png_bytes

    def own(reference: str) -> str:
        folder, _, name = reference.rpartition("/")
        return f"{folder}/{name.replace(made.record.id, request.id, 1)}"

    record = made.record.model_copy(update=_lineage(request) | _references(made.record, own))
    for reference, data in made.files.items():
        if reference != made.record.path:
            store.write(own(reference), data)
    with Image.open(BytesIO(made.files[made.record.path])) as picture:
        store.write(record.path, png_bytes(picture, record))
    return record


def _lineage(request: Request) -> dict[str, Any]:
    common: dict[str, Any] = {"id": request.id, "round": request.round}
    if isinstance(request, RedenoiseRequest):
        return common | {"parent": request.source.id}
    return common | {"parent": request.parent, "origin": "reseed" if request.parent else "generate"}


def _references(image: ImageRecord, own: Callable[[str], str]) -> dict[str, Any]:
    return {
        "path": own(image.path),
        "latent": image.latent and own(image.latent),
        "trajectory": {k: own(reference) for k, reference in image.trajectory.items()},
    }
