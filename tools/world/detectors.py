"""The two networks that look at pictures; of different architectures, with one form of answer.

A thing is told by the cell of its box's upper left corner: the box's size follows from its noun.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .vocabulary import COLOURS, GRID, NOUNS, PLACES

_NOUNS, _COLOURS, _PLACES = len(NOUNS), len(COLOURS), len(PLACES)
_OUTPUTS = _NOUNS + _COLOURS + 1


@dataclass(frozen=True)
class Readings:
    """What a network makes of n pictures, as logits."""

    nouns: Tensor
    """(n, nouns, GRID, GRID): a thing of the noun has its upper left corner here; one sigmoid each."""
    colours: Tensor
    """(n, colours, GRID, GRID): colour of the coloured thing whose corner is here; a softmax."""
    strange: Tensor
    """(n, GRID, GRID): the cell shows something that belongs to no whole thing; a sigmoid."""
    places: Tensor
    """(n, places): the backdrop; a softmax."""


def _readings(cells: Tensor, places: Tensor) -> Readings:
    nouns, colours, strange = cells.split((_NOUNS, _COLOURS, 1), dim=1)
    return Readings(nouns, colours, strange[:, 0], places)


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
        self.places = nn.Linear(width, _PLACES)

    def forward(self, pictures: Tensor) -> Readings:
        """Pictures (n, 3, SIZE, SIZE) in [-1, 1]."""
        hidden = self.to_cells(self.stem(pictures))
        for block in self.context:
            hidden = hidden + block(hidden)
        return _readings(self.cells(hidden), self.places(hidden.mean((2, 3))))


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, padding: int | None = None) -> list[nn.Module]:
    padding = kernel // 2 if padding is None else padding
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.SiLU()]


class AttentionDetector(nn.Module):
    """The judge's network: a token for each cell from a shallow stem, then a vision transformer.

    The stem of few convolutions in place of linear patches is that of "Early Convolutions Help
    Transformers See Better" (arXiv 2106.14881).
    """

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
        self.places = nn.Linear(width, _PLACES)

    def forward(self, pictures: Tensor) -> Readings:
        """Pictures (n, 3, SIZE, SIZE) in [-1, 1]."""
        hidden = self.encoder(self.stem(pictures).flatten(2).transpose(1, 2) + self.positions)
        cells = self.cells(hidden.transpose(1, 2).unflatten(2, (GRID, GRID)))
        return _readings(cells, self.places(hidden.mean(1)))
