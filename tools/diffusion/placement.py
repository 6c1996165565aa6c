"""Where a model's weights lie and how wide they are."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from diffusers import DiffusionPipeline

from ..errors import ModelError, SettingsError
from .engine import is_out_of_memory
from .memory import T5, Offload, Precision, large_parts

_log = logging.getLogger(__name__)

_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Placement:
    """How one model is put into memory."""

    device: torch.device
    """Where it runs."""
    precision: Precision
    """Of the weights; see ``memory.Precision``."""
    offload: Offload = "none"
    """What waits in RAM: none; model: all large parts but the one that works; group: all layers but a few."""
    t5: T5 = "keep"
    """keep, once (loaded for new prompts, dropped before the denoiser runs), or drop."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights that are not quantized, and of all arithmetic."""
        return _DTYPES.get(self.precision, torch.bfloat16)

    @property
    def on_gpu(self) -> bool:
        """Whether it runs in memory other than the CPU's, which MPS shares."""
        return self.device.type not in ("cpu", "mps")


def choose_placement(
    device: torch.device | str | None = None,
    precision: Precision | None = None,
    offload: Offload = "none",
    t5: T5 = "keep",
) -> Placement:
    """A placement that can work here; by default on the first that is there of an NVIDIA GPU, Apple's MPS and the CPU,
    in bf16, and in fp32 on a CPU.

    ``ModelError`` if there is no such device, or 4-bit weights are asked for where a GPU or bitsandbytes is lacking;
    ``SettingsError`` if the choices do not go together.
    """
    if device is None:
        mps = "mps" if torch.backends.mps.is_available() else "cpu"
        device = "cuda" if torch.cuda.is_available() else mps
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
        narrow = "8-bit floats" if precision == "fp8" else "4-bit weights"
        raise SettingsError(f'{narrow} cannot be moved layer by layer: set diffusion.offload = "model"')
    if offload != "none" and not chosen.on_gpu:
        raise SettingsError(
            f'offload "{offload}" moves weights between a GPU and RAM, and there is no GPU: set'
            ' diffusion.offload = "none"'
        )
    available = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if not available.get(place.type, lambda: True)():
        raise ModelError(f"the device {device!r} is not there: leave diffusion.device out, or use cpu")
    return chosen


def loading_arguments(library: str, placement: Placement, narrow: bool) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` of one part of that library, in 4 bits where it is to be ``narrow``."""
    if not narrow:
        return {"dtype": placement.dtype}
    if library == "transformers":
        from transformers import BitsAndBytesConfig
    else:
        from diffusers import BitsAndBytesConfig
    four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=placement.dtype)
    # bitsandbytes quantizes on the GPU, so the weights go there at once and never fill the RAM.
    return {"dtype": placement.dtype, "quantization_config": four_bit, "device_map": {"": str(placement.device)}}


def put(pipe: DiffusionPipeline, placement: Placement) -> DiffusionPipeline:
    """The pipeline where it is to run, or ready to go there part by part."""
    if placement.precision == "fp8":
        # Each layer is made wide only while it computes; embeddings and norms stay as they are.
        denoiser: Any = pipe.components.get("transformer") or pipe.components["unet"]
        denoiser.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=placement.dtype)
    if placement.offload == "group":
        pipe.enable_group_offload(
            onload_device=placement.device, offload_type="leaf_level", use_stream=placement.device.type == "cuda"
        )
        return pipe
    networks = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    readers = [part for part in pipe.components.values() if isinstance(part, TransientEncoder)]
    for reader in readers:
        reader.drop_before(networks["transformer"])
    if placement.offload == "none":
        return pipe.to(placement.device)
    large = large_parts({name: sum(weight.nbytes for weight in part.parameters()) for name, part in networks.items()})
    turns = Turns(placement.device)
    for name, network in networks.items():
        if name in large:
            turns.add(network)
        else:
            network.to(placement.device)
    for reader in readers:
        reader.before_loading = turns.clear
    return pipe


class Turns:
    """Large networks that take turns on a device; each waits in RAM until it is called."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.here: torch.nn.Module | None = None
        """The one on the device."""

    def add(self, network: torch.nn.Module) -> None:
        """Let a network take part; it goes to RAM."""

        def enter(*called: object) -> None:
            if self.here is not network:
                self.clear()
                network.to(self.device)
                self.here = network

        network.to("cpu")
        network.register_forward_pre_hook(enter)

    def clear(self) -> None:
        """Move the one on the device to RAM."""
        if self.here is not None:
            self.here.to("cpu")
            self.here = None
            torch.cuda.empty_cache()


class TransientEncoder:
    """Stands in a pipeline for a text encoder that is loaded when it is called and stays until it is dropped.

    All prompts that begin together are read with one load. It is no ``torch.nn.Module``, so that moving or offloading
    the pipeline does not touch it.
    """

    def __init__(self, load: Callable[[], torch.nn.Module], dtype: torch.dtype) -> None:
        """``load`` makes the network, of ``dtype``, where it is to run, which may be elsewhere than the pipeline."""
        self.load, self.dtype = load, dtype
        self.before_loading: Callable[[], object] = lambda: None
        """Makes room."""
        self.network: Any = None
        """None while it is not in memory."""

    def __call__(self, input_ids: torch.Tensor) -> Any:
        """The network's output for token ids (n, tokens), on the network's own device."""
        if self.network is None:
            self.before_loading()
            self.network = self.load()
        return self.network(input_ids.to(self.network.device))

    def drop_before(self, network: torch.nn.Module) -> None:
        """Free this one whenever ``network`` is about to run; the next call loads it again."""

        def drop(*called: object) -> None:
            if self.network is not None:
                self.network = None
                torch.cuda.empty_cache()

        network.register_forward_pre_hook(drop)


def tile(vae: Any, always: bool) -> None:
    """Let an autoencoder decode in overlapping tiles, half as wide as pictures usually are where that can be set;
    unless ``always``, from when a whole picture has no room in memory on. ``SettingsError`` if it shall always, and
    cannot."""
    if not hasattr(vae, "enable_tiling"):
        if always:
            raise SettingsError(f"a {type(vae).__name__} decodes no tiles: leave diffusion.tiled out")
        return
    whole = vae.decode

    def begin() -> None:
        vae.enable_tiling()
        if hasattr(vae, "tile_latent_min_size"):
            vae.tile_sample_min_size //= 2
            vae.tile_latent_min_size //= 2

    def decode_in_tiles_if_short(*args: Any, **more: Any) -> Any:
        try:
            return whole(*args, **more)
        except RuntimeError as error:
            if vae.use_tiling or not is_out_of_memory(error):
                raise
        # Only here is the traceback gone, which held the tensors that did not fit.
        torch.cuda.empty_cache()
        _log.warning("no room to decode a whole picture: from now on in tiles, whose pixels differ slightly")
        begin()
        return whole(*args, **more)

    if always:
        begin()
    else:
        vae.decode = decode_in_tiles_if_short
