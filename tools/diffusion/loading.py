"""Loads any pipeline of diffusers from a folder or the hub, and refuses one with missing or broken weights."""

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
from .memory import DENOISERS, INDEX, KNOWN, T5, T5_PART, Placement, denoiser_part, read_index
from .placement import TransientEncoder, loading_arguments, put

NETWORKS = (*DENOISERS, "vae", "text_encoder", "text_encoder_2", T5_PART)
"""Parts that always have weights, even if their folders lack a configuration."""
_SMALL = 2**26
"""Bytes of a file up to which all of it is hashed."""
_SAMPLE = 1024
"""Bytes hashed of each tensor in a larger file."""
_SAMPLES = 4096
"""Samples hashed of a larger file whose tensors are not looked up."""


def load(
    source: Path | str, placement: Placement, options: DrawingOptions | None, check_class: Callable[[str], object]
) -> tuple[DiffusionPipeline, str]:
    """The pipeline of a diffusers folder or a hub id, with the weights and LoRAs of the options, and its name with a
    short content hash of each.

    Raises:
        ModelError: there is no such model, its files are missing or broken, ``check_class`` refuses its class, a file
            of the options does not fit it, or memory or the device is lacking. Class and memory are checked before the
            download.
        SettingsError: a file of weights is to be quantized.
    """
    options, known = options or DrawingOptions(), KNOWN.get(str(source))
    whole, is_gguf = options.weights is None, str(options.weights).endswith(".gguf")
    if not (known and T5_PART in known.parts) and not Path(source).is_dir():
        check_class(class_named(source))
    if not whole and placement.precision in ("nf4", "nf4-denoiser", *(["fp8"] if is_gguf else [])):
        raise SettingsError(f'precision "{placement.precision}" has no effect on {options.weights}: choose another')
    for package, wanted in (("gguf", is_gguf), ("peft", options.loras)):
        if wanted and find_spec(package) is None:
            raise ModelError(f"{options.files[0]} needs {package}: pip install 'detailscribe[weights]'")
    files: dict[str, Path] = {}
    for file in options.files:
        if (path := memory.local_file(file)) is None:
            hub_id, name = memory.split_hub_file(file)
            path = _fetch(hub_id, lambda hub_id, name=name: hf_hub_download(hub_id, name))
        files[file] = path
    if memory.local_folder(source, whole=whole) is None and HUB_ID.fullmatch(str(source)):
        size = memory.model_size(source, options, ask_hub=True)
        memory.check_memory(source, size, placement, memory.free_memory(placement.device))
    folder, model = locate(source, whole=whole)
    try:
        with quiet_loading():
            size = memory.model_size(folder, options)
            memory.check_memory(folder, size, placement, memory.free_memory(placement.device))
            check_class(class_named(folder))
            denoiser = None if options.weights is None else _from_file(files[options.weights], folder, placement)
            pipe = _load_parts(folder, placement, memory.quantized_parts(size.parts, placement.precision), denoiser)
            _add_loras(pipe, {str(files[file]): scale for file, scale in options.loras.items()})
    except ModelError as error:
        raise ModelError(f"{folder} cannot be used: {error}") from error
    except Exception as error:  # tokenizers raises it bare
        raise ModelError(f"{folder} is not whole: {_message(error)}; fetch or save it again") from error
    for file, path in files.items():
        scale = options.loras.get(file)
        model += f"+{path.name}@{file_hash(path).hex()[:12]}" + ("" if scale is None else f"*{scale:g}")
    try:
        return put(pipe, placement), model
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ModelError(f"{folder} cannot be put on the device {placement.device}: {_message(error)}") from error


def _load_parts(
    folder: Path, placement: Placement, quantized: Sequence[str], denoiser: torch.nn.Module | None
) -> DiffusionPipeline:
    """The pipeline with all its weights, ``quantized`` parts in 4 bits, and ``denoiser`` in place of its own."""
    check_t5(folder, placement.t5)
    index = read_index(folder)
    absent = {"keep": (), "once": (T5_PART,), "drop": (T5_PART, "tokenizer_3")}[placement.t5]
    parts: dict[str, Any] = {}
    for part, (library, kind) in index.items():
        if library is None or part in absent:
            parts[part] = None  # diffusers wants to be told which optional parts are absent
        elif part in DENOISERS and denoiser is not None:
            parts[part] = denoiser
        elif (folder / part / "config.json").exists() or part in NETWORKS:
            parts[part] = _load_network(folder, part, placement, part in quantized)
        elif kind.endswith("VLProcessor") and find_spec("torchvision") is None:
            from ..language.local import still_processor

            parts[part] = still_processor(_class_of(library, kind), folder / part)
    pipe: Any = DiffusionPipeline.from_pretrained(str(folder), **parts, local_files_only=True)
    if placement.t5 == "once" and index.get(T5_PART, [None])[0] is not None:
        encoder = partial(_load_t5, folder, placement, T5_PART in quantized)
        pipe.register_modules(text_encoder_3=TransientEncoder(encoder, placement.dtype))
    if class_named(folder).startswith("StableDiffusion3"):
        check_scheduler(pipe.scheduler)
        if pipe.text_encoder is None or (pipe.text_encoder_2 is None and pipe.text_encoder_3 is not None):
            raise ModelError("it needs one CLIP text encoder, or two with or without a T5")
    return pipe


def _from_file(file: Path, folder: Path, placement: Placement) -> torch.nn.Module:
    """The denoiser of the model in ``folder``, with the weights of a single file."""
    part = denoiser_part(folder)
    kind: Any = _class_of(*read_index(folder)[part])
    how: dict[str, Any] = {"config": str(folder), "subfolder": part, "local_files_only": True}
    how["dtype"] = placement.dtype
    weights: Any = str(file)
    if file.suffix == ".gguf":
        how["quantization_config"] = diffusers.GGUFQuantizationConfig(compute_dtype=placement.dtype)
    else:
        weights = _unscaled(load_file(file))
    try:
        network = kind.from_single_file(weights, **how)
    except Exception as error:  # of many libraries
        raise ModelError(f"{file} has no weights of a {kind.__name__}: {_message(error)}") from error
    if missing := [name for name, weight in network.state_dict().items() if weight.is_meta]:
        raise ModelError(f"{file} lacks {len(missing)} of the denoiser's weights, such as {missing[0]}")
    return network


def _unscaled(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights, with 8-bit floats multiplied by their scales, in bfloat16."""
    for name in [name for name in weights if name.endswith((".scale_weight", ".weight_scale"))]:
        scale, scaled = weights.pop(name), f"{name.rpartition('.')[0]}.weight"
        weights[scaled] = (weights[scaled].float() * scale.float()).bfloat16()
    unused = ("scaled_fp8", ".scale_input", ".input_scale", ".comfy_quant")
    return {name: weight for name, weight in weights.items() if not name.endswith(unused)}


def _add_loras(pipe: Any, loras: Mapping[str, float]) -> None:
    """Fuse LoRAs into the weights, or keep them beside quantized weights."""
    names = {f"lora{n}": file for n, file in enumerate(loras)}
    for name, file in names.items():
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`")  # of the one before
                pipe.load_lora_weights(file, adapter_name=name)
        except Exception as error:  # of many libraries
            raise ModelError(f"the LoRA {file} cannot be added to this model: {_message(error)}") from error
        if not any(name in adapters for adapters in pipe.get_list_adapters().values()):
            raise ModelError(f"the LoRA {file} cannot be added to this model: it has no weights of its parts")
    if names:
        pipe.set_adapters(list(names), list(loras.values()))
        if not any(getattr(part, "hf_quantizer", None) for part in pipe.components.values()):
            pipe.fuse_lora(adapter_names=list(names))
            pipe.unload_lora_weights()


def locate(source: Path | str, *, whole: bool = True) -> tuple[Path, str]:
    """The folder of a model and its name with a short content hash; a hub id is downloaded, without the weights of its
    denoiser unless ``whole``. ``ModelError`` if it is no folder and the hub does not give it."""
    folder = Path(source)
    if folder.is_dir():
        return folder, f"{folder.resolve().name}@{content_hash(folder)}"
    if whole:
        snapshot = _fetch(source, DiffusionPipeline.download)
    else:
        snapshot = _fetch(source, partial(DiffusionPipeline.download, **dict.fromkeys(DENOISERS)))
        _fetch(source, lambda hub_id: hf_hub_download(hub_id, f"{denoiser_part(snapshot)}/config.json"))
    return snapshot, f"{str(source).rpartition('/')[2]}@{snapshot.name[:12]}"


def class_named(source: Path | str, part: str = "") -> str:
    """The class that a model's index names for the pipeline or one part; only the index of a hub model is fetched.
    ``ModelError`` if there is no such model."""
    folder = Path(source)
    index = folder / INDEX if folder.is_dir() else _fetch(source, lambda hub_id: hf_hub_download(hub_id, INDEX))
    try:
        named = json.loads(index.read_text(encoding="utf-8"))
        return str(named[part][1] if part else named["_class_name"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{source} has no {INDEX} that can be read: {_message(error)}") from error


def _fetch(source: Path | str, fetch: Callable[[str], str | os.PathLike[Any]]) -> Path:
    """The path that ``fetch`` returns for a hub id."""
    if isinstance(source, Path) or not HUB_ID.fullmatch(source):
        raise ModelError(f"there is no model folder {source}; give a diffusers folder or a hub id such as owner/name")
    try:
        return Path(fetch(source))
    except Exception as error:  # of many libraries
        for cause in (error, error.__cause__):
            if isinstance(cause, HfHubHTTPError):
                raise memory.hub_refusal(source, cause.response) from error
        raise ModelError(f"{source} is no folder here, and the hub did not give it: {_message(error)}") from error


def content_hash(folder: Path) -> str:
    """The first 12 hex digits of a SHA-256 over the index and the names and contents (``file_hash``) of the
    configuration and weight files in the parts' folders."""
    total = hashlib.sha256()
    files = [path for kind in ("json", "txt", "model", "safetensors") for path in folder.glob(f"*/*.{kind}")]
    for path in [*folder.glob(INDEX), *sorted(files)]:
        total.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        total.update(file_hash(path))
    return total.hexdigest()[:12]


def file_hash(path: Path) -> bytes:
    """SHA-256 of a file. Of weights over 64 MiB only samples are hashed, which any training or merging changes: the
    header and the first KiB of each tensor, or for GGUF as much at equal distances."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _SMALL or path.suffix not in (".safetensors", ".gguf"):
            return hashlib.file_digest(file, "sha256").digest()
        if path.suffix == ".gguf":
            head: object = size
            samples = [(begin, _SAMPLE) for begin in range(0, size, size // _SAMPLES)]
        else:
            start, tensors = 8 + int.from_bytes(file.read(8), "little"), sorted(memory.read_header(path).items())
            header = [(n, {"dtype": t.dtype, "shape": t.shape, "data_offsets": [*t.data_offsets]}) for n, t in tensors]
            head = f"{size} {header}"
            spans = sorted(tensor.data_offsets for _, tensor in tensors)
            samples = [(start + begin, min(_SAMPLE, end - begin)) for begin, end in spans]
        total = hashlib.sha256(f"{head}".encode())
        for begin, length in samples:
            file.seek(begin)
            total.update(file.read(length))
        return total.digest()


def _message(error: BaseException) -> str:
    return brief(str(error), 200) or type(error).__name__


def check_t5(folder: Path, t5: T5) -> None:
    """Refuse a folder that lacks the T5 in its index, unless T5 is dropped anyway."""
    if read_index(folder).get(T5_PART, [None])[0] is not None and t5 != "drop" and not (folder / T5_PART).is_dir():
        raise ModelError(f'it has no {T5_PART}, which is T5: to read prompts without it, set diffusion.t5 = "drop"')


def _load_t5(folder: Path, placement: Placement, quantized: bool) -> torch.nn.Module:
    """T5 where it runs: on the GPU, and perhaps in 4 bits, only if the denoiser makes room for it there."""
    device = torch.device(placement.device if placement.offload == "model" else "cpu")
    quantized = quantized and device.type != "cpu"
    with quiet_loading():
        encoder = _load_network(folder, T5_PART, placement, quantized)
    return encoder if quantized else encoder.to(device)


def _load_network(folder: Path, part: str, placement: Placement, quantized: bool) -> torch.nn.Module:
    """One part; refused if weights are missing, which the libraries would fill with random numbers."""
    library, kind = read_index(folder)[part]
    arguments = loading_arguments(library, placement, quantized)
    network, info = _class_of(library, kind).from_pretrained(
        folder / part, output_loading_info=True, local_files_only=True, **arguments
    )
    if missing := sorted(info["missing_keys"]):
        raise ModelError(f"{part} lacks {len(missing)} of its weights, such as {missing[0]}")
    return network


def _class_of(library: str, name: str) -> Any:
    """A class of diffusers, transformers or this package, so that a folder cannot name other code to run."""
    trusted = library in ("diffusers", "transformers") or library.startswith(f"{__name__.partition('.')[0]}.")
    module = importlib.import_module(library) if trusted else getattr(diffusers.pipelines, library, None)
    if (kind := getattr(module, name, None)) is None:
        raise ModelError(f"it names the class {library}.{name}, which is not known here")
    return kind


def check_scheduler(scheduler: Any) -> None:
    """Raises ``ModelError`` unless a step fixes its noise level and a seed fixes the image."""
    if not isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler):
        raise ModelError(f"its scheduler is a {type(scheduler).__name__}, not a FlowMatchEulerDiscreteScheduler")
    config: Any = scheduler.config
    if config.stochastic_sampling or config.invert_sigmas:
        raise ModelError("its scheduler samples stochastically or upside down, so no seed would name an image")
