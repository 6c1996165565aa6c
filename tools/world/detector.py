"""The networks of critic and judge: two architectures that detect things in pictures.

Both return ``Logits``. The position of a thing is the cell of its upper left corner; its size follows from its noun.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from ..blocking import one_thread
from ..errors import ModelError
from ..roles import LOADING
from ..text import brief
from .reading import Detection, Detections
from .scene import Thing
from .vocabulary import COLOURS, GRID, NOUNS, PLACES, SIZE

WEIGHTS = Path(__file__).parent / "weights"
"""The trained models inside the package."""
_OUTPUTS = len(NOUNS) + len(COLOURS) + 1
_FAINT = 0.02
"""Things less likely than this are ignored."""


@dataclass(frozen=True)
class Logits:
    """A network's output for n pictures, as logits."""

    nouns: Tensor
    """(n, nouns, GRID, GRID): a thing of the noun has its upper left corner here; one sigmoid each."""
    colours: Tensor
    """(n, colours, GRID, GRID): colour of the coloured thing whose corner is here; a softmax."""
    strange: Tensor
    """(n, GRID, GRID): the cell shows something that belongs to no whole thing; a sigmoid."""
    places: Tensor
    """(n, places): the backdrop; a softmax."""


def _logits(cells: Tensor, places: Tensor) -> Logits:
    nouns, colours, strange = cells.split((len(NOUNS), len(COLOURS), 1), dim=1)
    return Logits(nouns, colours, strange[:, 0], places)


class ConvolutionalDetector(nn.Module):
    """The critic's network: convolutions down to one place a cell, then residual context."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, 24, 3, 2), *_convolution(24, 48, 3, 2), *_convolution(48, 96, 3, 2))
        self.to_cells = nn.Sequential(*_convolution(96, width, 3, 3, padding=0))
        self.context = nn.ModuleList(
            nn.Sequential(*_convolution(width, width, 3, 1), *_convolution(width, width, 3, 1)) for _ in range(2)
        )
        self.cells = nn.Conv2d(width, _OUTPUTS, 1)
        self.places = nn.Linear(width, len(PLACES))

    def forward(self, pictures: Tensor) -> Logits:
        """Pictures (n, 3, SIZE, SIZE) in [-1, 1]."""
        hidden = self.to_cells(self.stem(pictures))
        for block in self.context:
            hidden = hidden + block(hidden)
        return _logits(self.cells(hidden), self.places(hidden.mean((2, 3))))


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, padding: int | None = None) -> list[nn.Module]:
    padding = kernel // 2 if padding is None else padding
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.SiLU()]


class AttentionDetector(nn.Module):
    """The judge's network: a token for each cell from a shallow convolutional stem ("Early Convolutions Help
    Transformers See Better", arXiv 2106.14881), then a vision transformer."""

    def __init__(self, width: int = 128, layers: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_convolution(3, 48, 4, 4, padding=0), *_convolution(48, 96, 3, 2), nn.Conv2d(96, width, 3, 3)
        )
        self.positions = nn.Parameter(0.02 * torch.randn(1, GRID * GRID, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 3 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.cells = nn.Conv2d(width, _OUTPUTS, 1)
        self.places = nn.Linear(width, len(PLACES))

    def forward(self, pictures: Tensor) -> Logits:
        """Pictures (n, 3, SIZE, SIZE) in [-1, 1]."""
        hidden = self.encoder(self.stem(pictures).flatten(2).transpose(1, 2) + self.positions)
        cells = self.cells(hidden.transpose(1, 2).unflatten(2, (GRID, GRID)))
        return _logits(cells, self.places(hidden.mean(1)))


_NETWORKS = {"critic": ConvolutionalDetector, "judge": AttentionDetector}


class Detector:
    """A trained network that detects what is in pictures."""

    def __init__(self, network: nn.Module, model: str) -> None:
        self._network = network.eval()
        self.model = model
        """Name and content hash."""

    @staticmethod
    def load(name: Literal["critic", "judge"], folder: Path = WEIGHTS) -> "Detector":
        """The network of that name from a folder, cached; ``ModelError`` if its weights cannot be used."""
        return _loaded(name, folder)

    def detect(self, pictures: Sequence[Image.Image]) -> list[Detections]:
        """What may be in each picture; pictures of another size are resized first."""
        arrays = [np.asarray(p.convert("RGB").resize((SIZE, SIZE))) for p in pictures]
        with one_thread(), torch.inference_mode():
            batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
            return detections(self._network(batch))


@cache  # not ``load`` itself, which can be called with and without its default
def _loaded(name: Literal["critic", "judge"], folder: Path) -> Detector:
    path = folder / f"{name}.safetensors"
    try:
        data = path.read_bytes()
        with LOADING, one_thread():
            network = _NETWORKS[name]()
            network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load(data).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        why = brief(str(error), 200)
        raise ModelError(f"the weights of the embedded {name} cannot be read from {path}: {why}") from error
    return Detector(network, f"embedded-{name}@{sha256(data).hexdigest()[:12]}")


def detections(logits: Logits) -> list[Detections]:
    """What may be in each picture, from the logits."""
    nouns = logits.nouns.float().sigmoid()
    colours = logits.colours.float().softmax(1)
    places = logits.places.float().softmax(1)
    strange = logits.strange.float().sigmoid().flatten(1).max(1).values
    return [
        Detections(
            {noun: _detections(noun, nouns[n, i], colours[n]) for i, noun in enumerate(NOUNS)},
            dict(zip(PLACES, places[n].tolist(), strict=True)),
            float(strange[n]),
        )
        for n in range(len(nouns))
    ]


def _detections(noun: str, likely: Tensor, colours: Tensor) -> tuple[Detection, ...]:
    kind, detections = NOUNS[noun], list[Detection]()
    for y, x in (likely > _FAINT).nonzero().tolist():
        if x + kind.width > GRID or y + kind.height > GRID:
            continue
        shares: dict[str, float] = dict(zip(COLOURS, colours[:, y, x].tolist(), strict=True)) if kind.coloured else {}
        colour = max(shares, key=shares.__getitem__) if shares else None
        detections.append(Detection(Thing(noun, colour, x, y), float(likely[y, x]), shares))
    return tuple(sorted(detections, key=attrgetter("probability"), reverse=True))
