"""Loads any pipeline of diffusers, from a folder or from the hub, whole or not at all, and quietly."""

import hashlib
import importlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import load_file

from ...state import DrawingOptions
from ..errors import ModelError, SettingsError
from ..quiet import quiet_loading
from ..text import HUB_ID, brief
from . import memory
from .memory import DENOISER, INDEX, KNOWN, T5, T5_PART, ModelSize, read_index
from .placement import Placement, TransientEncoder, loading_arguments, put

NETWORKS = (DENOISER, "unet", "vae", "text_encoder", "text_encoder_2", T5_PART)
"""Parts that have weights, whatever lies in their folders."""
_SMALL = 2**26
"""Bytes of a file that is hashed whole."""
_SAMPLE = 1024
"""Bytes of each tensor that are hashed in a larger file."""
_SAMPLES = 4096
"""Parts of a larger file whose tensors are not looked up."""


def load(
    source: Path | str,
    placement: Placement,
    options: DrawingOptions | None = None,
    check_class: Callable[[str], object] = lambda name: None,
) -> tuple[DiffusionPipeline, str]:
    """The pipeline of a diffusers folder or a hub id, of the class that its index names, with the weights and LoRAs of
    the options, and its name with a short content hash of each.

    Raises:
        ModelError: see ``locate``; a file is missing or corrupt, weights are missing, ``check_class`` refuses the
            class, a file does not fit it, or there is no room or no such device. Neither a model that does not fit nor
            one of another class is downloaded first.
        SettingsError: a file of weights is to be quantized.
    """
    options, known = options or DrawingOptions(), KNOWN.get(str(source))
    if not (known and T5_PART in known.parts) and not Path(source).is_dir():
        check_class(class_named(source))
    narrow = ("fp8", "nf4", "nf4-denoiser") if str(options.weights).endswith(".gguf") else ("nf4", "nf4-denoiser")
    if options.weights is not None and placement.precision in narrow:
        raise SettingsError(f'precision "{placement.precision}" has no effect on {options.weights}: choose another')
    for package, wanted in (("gguf", str(options.weights).endswith(".gguf")), ("peft", options.loras)):
        if wanted and find_spec(package) is None:
            raise ModelError(f"{options.files[0]} needs {package}: pip install 'detailscribe[weights]'")
    files: dict[str, Path] = {}
    for file in options.files:
        if (here := memory.local_file(file)) is None:
            hub_id, name = memory.split_hub_file(file)
            here = _fetch(hub_id, lambda hub_id, name=name: hf_hub_download(hub_id, name))
        files[file] = here
    whole = options.weights is None
    if memory.local_folder(source, whole=whole) is None and HUB_ID.fullmatch(str(source)):
        _check_room(source, placement, memory.model_size(source, options, ask=True))
    folder, model = locate(source, whole=whole)
    try:
        with quiet_loading():
            size = memory.model_size(folder, options)
            _check_room(folder, placement, size)
            check_class(class_named(folder))
            weights = None if options.weights is None else _from_file(files[options.weights], folder, placement)
            pipe = _load_parts(folder, placement, memory.quantized_parts(size.parts, placement.precision), weights)
            _add_loras(pipe, {str(files[file]): scale for file, scale in options.loras.items()})
    except ModelError as error:
        raise ModelError(f"{folder} cannot be used: {error}") from error
    except Exception as error:  # tokenizers raises it bare
        raise ModelError(f"{folder} is not whole: {_words(error)}; fetch or save it again") from error
    for file, path in files.items():
        scale = options.loras.get(file)
        model += f"+{path.name}@{file_hash(path).hex()[:12]}" + ("" if scale is None else f"*{scale:g}")
    try:
        return put(pipe, placement), model
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ModelError(f"{folder} cannot be put on the device {placement.device}: {_words(error)}") from error


def _load_parts(
    folder: Path, placement: Placement, narrow: Sequence[str], denoiser: torch.nn.Module | None
) -> DiffusionPipeline:
    """The pipeline, each of its networks whole, and those that are ``narrow`` in 4 bits."""
    check_t5(folder, placement.t5)
    named = read_index(folder)
    reads_once = placement.t5 == "once" and named.get(T5_PART, [None])[0] is not None
    absent = {"keep": (), "once": (T5_PART,), "drop": (T5_PART, "tokenizer_3")}[placement.t5]
    parts: dict[str, Any] = {}
    for part, (library, kind) in named.items():
        if library is None or part in absent:
            parts[part] = None  # diffusers wants those named that a pipeline can do without
        elif part == DENOISER and denoiser is not None:
            parts[part] = denoiser
        elif (folder / part / "config.json").exists() or part in NETWORKS:
            parts[part] = _load_network(folder, part, (library, kind), placement, part in narrow)
        elif kind.endswith("VLProcessor") and find_spec("torchvision") is None:
            from ..language.local import still_processor

            parts[part] = still_processor(_class_of(library, kind), folder / part)
    pipe: Any = DiffusionPipeline.from_pretrained(str(folder), **parts, local_files_only=True)
    if reads_once:
        reader = partial(_load_t5, folder, named[T5_PART], placement, T5_PART in narrow)
        pipe.register_modules(text_encoder_3=TransientEncoder(reader, placement.dtype))
    if class_named(folder).startswith("StableDiffusion3"):
        check_scheduler(pipe.scheduler)
        if pipe.text_encoder is None or (pipe.text_encoder_2 is None and pipe.text_encoder_3 is not None):
            raise ModelError("it needs one CLIP text encoder, or two with or without a T5")
    return pipe


def _from_file(file: Path, folder: Path, placement: Placement) -> torch.nn.Module:
    """The denoiser of the model in ``folder``, with the weights of a single file."""
    kind: Any = _class_of(*read_index(folder)[DENOISER])
    how: dict[str, Any] = {"config": str(folder), "subfolder": DENOISER, "local_files_only": True}
    how["dtype"] = placement.dtype
    weights: Any = str(file)
    if file.suffix == ".gguf":
        how["quantization_config"] = diffusers.GGUFQuantizationConfig(compute_dtype=placement.dtype)
    else:
        weights = _unscaled(load_file(file))
    try:
        network = kind.from_single_file(weights, **how)
    except Exception as error:  # of many libraries
        raise ModelError(f"{file} has no weights of a {kind.__name__}: {_words(error)}") from error
    if missing := [name for name, weight in network.state_dict().items() if weight.is_meta]:
        raise ModelError(f"{file} lacks {len(missing)} of the denoiser's weights, such as {missing[0]}")
    return network


def _unscaled(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as they are, where some are 8-bit floats with a scale beside them; in bfloat16 then."""
    for name in [name for name in weights if name.endswith((".scale_weight", ".weight_scale"))]:
        scale, scaled = weights.pop(name), f"{name.rpartition('.')[0]}.weight"
        weights[scaled] = (weights[scaled].float() * scale.float()).bfloat16()
    beside = ("scaled_fp8", ".scale_input", ".input_scale", ".comfy_quant")
    return {name: weight for name, weight in weights.items() if not name.endswith(beside)}


def _add_loras(pipe: Any, loras: Mapping[str, float]) -> None:
    """Add LoRAs to the weights; where these are quantized, beside them."""
    names = {f"lora{n}": file for n, file in enumerate(loras)}
    for name, file in names.items():
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`")  # of the one before
                pipe.load_lora_weights(file, adapter_name=name)
        except Exception as error:  # of many libraries
            raise ModelError(f"the LoRA {file} cannot be added to this model: {_words(error)}") from error
        if not any(name in own for own in pipe.get_list_adapters().values()):
            raise ModelError(f"the LoRA {file} cannot be added to this model: it has no weights of its parts")
    if names:
        pipe.set_adapters(list(names), list(loras.values()))
        if not any(getattr(part, "hf_quantizer", None) for part in pipe.components.values()):
            pipe.fuse_lora(adapter_names=list(names))
            pipe.unload_lora_weights()


def locate(source: Path | str, *, whole: bool = True) -> tuple[Path, str]:
    """The folder of a model and its name with a short content hash; a hub id is downloaded, of its denoiser no weights
    unless ``whole``. ``ModelError`` if it is neither a folder nor a model of the hub that can be fetched."""
    folder = Path(source)
    if folder.is_dir():
        return folder, f"{folder.resolve().name}@{content_hash(folder)}"
    if whole:
        snapshot = _fetch(source, DiffusionPipeline.download)
    else:
        snapshot = _fetch(source, partial(DiffusionPipeline.download, **{DENOISER: None}))
        _fetch(source, lambda hub_id: hf_hub_download(hub_id, f"{DENOISER}/config.json"))
    return snapshot, f"{str(source).rpartition('/')[2]}@{snapshot.name[:12]}"


def class_named(source: Path | str, part: str = "") -> str:
    """The class that a model's index names, of the pipeline or of one part; of a hub model that is not here, the index
    alone is fetched. ``ModelError`` if there is no such model."""
    folder = Path(source)
    index = folder / INDEX if folder.is_dir() else _fetch(source, lambda hub_id: hf_hub_download(hub_id, INDEX))
    try:
        named = json.loads(index.read_text(encoding="utf-8"))
        return str(named[part][1] if part else named["_class_name"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{source} has no {INDEX} that can be read: {_words(error)}") from error


def _fetch(source: Path | str, fetch: Callable[[str], str | os.PathLike[Any]]) -> Path:
    """What ``fetch`` downloads, given a hub id."""
    if isinstance(source, Path) or not HUB_ID.fullmatch(source):
        raise ModelError(f"there is no model folder {source}; give a diffusers folder or a hub id such as owner/name")
    try:
        return Path(fetch(source))
    except Exception as error:  # of many libraries
        for refusal in (error, error.__cause__):
            if isinstance(refusal, HfHubHTTPError):
                raise memory.hub_refusal(str(source), refusal.response) from error
        raise ModelError(f"{source} is no folder here, and the hub did not give it: {_words(error)}") from error


def content_hash(folder: Path) -> str:
    """The first 12 hex digits of a SHA-256 over names and contents of the configuration and weight files.

    Files beside the parts' own folders do not count, except for ``model_index.json``. See ``file_hash``.
    """
    total = hashlib.sha256()
    files = [path for kind in ("json", "txt", "model", "safetensors") for path in folder.glob(f"*/*.{kind}")]
    for path in [*folder.glob(INDEX), *sorted(files)]:
        total.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        total.update(file_hash(path))
    return total.hexdigest()[:12]


def file_hash(path: Path) -> bytes:
    """SHA-256 of a file; of one with weights over 64 MiB, of its header and the first KiB of each tensor, which any
    training or merging of weights changes, and of GGUF of as many parts all over it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _SMALL or path.suffix not in (".safetensors", ".gguf"):
            return hashlib.file_digest(file, "sha256").digest()
        if path.suffix == ".gguf":
            found = hashlib.sha256(f"{size}".encode())
            for begin in range(0, size, size // _SAMPLES):
                file.seek(begin)
                found.update(file.read(_SAMPLE))
            return found.digest()
        start, tensors = 8 + int.from_bytes(file.read(8), "little"), sorted(memory.read_header(path).items())
        header = [(n, {"dtype": t.dtype, "shape": t.shape, "data_offsets": [*t.data_offsets]}) for n, t in tensors]
        found = hashlib.sha256(f"{size} {header}".encode())
        for begin, end in sorted(tensor.data_offsets for _, tensor in tensors):
            file.seek(start + begin)
            found.update(file.read(min(_SAMPLE, end - begin)))
        return found.digest()


def _words(error: BaseException) -> str:
    return brief(str(error), 200) or type(error).__name__


def _check_room(model: Path | str, placement: Placement, size: ModelSize) -> None:
    way: memory.Way = (placement.precision, placement.offload, placement.t5)
    there = memory.memory_there(str(placement.device))
    memory.check_memory(model, *way, there, gpu=placement.on_gpu, size=size)


def check_sd3(name: str) -> None:
    """Raises ``ModelError`` for another class of pipelines than SD3's."""
    if not name.startswith("StableDiffusion3"):
        raise ModelError(f"it holds a {name}, not a StableDiffusion3Pipeline")


def check_t5(folder: Path, t5: T5) -> None:
    """Refuse a folder whose index names a T5 that was left out, unless prompts are to be read without it."""
    if read_index(folder).get(T5_PART, [None])[0] is not None and t5 != "drop" and not (folder / T5_PART).is_dir():
        raise ModelError(f'it has no {T5_PART}, which is T5: to read prompts without it, set diffusion.t5 = "drop"')


def _load_t5(folder: Path, named: Sequence[str], placement: Placement, narrow: bool) -> torch.nn.Module:
    """T5 where it is to run: on the GPU only where the denoiser makes room for it, and in 4 bits only there."""
    device = placement.device if placement.offload == "model" else torch.device("cpu")
    narrow = narrow and device.type != "cpu"
    with quiet_loading():
        reader = _load_network(folder, T5_PART, named, placement, narrow)
    return reader if narrow else reader.to(device)


def _load_network(
    folder: Path, part: str, named: Sequence[str], placement: Placement, narrow: bool = False
) -> torch.nn.Module:
    """One part, of the library and class ``named``; the libraries fill what its file lacks with random numbers."""
    kind: Any = _class_of(*named)
    arguments = loading_arguments(named[0], placement, narrow)
    network, info = kind.from_pretrained(folder / part, output_loading_info=True, local_files_only=True, **arguments)
    if missing := sorted(info["missing_keys"]):
        raise ModelError(f"{part} lacks {len(missing)} of its weights, such as {missing[0]}")
    return network


def _class_of(library: str, name: str) -> Any:
    """A folder cannot name other code to run."""
    known = library in ("diffusers", "transformers") or library.startswith(f"{__name__.partition('.')[0]}.")
    home = importlib.import_module(library) if known else getattr(diffusers.pipelines, library, None)
    kind: Any = getattr(home, name, None)
    if kind is None:
        raise ModelError(f"it names the class {library}.{name}, which is not known here")
    return kind


def check_scheduler(scheduler: Any) -> None:
    """Raises ``ModelError`` if the noise levels are not ones that a step names, or no seed would name an image."""
    if not isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler):
        raise ModelError(f"its scheduler is a {type(scheduler).__name__}, not a FlowMatchEulerDiscreteScheduler")
    settings: Any = scheduler.config
    if settings.stochastic_sampling or settings.invert_sigmas:
        raise ModelError("its scheduler samples stochastically or upside down, so no seed would name an image")
