"""How much memory a model needs and how much is free, so that too little ends in one line before a run.

Sizes are read from the headers of a model's files; no weight is loaded.
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isqrt, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...state import DrawingOptions
from ..errors import ModelError
from ..text import HUB_ID

if TYPE_CHECKING:
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
T5_PART = "text_encoder_3"
INDEX = "model_index.json"
"""Names the parts of a pipeline."""
_LARGE = 10**9
"""Numbers of a text encoder that is quantized as T5 is."""
_TURN_SHARE = 4
"""Parts of at least one in so many bytes of a model take turns under ``offload="model"``."""
_NF4_BYTES = 0.5 + 4 / 64
"""Four bits, and one float32 scale for each block of 64."""
_WORKING = 1536
"""Numbers a pixel that the denoiser and the decoder hold while they work on one image: 3 GiB for a megapixel
in bf16. An estimate that means to err upwards; it was not measured."""
_GROUP_SHARE = 10
"""Of the largest part, at most one in so many bytes is on the GPU under ``group``: T5's vocabulary is 1 in 36."""
_WIDE = ("embed_tokens", "shared.", "embedding", "relative_attention_bias", ".wo.", "lm_head")
"""Two-dimensional weights that are not quantized: those that are looked up, and T5's ``wo`` and the last layer of a
language model, which transformers keeps."""


@dataclass(frozen=True)
class PartSize:
    """One network of a pipeline."""

    parameters: int
    """Numbers in its weight files."""
    matrices: int
    """Those of them in linear layers, which 4-bit quantization makes smaller."""
    quantized: int = 0
    """Bytes of other weights, which are quantized in their file and stay so."""


@dataclass(frozen=True)
class ModelSize:
    """A whole pipeline."""

    parts: Mapping[str, PartSize]
    """By the part's name, such as ``transformer``."""
    pixels: int = 1024 * 1024
    """Of one image."""
    wide: tuple[str, ...] = ()
    """Parts that are stored in float32; the others are in half of it."""

    @property
    def download(self) -> int:
        """Bytes of its weight files."""
        return sum(part.parameters * (4 if name in self.wide else 2) for name, part in self.parts.items())


@dataclass(frozen=True)
class MemoryNeed:
    """At its highest, while one image is drawn at a time."""

    gpu_bytes: int
    """0 on a CPU."""
    ram_bytes: int


@dataclass(frozen=True)
class MemoryThere:
    """What is free now."""

    gpu_bytes: int | None
    """Of the GPU; None without one that has memory of its own."""
    ram_bytes: int


_ENCODERS = {
    "text_encoder": PartSize(123_650_304, 85_524_480),
    "text_encoder_2": PartSize(694_659_840, 630_784_000),
    "text_encoder_3": PartSize(4_762_310_656, 3_623_878_656),
    "vae": PartSize(83_819_683, 2_097_152),
}
_LARGE_MODEL = ModelSize({"transformer": PartSize(8_146_280_768, 8_053_694_464), **_ENCODERS})
_MEDIUM_MODEL = ModelSize({"transformer": PartSize(2_469_663_936, 2_241_822_720), **_ENCODERS})
_QWEN3_4B = (4_022_468_096, 3_633_315_840)


def _of_three(denoiser: tuple[int, int], reader: tuple[int, int], vae: tuple[int, int], *wide: str) -> ModelSize:
    parts = {"transformer": denoiser, "text_encoder": reader, "vae": vae}
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
"""By hub id, to be known before a download. Counted from the classes of diffusers and transformers, built
without memory from the models' published configurations; the tests count them again. They agree with the
billions of parameters that the publishers name."""


def memory_needed(
    model: Path | str | ModelSize,
    precision: Precision = "bf16",
    offload: Offload = "none",
    t5: T5 = "keep",
    *,
    gpu: bool = True,
) -> MemoryNeed:
    """An estimate from file headers alone, for what ``model_size`` knows, or a size."""
    size = model if isinstance(model, ModelSize) else model_size(model)
    working = size.pixels * _WORKING * _bytes(precision)
    parts = {name: _weight_bytes(name, part, precision) for name, part in size.parts.items()}
    dropped = parts.pop(T5_PART, 0) if t5 != "keep" else 0
    reader = dropped if t5 == "once" else 0
    total, largest = sum(parts.values()), max(parts.values(), default=0)
    if precision == "fp8":  # made narrow after it is loaded
        largest = max(part.parameters for part in size.parts.values()) * 2
    if not gpu:
        return MemoryNeed(0, total + max(reader, working))
    if offload == "model":
        turns = large_parts(parts)
        staying = sum(held for name, held in parts.items() if name not in turns)
        most = max(reader, *(parts[name] for name in turns), 0)
        return MemoryNeed(staying + most + working, total)
    if offload == "group":
        return MemoryNeed(largest // _GROUP_SHARE + working, total + reader)
    return MemoryNeed(total + working, max(largest, reader))


def large_parts(sizes: Mapping[str, int]) -> list[str]:
    """Names of the parts, given by their bytes, that take turns on the GPU; the others stay there.

    The autoencoder stays whatever its size: pipelines call its ``decode``, before which no forward hook runs.
    """
    bound = sum(sizes.values()) / _TURN_SHARE
    return [name for name, held in sizes.items() if name != "vae" and held >= bound]


def memory_there(device: str | None = None) -> MemoryThere:
    """Free memory of this machine, or of the container where that has less; ``device`` as torch names it."""
    import psutil
    import torch

    ram, group = psutil.virtual_memory().available, Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no control group (cgroup v2), or one without a bound
        bound, used = ((group / name).read_text() for name in ("memory.max", "memory.current"))
        ram = min(ram, max(0, int(bound) - int(used)))
    on_gpu = torch.cuda.is_available() and torch.device(device or "cuda").type == "cuda"
    return MemoryThere(torch.cuda.mem_get_info(device)[0] if on_gpu else None, ram)


Way = tuple[Precision, Offload, T5]
"""A way of loading a model."""
_CPU_WAYS: tuple[Way, ...] = (("bf16", "none", "keep"), ("bf16", "none", "once"), ("bf16", "none", "drop"))
_GPU_WAYS: tuple[Way, ...] = (
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


def check_memory(
    model: Path | str,
    precision: Precision,
    offload: Offload,
    t5: T5,
    there: MemoryThere,
    *,
    gpu: bool,
    size: ModelSize | None = None,
) -> None:
    """Raises ``ModelError`` if the model does not fit, in one line that names settings with which it would."""
    size = size or model_size(model)
    if short := shortage(size, precision, offload, t5, there, gpu=gpu):
        advice = "nothing here makes it fit: use a smaller model or another machine"
        ways = _GPU_WAYS if gpu else _CPU_WAYS
        if way := next((way for way in ways if not shortage(size, *way, there, gpu=gpu)), None):
            advice = 'set diffusion.precision = "{}", diffusion.offload = "{}", diffusion.t5 = "{}"'.format(*way)
        raise ModelError(f'{Path(model).name} in {precision} with offload "{offload}" needs about {short}; {advice}')


def shortage(
    size: ModelSize, precision: Precision, offload: Offload, t5: T5, there: MemoryThere, *, gpu: bool
) -> str | None:
    """What is too little to load a model of that size, in words; None if it fits."""
    need = memory_needed(size, precision, offload, t5, gpu=gpu)
    pairs = (("GPU memory", need.gpu_bytes, there.gpu_bytes), ("memory", need.ram_bytes, there.ram_bytes))
    for memory, needed, free in pairs:
        if free is not None and needed > free:
            return f"{needed / 1e9:.1f} GB of {memory} and {free / 1e9:.1f} GB are free"
    return None


def quantized_parts(parts: Mapping[str, PartSize], precision: Precision) -> list[str]:
    """Names of the parts that a precision has in 4 bits: the denoiser, and T5 or what a family has in its place."""
    denoisers = ["transformer"] if precision in ("nf4", "nf4-denoiser") else []
    readers = [name for name, part in parts.items() if name.startswith("text_") and part.parameters > _LARGE]
    return denoisers + ([*{T5_PART: None, **dict.fromkeys(readers)}] if precision in ("nf4", "nf4-t5") else [])


def _weight_bytes(name: str, part: PartSize, precision: Precision) -> int:
    whole = part.parameters * _bytes(precision) + part.quantized
    if name in quantized_parts({name: part}, precision):
        return int(whole + part.matrices * (_NF4_BYTES - _bytes(precision)))
    if name == "transformer" and precision == "fp8":
        return whole - part.matrices
    return whole


def _bytes(precision: Precision) -> int:
    """Of one number that is not quantized."""
    return 4 if precision == "fp32" else 2


def model_size(model: Path | str, options: DrawingOptions | None = None, *, ask: bool = False) -> ModelSize:
    """The size of a diffusers folder, of a downloaded model, or of a known one, with the weights and the pixels of the
    options; of another model of the hub, which is asked, only with ``ask``. ``ModelError`` if it is none of these, or a
    file is not what it should be, or not downloaded."""
    options = options or DrawingOptions()
    whole = options.weights is None
    if (folder := local_folder(model, whole=whole)) is not None:
        sizes = {part: _part_size(map(read_header, _weight_files(folder / part))) for part in _networks(folder, whole)}
        config = folder / ("unet" if "unet" in sizes else DENOISER) / "config.json"
        side = _read_json(config).get("sample_size") or 128
        blocks = _read_json(folder / "vae" / "config.json").get("block_out_channels") or [0] * 4
        size = ModelSize(sizes, (side * 2 ** (len(blocks) - 1)) ** 2)
    elif str(model) in KNOWN:
        size = KNOWN[str(model)]
    elif ask:
        size = remote_size(str(model), whole=whole)[0]
    else:
        raise ModelError(f"the size of {model} is not known before it is here: download it, or give a diffusers folder")
    side = isqrt(size.pixels)
    size = replace(size, pixels=(options.width or side) * (options.height or side))
    if options.weights is None:
        return size
    file = local_file(options.weights)
    if file is None:
        raise ModelError(f"the size of {options.weights} is not known before it is here: the first run downloads it")
    if file.suffix == ".gguf":
        return replace(size, parts={**size.parts, DENOISER: PartSize(0, 0, file.stat().st_size)})
    weights = read_header(file)
    own = {name: entry for name, entry in weights.items() if "diffusion_model." in name} or weights
    return replace(size, parts={**size.parts, DENOISER: _part_size([own])})


def local_file(file: str) -> Path | None:
    """A file of ``DrawingOptions`` that is here or in the cache of the hub, None if it is to be downloaded;
    ``ModelError`` if it is neither a file nor ``owner/name/file``."""
    if Path(file).is_file():
        return Path(file)
    hub_id, name = split_hub_file(file)
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(hub_id, name)
    return Path(cached) if isinstance(cached, str) else None


def split_hub_file(file: str) -> tuple[str, str]:
    """Hub id and name of ``owner/name/file``; ``ModelError`` if it reads otherwise."""
    owner, _, rest = file.partition("/")
    name, _, inner = rest.partition("/")
    if not (inner and HUB_ID.fullmatch(f"{owner}/{name}")):
        raise ModelError(f"there is no file {file}: give its path, or owner/name/file for one on the hub")
    return f"{owner}/{name}", inner


def local_folder(model: Path | str, *, whole: bool = True) -> Path | None:
    """The folder of a model that can be loaded without the network, its denoiser aside unless ``whole``; None if there
    is none."""
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
    """Library and class by part, as a model's index names them; None for both of a part that is absent."""
    index = _read_json(folder / INDEX)
    return {part: named for part, named in index.items() if isinstance(named, list) and named}


def _networks(folder: Path, whole: bool) -> list[str]:
    """Names of the parts that are there with weights, the denoiser aside unless ``whole``."""
    present = [part for part, named in read_index(folder).items() if named[0] is not None]
    return [part for part in present if (folder / part / "config.json").exists() and (whole or part != DENOISER)]


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one part in their first variant; ``ModelError`` if one or all are missing."""
    if lists := sorted(folder.glob("*.safetensors.index.json")):
        files = [folder / name for name in sorted(set(_read_json(lists[0])["weight_map"].values()))]
    else:
        files = [path for path in sorted(folder.glob("*.safetensors")) if path.stem.count(".") == 0][:1]
    missing = [path.name for path in files if not path.exists()]
    if missing or not files:
        lacks = f"{folder} lacks {', '.join(missing) or 'safetensors weights'}"
        raise ModelError(f"{lacks}; {'fetch the model again' if missing else _conversion(folder)}")
    return files


def _conversion(folder: Path) -> str:
    """What to do about weights that are there in another form."""
    again = "DiffusionPipeline.from_pretrained(FOLDER{}).save_pretrained(OTHER), and name OTHER"
    for path in sorted(folder.glob("*.*.safetensors")):
        variant = path.stem.rpartition(".")[2]
        return f"it has the variant {variant} alone: save it once with {again.format(f', variant={variant!r}')}"
    if any(folder.glob("*.bin")):
        return f"it has .bin weights, which may run code when they are read: if you trust them, {again.format('')}"
    return "fetch the model again"


def remote_size(hub_id: str, *, whole: bool = True) -> tuple[ModelSize, int]:
    """The size of a model of the hub, its denoiser aside unless ``whole``, and the bytes of a download of its weights:
    the hub is asked for a list of files and for their headers. ``ModelError`` if it does not give them, or lists no
    weights."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, NotASafetensorsRepoError, SafetensorsParsingError

    hub, fetched = HfApi(), 0
    parts: dict[str, list[dict[str, TensorInfo]]] = {}
    try:
        for file in hub.model_info(hub_id, files_metadata=True).siblings or []:
            part, _, name = file.rfilename.rpartition("/")
            # A variant, such as fp16, has its name between two dots.
            if part and (whole or part != DENOISER) and name.endswith(".safetensors") and name.count(".") == 1:
                parts.setdefault(part, []).append(hub.parse_safetensors_file_metadata(hub_id, file.rfilename).tensors)
                fetched += file.size or 0
    except HfHubHTTPError as error:
        raise hub_refusal(hub_id, error.response) from error
    except (OSError, NotASafetensorsRepoError, SafetensorsParsingError) as error:
        raise ModelError(f"the hub does not say how large {hub_id} is: {error}") from error
    if not parts:
        raise ModelError(f"{hub_id} on the hub has no weights in folders, so it is no diffusers model")
    return ModelSize({part: _part_size(headers) for part, headers in parts.items()}), fetched


def hub_refusal(model: str, response: Any) -> ModelError:
    """What to do about the hub's refusal of a model: ``response`` is that of httpx, with a status of 400 or more."""
    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    said = response.headers.get("X-Error-Message", "").lower()
    log_in = "log in with `hf auth login` or set HF_TOKEN"
    if status in (400, 401) and re.search(r"invalid (credentials|username|user token|token)|expired", said):
        return ModelError(f"the hub refuses the token of HF_TOKEN or of an earlier login: {log_in} anew")
    if code == "GatedRepo" or status == 403:
        return ModelError(f"{model} is gated: accept its licence at https://huggingface.co/{model}, then {log_in}")
    if code == "EntryNotFound":
        return ModelError(f"{model} on the hub has no model_index.json, so it is no diffusers model")
    if status in (401, 404):
        return ModelError(f"the hub has no model {model}; if it is private, {log_in}")
    return ModelError(f"the hub does not give {model} (status {status}): try again later")


def _part_size(headers: Iterable[Mapping[str, "TensorInfo"]]) -> PartSize:
    """Of a part, by its tensors, a mapping for each file."""
    parameters = matrices = quantized = 0
    for name, tensor in (item for header in headers for item in header.items()):
        numbers = prod(tensor.shape)
        if tensor.dtype in ("I8", "U8"):
            quantized += numbers
            continue
        parameters += numbers
        if len(tensor.shape) == 2 and name.endswith(".weight") and not any(part in name for part in _WIDE):
            matrices += numbers
    return PartSize(parameters, matrices, quantized)


def read_header(file: Path) -> "dict[str, TensorInfo]":
    """What a safetensors file holds, by the tensor's name; ``ModelError`` if it is none."""
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
