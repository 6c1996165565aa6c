"""Loads the trained networks and shows them pictures."""

import io
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load

from ...state import ImageRecord
from ..errors import ModelError
from ..one_thread import one_thread
from ..store import Store
from .detectors import AttentionDetector, ConvolutionalDetector
from .reading import Sights, sights
from .vocabulary import SIZE

WEIGHTS = Path(__file__).parent / "weights"
"""The trained models inside the package."""

_NETWORKS = {"critic": ConvolutionalDetector, "judge": AttentionDetector}


class Eyes:
    """A trained network that says what is in pictures."""

    def __init__(self, network: torch.nn.Module, model: str) -> None:
        self._network = network.eval()
        self.model = model
        """Name and content hash."""

    @classmethod
    def load(cls, name: Literal["critic", "judge"], folder: Path | None = None) -> "Eyes":
        """The network of that name.

        Raises:
            ModelError: its weights are missing, corrupt or of another shape.
        """
        return _load(name, folder or WEIGHTS)

    def look(self, pictures: Sequence[Image.Image]) -> list[Sights]:
        """What may be in each picture; pictures of another size are resized first."""
        arrays = [np.asarray(p.convert("RGB").resize((SIZE, SIZE))) for p in pictures]
        with one_thread(), torch.inference_mode():
            batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
            return sights(self._network(batch))


@cache
def _load(name: Literal["critic", "judge"], folder: Path) -> Eyes:
    path = folder / f"{name}.safetensors"
    try:
        data = path.read_bytes()
        with one_thread():
            network = _NETWORKS[name]()
            network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load(data).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise ModelError(f"the weights of the embedded {name} cannot be read from {path}: {why}") from error
    return Eyes(network, f"embedded-{name}@{sha256(data).hexdigest()[:12]}")


def read_picture(store: Store, image: ImageRecord) -> Image.Image:
    """The pixels of an image, RGB."""
    with Image.open(io.BytesIO(store.read(image.path))) as picture:
        return picture.convert("RGB")
