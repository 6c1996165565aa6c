"""The autoencoder of the embedded world, which encodes every grid cell by itself.

Things fill whole cells, so that there are few different cells: a small multi-layer perceptron learns them on a CPU in
minutes, where convolutions of the same cost stay blurred. Pipelines see an autoencoder with 8 pixels per latent pixel.
"""

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor, nn
from torch.nn import functional

from .vocabulary import CELL

_SHRINK = 8
"""Pixels per latent pixel, as Stable Diffusion's pipelines expect of four ``block_out_channels``."""
_PLACES = CELL // _SHRINK
"""Latent pixels along a cell."""


class CellAutoencoder(ModelMixin, ConfigMixin):
    """Encodes pictures (n, 3, h, w) in [-1, 1] to latents (n, channels, h / 8, w / 8), and back; h and w in whole
    cells. Pipelines normalize latents by ``scaling_factor`` and ``shift_factor``, and take the 8 from the number of
    ``block_out_channels``."""

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        encoder_width: int = 256,
        decoder_width: int = 384,
        decoder_layers: int = 2,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
        block_out_channels: tuple[int, ...] = (0, 0, 0, 0),
    ) -> None:
        super().__init__()
        pixels, code = 3 * CELL * CELL, latent_channels * _PLACES**2
        self.encoder = nn.Sequential(
            nn.Conv2d(pixels, encoder_width, 1),
            nn.SiLU(),
            nn.Conv2d(encoder_width, encoder_width, 1),
            nn.SiLU(),
            nn.Conv2d(encoder_width, code, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(code, decoder_width, 1),
            *(_Residual(decoder_width) for _ in range(decoder_layers)),
            nn.SiLU(),
            nn.Conv2d(decoder_width, pixels, 1),
        )

    def encode(self, pictures: Tensor) -> AutoencoderTinyOutput:
        """Latents (n, channels, h / 8, w / 8), neither shifted nor scaled."""
        latents = functional.pixel_shuffle(self.encoder(functional.pixel_unshuffle(pictures, CELL)), _PLACES)
        return AutoencoderTinyOutput(latents=latents)

    def decode(self, latents: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """Pictures (n, 3, h, w), about in [-1, 1]; a tuple of them unless ``return_dict``."""
        pictures = functional.pixel_shuffle(self.decoder(functional.pixel_unshuffle(latents, _PLACES)), CELL)
        return DecoderOutput(sample=pictures) if return_dict else (pictures,)

    def forward(self, pictures: Tensor) -> Tensor:
        """The pictures, encoded and decoded."""
        return self.decode(self.encode(pictures).latents, return_dict=False)[0]


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.SiLU(), nn.Conv2d(width, 2 * width, 1), nn.SiLU(), nn.Conv2d(2 * width, width, 1))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.inner(hidden)
