"""The noise an image starts from: drawn from its own CPU generator, so that it is the same in every batch."""

import torch
from diffusers.utils.torch_utils import randn_tensor


def noise_for(seed: int, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Standard normal noise of one latent, shaped ``shape`` (channels, height, width).

    It is what ``StableDiffusion3Pipeline`` draws for one image with
    ``generator=torch.Generator("cpu").manual_seed(seed)``, on any device.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    return randn_tensor((1, *shape), generator=generator, device=device, dtype=dtype)[0]
