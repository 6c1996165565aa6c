"""LPIPS (arXiv 1801.03924): how different two pictures look to AlexNet; 0 for the same picture."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError

if TYPE_CHECKING:
    from PIL.Image import Image

_LAYERS = (
    *(("net.slice1.0", 4, 2), ("net.slice2.3", 1, 2), ("net.slice3.6", 1, 1)),
    *(("net.slice4.8", 1, 1), ("net.slice5.10", 1, 1)),
)
"""Name, stride and padding of each convolution; the first three are followed by a pool of 3 with a stride of 2."""

_SMALLEST = 63
"""Pixels of a side."""


class Lpips:
    """The distance, by the weights of the package ``lpips``, saved with safetensors' ``save_model``.

    Raises:
        ModelError: the file cannot be read, or holds other weights.
    """

    model: str
    """Name and hash of the weights."""

    def __init__(self, file: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            data = file.read_bytes()
            weights, self.model = load(data), f"lpips@{hashlib.sha256(data).hexdigest()[:8]}"
            self._layers = [
                (weights[f"{name}.weight"], weights[f"{name}.bias"], weights[f"lin{n}.model.1.weight"], stride, padding)
                for n, (name, stride, padding) in enumerate(_LAYERS)
            ]
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelError(
                f"{file} has no weights of LPIPS ({error}): save them with"
                " safetensors.torch.save_model(lpips.LPIPS(net='alex'), FILE)"
            ) from error

    def distance(self, first: "Image", second: "Image") -> float | None:
        """Of two pictures; None where they are of different sizes, or smaller than the network can read."""
        import numpy as np
        import torch
        from torch.nn.functional import conv2d, max_pool2d, normalize

        if first.size != second.size or min(first.size) < _SMALLEST:
            return None
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        pixels = np.stack([np.asarray(one.convert("RGB"), np.float32) for one in (first, second)])
        hidden = (torch.from_numpy(pixels / 127.5 - 1) - shift).div(scale).permute(0, 3, 1, 2)
        total = 0.0
        with torch.inference_mode():
            for n, (weight, bias, linear, stride, padding) in enumerate(self._layers):
                hidden = max_pool2d(hidden, 3, 2) if n in (1, 2) else hidden
                hidden = conv2d(hidden, weight, bias, stride, padding).relu()
                a, b = normalize(hidden, dim=1, eps=1e-10)
                total += float(conv2d((a - b).square()[None], linear).mean())
        return total
