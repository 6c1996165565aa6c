"""Where a model's weights lie and how wide they are."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from diffusers import DiffusionPipeline

from ..errors import ModelError, SettingsError
from .memory import NF4_PARTS, T5, Offload, Precision, quantized_parts
from .sizes import ModelSize

P = TypeVar("P", bound=DiffusionPipeline)

_FOUR_BIT: dict[str, Any] = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "nf4": torch.bfloat16}


@dataclass(frozen=True)
class Placement:
    """How one model is put into memory."""

    device: torch.device
    """Where it runs."""
    precision: Precision
    """Of the weights: bf16, fp16, fp32, or nf4 for the large parts with bf16 for the rest."""
    offload: Offload = "none"
    """What waits in RAM: none; model: all parts but the one that works; group: all layers but a few."""
    t5: T5 = "keep"
    """keep, once (loaded for new prompts, dropped before the denoiser runs), or drop."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights that are not quantized, and of all arithmetic."""
        return _DTYPES[self.precision]

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on an accelerator."""
        return self.device.type != "cpu"

    @property
    def t5_device(self) -> torch.device:
        """Where a T5 that is loaded once runs: on the GPU only where the other parts leave it the room."""
        return self.device if self.offload == "model" else torch.device("cpu")


def choose_placement(
    device: torch.device | str | None = None,
    precision: Precision | None = None,
    offload: Offload = "none",
    t5: T5 = "keep",
) -> Placement:
    """A placement that can work here.

    Args:
        device: The GPU if there is one, else the CPU.
        precision: bf16 on a GPU and fp32 on a CPU.
        offload: Needs a GPU.
        t5: Has no effect on a model without T5.

    Raises:
        ModelError: 4-bit weights are asked for where a GPU or bitsandbytes is lacking.
        SettingsError: the choices do not go together.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    chosen = Placement(place, precision or ("bf16" if place.type != "cpu" else "fp32"), offload, t5)
    if chosen.precision == "nf4":
        _check_nf4(chosen)
    if chosen.offload != "none" and not chosen.on_gpu:
        raise SettingsError(
            f'offload "{offload}" moves weights between a GPU and RAM, and there is no GPU: set'
            ' diffusion.offload = "none"'
        )
    return chosen


def _check_nf4(placement: Placement) -> None:
    if placement.device.type != "cuda" or not torch.cuda.is_available():
        raise ModelError(
            'precision "nf4" needs an NVIDIA GPU: use a machine that has one, or, slowly, this one with'
            ' diffusion.precision = "bf16", diffusion.offload = "none", diffusion.t5 = "once"'
        )
    if find_spec("bitsandbytes") is None:
        raise ModelError("precision \"nf4\" needs bitsandbytes: pip install 'detailscribe[gpu]'")
    if placement.offload == "group":
        raise SettingsError('4-bit weights cannot be moved layer by layer: set diffusion.offload = "model"')


def loading_arguments(part: str, library: str, placement: Placement) -> dict[str, Any]:
    """What ``from_pretrained`` of one part is told of the placement."""
    if placement.precision != "nf4" or part not in NF4_PARTS:
        return {"dtype": placement.dtype}
    if library == "transformers":
        from transformers import BitsAndBytesConfig
    else:
        from diffusers import BitsAndBytesConfig
    four_bit = BitsAndBytesConfig(**_FOUR_BIT, bnb_4bit_compute_dtype=placement.dtype)
    # bitsandbytes quantizes on the GPU, so the weights go there at once and never fill the RAM.
    return {"dtype": placement.dtype, "quantization_config": four_bit, "device_map": {"": str(placement.device)}}


def pipeline_arguments(size: ModelSize, placement: Placement) -> dict[str, Any]:
    """What ``from_pretrained`` of a whole pipeline is told of the placement."""
    if placement.precision != "nf4":
        return {"dtype": placement.dtype}
    from diffusers import PipelineQuantizationConfig

    told: dict[str, Any] = _FOUR_BIT | {"bnb_4bit_compute_dtype": placement.dtype}
    four_bit = PipelineQuantizationConfig(
        quant_backend="bitsandbytes_4bit",
        quant_kwargs=told,
        components_to_quantize=quantized_parts(size.parts),
    )
    return {"dtype": placement.dtype, "quantization_config": four_bit}


def put(pipe: P, placement: Placement) -> P:
    """The pipeline where it is to run, or ready to go there part by part."""
    if placement.offload == "model":
        pipe.enable_model_cpu_offload(device=placement.device)
        return pipe
    if placement.offload == "group":
        pipe.enable_group_offload(
            onload_device=placement.device, offload_type="leaf_level", use_stream=placement.device.type == "cuda"
        )
        return pipe
    return pipe.to(placement.device)
