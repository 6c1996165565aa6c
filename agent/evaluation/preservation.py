"""What a refinement keeps: the checks that passed, and the pixels outside of what was wrong."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...state import Answer, Box, Critique, ImageRecord, Region
from ...tools.diffusion.job import mask_of
from ...tools.files import Store

if TYPE_CHECKING:
    from PIL.Image import Image

    from ...tools.metrics.local import Lpips


def kept(before: Mapping[str, Answer], after: Mapping[str, Answer]) -> float | None:
    """Of the checks that passed before, the share that pass after, in [0, 1]; None where none passed."""
    passed = [check for check, answer in before.items() if answer == "pass"]
    return sum(after.get(check) == "pass" for check in passed) / len(passed) if passed else None


def changed_outside(before: "Image", after: "Image", faults: Sequence[Box]) -> float | None:
    """Mean difference of pixels, in [0, 1], outside of what was wrong; None if that is nowhere, or sizes differ."""
    import numpy as np

    if not faults or before.size != after.size:
        return None
    outside = np.asarray(mask_of(Region(boxes=tuple(faults)), before.size)) == 0
    apart = np.abs(np.asarray(before.convert("RGB"), float) - np.asarray(after.convert("RGB"), float)) / 255
    return float(apart[outside].mean()) if outside.any() else None


def changes(
    source: ImageRecord, looked: Critique, image: ImageRecord, store: Store, network: "Lpips | None" = None
) -> dict[str, float | None]:
    """What a refinement changes: ``outside_changed`` and, where there is a network, ``lpips``.

    ``OSError`` or ``ValueError`` if there is no picture to compare with.
    """
    before, after = (store.picture(one.path) for one in (source, image))
    found = {"outside_changed": changed_outside(before, after, looked.faults)}
    return found if network is None else found | {"lpips": network.distance(before, after)}
