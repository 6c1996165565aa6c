"""How much memory a model needs and how much is free, so that a run with too little ends before it loads anything.

Sizes are read from the headers of a model's files; no weight is loaded.
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isqrt, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ...state import DrawingOptions
from ..errors import ModelError
from ..text import HUB_ID

if TYPE_CHECKING:
    import torch
    from huggingface_hub.utils import TensorInfo

Precision = Literal["bf16", "fp32", "fp16", "fp8", "nf4", "nf4-denoiser", "nf4-t5"]
"""bf16, fp16, fp32: every weight in that type. The others have all arithmetic and most weights in bf16; fp8: the
denoiser in 8-bit floats; nf4: the denoiser and T5 in 4-bit NormalFloat (arXiv 2305.14314); nf4-denoiser and nf4-t5:
one of them."""
Offload = Literal["none", "model", "group"]
"""none: every part stays on the GPU; model: the large parts take turns on it; group: a few layers at a time."""
T5 = Literal["keep", "once", "drop"]
"""keep: the T5 text encoder stays; once: it is loaded for new prompts and dropped before the denoiser runs;
drop: prompts are read without it, as SD3 allows."""

DENOISER = "transformer"
DENOISERS = (DENOISER, "unet")
"""What a pipeline calls its denoiser."""
T5_PART = "text_encoder_3"
INDEX = "model_index.json"
"""Names the parts of a pipeline."""
_LARGE = 10**9
"""Parameters of a text encoder that is quantized as T5 is."""
_TURN_SHARE = 4
"""Under ``offload="model"``, a part takes turns if it has at least one in so many bytes of the model."""
_NF4_BYTES = 0.5 + 4 / 64
"""Four bits, and one float32 scale for each block of 64."""
_WORKING = 1536
"""Numbers per pixel that the denoiser and the decoder hold while they work on one image: 3 GiB for a megapixel
in bf16. A deliberately high estimate, not a measurement."""
_GROUP_SHARE = 10
"""Under ``offload="group"``, at most one in so many bytes of the largest part is on the GPU: T5's vocabulary is 1 in
36."""
_NOT_QUANTIZED = ("embed_tokens", "shared.", "embedding", "relative_attention_bias", ".wo.", "lm_head")
"""Two-dimensional weights that stay as they are: embeddings, and T5's ``wo`` and the last layer of a language model,
which transformers does not quantize."""


@dataclass(frozen=True)
class PartSize:
    """The size of one network of a pipeline."""

    parameters: int
    """Numbers in its weight files."""
    matrices: int
    """Those of them in linear layers, which 4-bit quantization shrinks."""
    quantized: int = 0
    """Bytes of further weights that are already quantized in the file."""


@dataclass(frozen=True)
class ModelSize:
    """The size of a pipeline."""

    parts: Mapping[str, PartSize]
    """By name, such as ``transformer``."""
    pixels: int = 1024 * 1024
    """Of one image."""
    wide: tuple[str, ...] = ()
    """Parts stored in float32; the others are stored in 16 bits."""

    @property
    def download(self) -> int:
        """Bytes of its weight files."""
        return sum(part.parameters * (4 if name in self.wide else 2) for name, part in self.parts.items())


class Memory(NamedTuple):
    """An amount of memory, needed at the peak or free."""

    gpu_bytes: int | None
    """None where no GPU with its own memory is used."""
    ram_bytes: int


class Placement(NamedTuple):
    """Where and how a model is loaded."""

    device: "torch.device | str" = "cuda"
    """Where it runs."""
    precision: Precision = "bf16"
    offload: Offload = "none"
    t5: T5 = "keep"

    @property
    def dtype(self) -> "torch.dtype":
        """Of all arithmetic, and of the weights that are not quantized."""
        import torch

        return {"fp16": torch.float16, "fp32": torch.float32}.get(self.precision, torch.bfloat16)

    @property
    def kind(self) -> str:
        """The kind of device, such as ``cuda``."""
        return str(self.device).partition(":")[0]

    @property
    def on_gpu(self) -> bool:
        """Whether the device has memory of its own; MPS shares that of the CPU."""
        return self.kind not in ("cpu", "mps")


_ON_CPU: tuple[tuple[Precision, Offload, T5], ...] = (
    ("bf16", "none", "keep"),
    ("bf16", "none", "once"),
    ("bf16", "none", "drop"),
)
_ON_GPU: tuple[tuple[Precision, Offload, T5], ...] = (
    ("bf16", "none", "keep"),
    ("bf16", "model", "keep"),
    ("bf16", "model", "once"),
    ("fp8", "none", "keep"),
    ("nf4", "none", "keep"),
    ("nf4", "model", "keep"),
    ("nf4", "model", "once"),
    ("bf16", "group", "once"),
    ("nf4", "model", "drop"),
    ("bf16", "group", "drop"),
)
"""Ways of loading a model, from the least loss of quality and speed to the most."""

_ENCODERS = {
    "text_encoder": PartSize(123_650_304, 85_524_480),
    "text_encoder_2": PartSize(694_659_840, 630_784_000),
    "text_encoder_3": PartSize(4_762_310_656, 3_623_878_656),
    "vae": PartSize(83_819_683, 2_097_152),
}
_LARGE_MODEL = ModelSize({"transformer": PartSize(8_146_280_768, 8_053_694_464), **_ENCODERS})
_MEDIUM_MODEL = ModelSize({"transformer": PartSize(2_469_663_936, 2_241_822_720), **_ENCODERS})
_QWEN3_4B = (4_022_468_096, 3_633_315_840)


def _of_three(denoiser: tuple[int, int], encoder: tuple[int, int], vae: tuple[int, int], *wide: str) -> ModelSize:
    parts = {"transformer": denoiser, "text_encoder": encoder, "vae": vae}
    return ModelSize({name: PartSize(*part) for name, part in parts.items()}, wide=wide)


KNOWN = {
    "stabilityai/stable-diffusion-3.5-large": _LARGE_MODEL,
    "stabilityai/stable-diffusion-3.5-large-turbo": _LARGE_MODEL,
    "stabilityai/stable-diffusion-3.5-medium": _MEDIUM_MODEL,
    "Qwen/Qwen-Image": _of_three((20_430_401_088, 20_424_818_688), (8_292_166_656, 7_199_817_728), (126_892_531, 0)),
    "Tongyi-MAI/Z-Image-Turbo": _of_three(
        (6_154_908_736, 6_153_863_168), _QWEN3_4B, (83_819_683, 2_097_152), "transformer"
    ),
    "black-forest-labs/FLUX.2-klein-4B": _of_three((3_875_544_576, 3_875_536_896), _QWEN3_4B, (84_046_372, 2_097_152)),
}
"""Sizes by hub id, for models that are not downloaded yet. Counted on the classes of diffusers and transformers, built
without memory from the published configurations; the tests count them again."""


def memory_needed(size: ModelSize, placement: Placement) -> Memory:
    """An estimate of the peak while one image is drawn at a time."""
    _, precision, offload, t5 = placement
    working = size.pixels * _WORKING * _bytes(precision)
    parts = {name: _weight_bytes(name, part, precision) for name, part in size.parts.items()}
    dropped = parts.pop(T5_PART, 0) if t5 != "keep" else 0
    once = dropped if t5 == "once" else 0
    total, largest = sum(parts.values()), max(parts.values(), default=0)
    if precision == "fp8":  # each part is loaded in bf16 and then narrowed
        largest = max(part.parameters for part in size.parts.values()) * 2
    if not placement.on_gpu:
        return Memory(None, total + max(once, working))
    if offload == "model":
        turns = large_parts(parts)
        staying = sum(held for name, held in parts.items() if name not in turns)
        return Memory(staying + max(once, *(parts[name] for name in turns), 0) + working, total)
    if offload == "group":
        return Memory(largest // _GROUP_SHARE + working, total + once)
    return Memory(total + working, max(largest, once))


def large_parts(sizes: Mapping[str, int]) -> list[str]:
    """Names of the parts, given with their bytes, that take turns on the GPU; the others stay there.

    The autoencoder always stays: pipelines call its ``decode``, before which no forward hook runs.
    """
    least = sum(sizes.values()) / _TURN_SHARE
    return [name for name, held in sizes.items() if name != "vae" and held >= least]


def free_memory(device: "torch.device | str | None" = None) -> Memory:
    """Free memory of this machine, or of the container where that has less; ``device`` as torch names it."""
    import psutil
    import torch

    ram, group = psutil.virtual_memory().available, Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no control group (cgroup v2), or one without a limit
        limit, used = ((group / name).read_text() for name in ("memory.max", "memory.current"))
        ram = min(ram, max(0, int(limit) - int(used)))
    on_gpu = torch.cuda.is_available() and torch.device(device or "cuda").type == "cuda"
    return Memory(torch.cuda.mem_get_info(device)[0] if on_gpu else None, ram)


def check_memory(model: Path | str, size: ModelSize, placement: Placement, free: Memory) -> None:
    """Raises ``ModelError`` if the model does not fit, in one line that names settings with which it would."""
    if short := shortage(size, placement, free):
        others = [Placement(placement.device, *way) for way in (_ON_GPU if placement.on_gpu else _ON_CPU)]
        advice = "nothing here makes it fit: use a smaller model or another machine"
        if fit := next((other for other in others if not shortage(size, other, free)), None):
            advice = 'set diffusion.precision = "{1}", diffusion.offload = "{2}", diffusion.t5 = "{3}"'.format(*fit)
        needs = f'{Path(model).name} in {placement.precision} with offload "{placement.offload}" needs'
        raise ModelError(f"{needs} about {short}; {advice}")


def shortage(size: ModelSize, placement: Placement, free: Memory) -> str | None:
    """Which memory is too small for the model, as a phrase; None if it fits."""
    for kind, needed, available in zip(("GPU memory", "memory"), memory_needed(size, placement), free, strict=True):
        if needed is not None and available is not None and needed > available:
            return f"{needed / 1e9:.1f} GB of {kind} and {available / 1e9:.1f} GB are free"
    return None


def quantized_parts(parts: Mapping[str, PartSize], precision: Precision) -> list[str]:
    """Names of the parts that a precision has in 4 bits: the denoiser, and T5 or a family's large text encoder."""
    denoisers = [*DENOISERS] if precision in ("nf4", "nf4-denoiser") else []
    encoders = [name for name, part in parts.items() if name.startswith("text_") and part.parameters > _LARGE]
    return denoisers + ([*{T5_PART: None, **dict.fromkeys(encoders)}] if precision in ("nf4", "nf4-t5") else [])


def _weight_bytes(name: str, part: PartSize, precision: Precision) -> int:
    total = part.parameters * _bytes(precision) + part.quantized
    if name in quantized_parts({name: part}, precision):
        return int(total + part.matrices * (_NF4_BYTES - _bytes(precision)))
    return total - part.matrices if name in DENOISERS and precision == "fp8" else total


def _bytes(precision: Precision) -> int:
    """Of one number that is not quantized."""
    return 4 if precision == "fp32" else 2


def model_size(model: Path | str, options: DrawingOptions | None = None, *, ask_hub: bool = False) -> ModelSize:
    """The size of a model with the options' weights and pixels: of a diffusers folder, a downloaded or a known model,
    or with ``ask_hub`` any model of the hub. ``ModelError`` for any other, or if a file is broken or missing."""
    options = options or DrawingOptions()
    whole = options.weights is None
    if (folder := local_folder(model, whole=whole)) is not None:
        sizes = {part: _part_size(map(read_header, _weight_files(folder / part))) for part in _networks(folder, whole)}
        side = _read_json(folder / denoiser_part(folder) / "config.json").get("sample_size") or 128
        blocks = _read_json(folder / "vae" / "config.json").get("block_out_channels") or [0] * 4
        size = ModelSize(sizes, (side * 2 ** (len(blocks) - 1)) ** 2)
    elif str(model) in KNOWN:
        size = KNOWN[str(model)]
    elif ask_hub:
        size = remote_size(str(model), whole=whole)[0]
    else:
        raise ModelError(f"the size of {model} is not known before it is here: download it, or give a diffusers folder")
    side = isqrt(size.pixels)
    size = replace(size, pixels=(options.width or side) * (options.height or side))
    if options.weights is None:
        return size
    if (file := local_file(options.weights)) is None:
        raise ModelError(f"the size of {options.weights} is not known before it is here: the first run downloads it")
    if file.suffix == ".gguf":
        denoiser = PartSize(0, 0, file.stat().st_size)
    else:
        tensors = read_header(file)
        denoiser = _part_size([{name: t for name, t in tensors.items() if "diffusion_model." in name} or tensors])
    return replace(size, parts={**size.parts, DENOISER: denoiser})


def local_file(file: str) -> Path | None:
    """A file of ``DrawingOptions`` on disk or in the hub's cache; None if it has to be downloaded; ``ModelError`` if it
    is neither a file nor ``owner/name/file``."""
    if Path(file).is_file():
        return Path(file)
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(*split_hub_file(file))
    return Path(cached) if isinstance(cached, str) else None


def split_hub_file(file: str) -> tuple[str, str]:
    """Hub id and file name of ``owner/name/file``; ``ModelError`` for any other form."""
    owner, name, inner = (*file.split("/", 2), "", "")[:3]
    if not (inner and HUB_ID.fullmatch(f"{owner}/{name}")):
        raise ModelError(f"there is no file {file}: give its path, or owner/name/file for one on the hub")
    return f"{owner}/{name}", inner


def local_folder(model: Path | str, *, whole: bool = True) -> Path | None:
    """The folder of a model that loads without the network, without its denoiser unless ``whole``; else None."""
    if Path(model).is_dir():
        return Path(model)
    if isinstance(model, Path) or not HUB_ID.fullmatch(model):
        return None
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(model, INDEX)
    if not isinstance(index, str):
        return None
    folder = Path(index).parent
    with suppress(ModelError):
        return folder if all(_weight_files(folder / part) for part in _networks(folder, whole)) else None
    return None


def read_index(folder: Path) -> dict[str, list[Any]]:
    """Library and class by part, from a model's index; both are None for an absent part."""
    index = _read_json(folder / INDEX)
    return {part: named for part, named in index.items() if isinstance(named, list) and named}


def denoiser_part(folder: Path) -> str:
    """Which of ``DENOISERS`` a model has."""
    return "unet" if "unet" in read_index(folder) else DENOISER


def _networks(folder: Path, whole: bool) -> list[str]:
    """Names of the parts with weights, without the denoiser unless ``whole``."""
    present = [part for part, named in read_index(folder).items() if named[0] is not None]
    return [part for part in present if (folder / part / "config.json").exists() and (whole or part not in DENOISERS)]


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one part in their first variant; ``ModelError`` if one or all are missing."""
    if lists := sorted(folder.glob("*.safetensors.index.json")):
        files = [folder / name for name in sorted(set(_read_json(lists[0])["weight_map"].values()))]
    else:
        files = [path for path in sorted(folder.glob("*.safetensors")) if path.stem.count(".") == 0][:1]
    if missing := [path.name for path in files if not path.exists()]:
        raise ModelError(f"{folder} lacks {', '.join(missing)}; fetch the model again")
    if files:
        return files
    advice, save = "fetch the model again", "DiffusionPipeline.from_pretrained(FOLDER{}).save_pretrained(OTHER)"
    if variants := sorted(folder.glob("*.*.safetensors")):
        variant = variants[0].stem.rpartition(".")[2]
        how = save.format(f", variant={variant!r}")
        advice = f"it has the variant {variant} alone: save it once with {how}, and name OTHER"
    elif any(folder.glob("*.bin")):
        risk = "it has .bin weights, which may run code when they are read: if you trust them"
        advice = f"{risk}, {save.format('')}, and name OTHER"
    raise ModelError(f"{folder} lacks safetensors weights; {advice}")


def remote_size(hub_id: str, *, whole: bool = True) -> tuple[ModelSize, int]:
    """The size of a model on the hub, without its denoiser unless ``whole``, and the bytes to download, from its list
    of files and their headers. ``ModelError`` if the hub does not give them, or lists no weights."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, NotASafetensorsRepoError, SafetensorsParsingError

    hub, to_download = HfApi(), 0
    parts: dict[str, list[dict[str, TensorInfo]]] = {}
    try:
        for file in hub.model_info(hub_id, files_metadata=True).siblings or []:
            part, _, name = file.rfilename.rpartition("/")
            # A variant, such as fp16, has its name between two dots.
            if part and (whole or part not in DENOISERS) and name.endswith(".safetensors") and name.count(".") == 1:
                parts.setdefault(part, []).append(hub.parse_safetensors_file_metadata(hub_id, file.rfilename).tensors)
                to_download += file.size or 0
    except HfHubHTTPError as error:
        raise hub_refusal(hub_id, error.response) from error
    except (OSError, NotASafetensorsRepoError, SafetensorsParsingError) as error:
        raise ModelError(f"the hub does not say how large {hub_id} is: {error}") from error
    if not parts:
        raise ModelError(f"{hub_id} on the hub has no weights in folders, so it is no diffusers model")
    return ModelSize({part: _part_size(headers) for part, headers in parts.items()}), to_download


def hub_refusal(model: str, response: Any) -> ModelError:
    """What the user can do about the hub's error ``response``, of httpx with a status of 400 or more."""
    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    message = response.headers.get("X-Error-Message", "").lower()
    log_in = "log in with `hf auth login` or set HF_TOKEN"
    if status in (400, 401) and re.search(r"invalid (credentials|username|user token|token)|expired", message):
        return ModelError(f"the hub refuses the token of HF_TOKEN or of an earlier login: {log_in} anew")
    if code == "GatedRepo" or status == 403:
        return ModelError(f"{model} is gated: accept its licence at https://huggingface.co/{model}, then {log_in}")
    if code == "EntryNotFound":
        return ModelError(f"{model} on the hub has no model_index.json, so it is no diffusers model")
    if status in (401, 404):
        return ModelError(f"the hub has no model {model}; if it is private, {log_in}")
    return ModelError(f"the hub does not give {model} (status {status}): try again later")


def _part_size(headers: Iterable[Mapping[str, "TensorInfo"]]) -> PartSize:
    """The size of a part from its tensors, one mapping per file."""
    parameters = matrices = quantized = 0
    for name, tensor in (item for header in headers for item in header.items()):
        numbers = prod(tensor.shape)
        if tensor.dtype in ("I8", "U8"):
            quantized += numbers
            continue
        parameters += numbers
        if len(tensor.shape) == 2 and name.endswith(".weight") and not any(part in name for part in _NOT_QUANTIZED):
            matrices += numbers
    return PartSize(parameters, matrices, quantized)


def read_header(file: Path) -> "dict[str, TensorInfo]":
    """The tensors of a safetensors file by name; ``ModelError`` if it is none."""
    from huggingface_hub import parse_local_safetensors_file_metadata
    from huggingface_hub.errors import SafetensorsParsingError

    try:
        return parse_local_safetensors_file_metadata(file).tensors
    except (OSError, SafetensorsParsingError, TypeError, AttributeError) as error:  # the last two of other JSON
        raise ModelError(f"{file} is no safetensors file; fetch the model again") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is missing or broken; fetch the model again") from error
