"""Puts a model's weights where they are to be: on the device, in RAM until they are needed, or loaded anew."""

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from diffusers import DiffusionPipeline

from ..errors import ModelError, SettingsError
from .engine import is_out_of_memory
from .memory import DENOISER, T5, Offload, Placement, Precision, large_parts

_log = logging.getLogger(__name__)


def choose_placement(
    device: torch.device | str | None = None,
    precision: Precision | None = None,
    offload: Offload = "none",
    t5: T5 = "keep",
) -> Placement:
    """A placement that works on this machine; the default is the first available of an NVIDIA GPU, Apple's MPS and the
    CPU, in bf16, or in fp32 on a CPU.

    ``ModelError`` if the device is missing, or 4-bit weights lack a GPU or bitsandbytes; ``SettingsError`` if the
    choices do not go together.
    """
    mps = "mps" if torch.backends.mps.is_available() else "cpu"
    device = device or ("cuda" if torch.cuda.is_available() else mps)
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"there is no kind of device {device!r}: use cuda, mps or cpu") from error
    chosen = Placement(place, precision or ("fp32" if place.type == "cpu" else "bf16"), offload, t5)
    four_bit = chosen.precision.startswith("nf4")
    if four_bit and not (place.type == "cuda" and torch.cuda.is_available()):
        raise ModelError(
            f'precision "{precision}" needs an NVIDIA GPU: use a machine that has one, or, slowly, this one'
            ' with diffusion.precision = "bf16", diffusion.offload = "none", diffusion.t5 = "once"'
        )
    if four_bit and find_spec("bitsandbytes") is None:
        raise ModelError("4-bit weights need bitsandbytes: pip install 'detailscribe[gpu]'")
    if offload == "group" and (four_bit or precision == "fp8"):
        weights = "8-bit floats" if precision == "fp8" else "4-bit weights"
        raise SettingsError(f'{weights} cannot be moved layer by layer: set diffusion.offload = "model"')
    if offload != "none" and not chosen.on_gpu:
        moves = f'offload "{offload}" moves weights between a GPU and RAM, and there is no GPU'
        raise SettingsError(f'{moves}: set diffusion.offload = "none"')
    available = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if not available.get(place.type, lambda: True)():
        raise ModelError(f"the device {device!r} is not available: leave diffusion.device out, or use cpu")
    return chosen


def loading_arguments(library: str, placement: Placement, four_bit: bool) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` for one part of that library."""
    if not four_bit:
        return {"dtype": placement.dtype}
    if library == "transformers":
        from transformers import BitsAndBytesConfig
    else:
        from diffusers import BitsAndBytesConfig
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=placement.dtype)
    # bitsandbytes quantizes on the GPU, so the weights go there at once and never fill the RAM.
    return {"dtype": placement.dtype, "quantization_config": config, "device_map": {"": str(placement.device)}}


def put(pipe: DiffusionPipeline, placement: Placement) -> DiffusionPipeline:
    """Move the pipeline to where it runs, or prepare it to go there part by part."""
    if placement.precision == "fp8":
        # A layer is in bf16 only while it computes; embeddings and norms are always.
        denoiser: Any = pipe.components.get(DENOISER) or pipe.components["unet"]
        denoiser.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=placement.dtype)
    if placement.offload == "group":
        how: dict[str, Any] = {"offload_type": "leaf_level", "use_stream": placement.kind == "cuda"}
        pipe.enable_group_offload(onload_device=torch.device(placement.device), **how)
        return pipe
    networks = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    encoders = [part for part in pipe.components.values() if isinstance(part, TransientEncoder)]
    for encoder in encoders:
        encoder.drop_before(networks[DENOISER])
    if placement.offload == "none":
        return pipe.to(placement.device)
    large = large_parts({name: sum(weight.nbytes for weight in part.parameters()) for name, part in networks.items()})
    turns = DeviceTurns(torch.device(placement.device))
    for name, network in networks.items():
        if name in large:
            turns.add(network)
        else:
            network.to(placement.device)
    for encoder in encoders:
        encoder.before_loading = turns.clear
    return pipe


class DeviceTurns:
    """Large networks that take turns on a device; each waits in RAM until it is called."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.current: torch.nn.Module | None = None
        """The one on the device."""

    def add(self, network: torch.nn.Module) -> None:
        """Move a network to RAM, and onto the device whenever it is called."""

        def enter(*called: object) -> None:
            if self.current is not network:
                self.clear()
                network.to(self.device)
                self.current = network

        network.to("cpu")
        network.register_forward_pre_hook(enter)

    def clear(self) -> None:
        """Move the network on the device to RAM."""
        if self.current is not None:
            self.current.to("cpu")
            self.current = None
            torch.cuda.empty_cache()


class TransientEncoder:
    """A text encoder that is loaded when it is called and stays in memory until the denoiser runs.

    Prompts that are encoded together need one load. It is no ``torch.nn.Module``, so moving or offloading the pipeline
    does not touch it.
    """

    def __init__(self, load: Callable[[], torch.nn.Module], dtype: torch.dtype) -> None:
        """``load`` returns the network, of ``dtype``, on its own device."""
        self.load, self.dtype = load, dtype
        self.before_loading: Callable[[], object] = lambda: None
        """Frees room on the device."""
        self.network: Any = None
        """None while it is not in memory."""

    def __call__(self, input_ids: torch.Tensor) -> Any:
        """The network's output for token ids (n, tokens), on the network's device."""
        if self.network is None:
            self.before_loading()
            self.network = self.load()
        return self.network(input_ids.to(self.network.device))

    def drop_before(self, network: torch.nn.Module) -> None:
        """Free the encoder whenever ``network`` is about to run."""

        def drop(*called: object) -> None:
            if self.network is not None:
                self.network = None
                torch.cuda.empty_cache()

        network.register_forward_pre_hook(drop)


def tile(vae: Any, always: bool) -> None:
    """Let an autoencoder decode in overlapping tiles: always, or after a whole picture first ran out of memory. Tiles
    are half as wide as pictures usually are, where that can be set. ``SettingsError`` if it has to and cannot."""
    if not hasattr(vae, "enable_tiling"):
        if always:
            raise SettingsError(f"a {type(vae).__name__} decodes no tiles: leave diffusion.tiled out")
        return
    decode = vae.decode

    def enable() -> None:
        vae.enable_tiling()
        if hasattr(vae, "tile_latent_min_size"):
            vae.tile_sample_min_size //= 2
            vae.tile_latent_min_size //= 2

    def decode_or_enable(*args: Any, **more: Any) -> Any:
        try:
            return decode(*args, **more)
        except RuntimeError as error:
            if vae.use_tiling or not is_out_of_memory(error):
                raise
        # Only here is the traceback gone, which held the tensors that did not fit.
        torch.cuda.empty_cache()
        _log.warning("no room to decode a whole picture: from now on in tiles, whose pixels differ slightly")
        enable()
        return decode(*args, **more)

    if always:
        enable()
    else:
        vae.decode = decode_or_enable
