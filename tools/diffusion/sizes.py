"""How large a model's parts are, read from the headers of its files; no weight is loaded and no network asked."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ..errors import ModelError

_EMBEDDINGS = ("embed_tokens", "shared.", "embedding", "relative_attention_bias")
"""Two-dimensional weights that are looked up, not multiplied, and so stay as they are when a model is quantized."""


@dataclass(frozen=True)
class PartSize:
    """One network of a pipeline."""

    parameters: int
    """Numbers in its weight files."""
    matrices: int
    """Those of them in linear layers, which 4-bit quantization makes smaller."""


@dataclass(frozen=True)
class ModelSize:
    """A whole pipeline."""

    parts: Mapping[str, PartSize]
    """By the part's name, such as ``transformer``."""
    pixels: int
    """Of one image."""


_ENCODERS = {
    "text_encoder": PartSize(123_650_304, 85_524_480),
    "text_encoder_2": PartSize(694_659_840, 630_784_000),
    "text_encoder_3": PartSize(4_762_310_656, 4_630_511_616),
    "vae": PartSize(83_819_683, 2_097_152),
}
_LARGE = ModelSize({"transformer": PartSize(8_146_280_768, 8_053_694_464), **_ENCODERS}, 1024 * 1024)
_MEDIUM = ModelSize({"transformer": PartSize(2_469_663_936, 2_241_822_720), **_ENCODERS}, 1024 * 1024)

KNOWN = {
    "stabilityai/stable-diffusion-3.5-large": _LARGE,
    "stabilityai/stable-diffusion-3.5-large-turbo": _LARGE,
    "stabilityai/stable-diffusion-3.5-medium": _MEDIUM,
}
"""By hub id, to be known before a download. Counted from the classes of diffusers and transformers, built
without memory from the models' published configurations; the tests count them again. They agree with the
8.1 and 2.5 billion parameters that the publisher names."""


def model_size(model: Path | str) -> ModelSize:
    """The size of a diffusers folder, of a downloaded model, or of a known one.

    Raises:
        ModelError: it is none of these, or a file is not what it should be.
    """
    if (folder := local_folder(model)) is not None:
        return _measure(folder)
    if str(model) in KNOWN:
        return KNOWN[str(model)]
    raise ModelError(f"the size of {model} is not known before it is here: download it, or give a diffusers folder")


def local_folder(model: Path | str) -> Path | None:
    """The folder of a model that can be loaded without the network; None if there is none."""
    if Path(model).is_dir():
        return Path(model)
    if isinstance(model, Path) or model.count("/") != 1:
        return None
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(model, "model_index.json")
    if not isinstance(index, str):
        return None
    folder = Path(index).parent
    return folder if _is_whole(folder) else None


def is_downloaded(hub_id: str) -> bool:
    """Whether a model of the hub is in the local cache with all its weights; the network is not asked."""
    return local_folder(hub_id) is not None


def _is_whole(folder: Path) -> bool:
    """Whether every network has weights, and every file that their lists name."""
    try:
        return all(_weight_files(folder / part) for part in _networks(folder))
    except ModelError:
        return False


def _measure(folder: Path) -> ModelSize:
    return ModelSize({part: _part_size(folder / part) for part in _networks(folder)}, _pixels(folder))


def _networks(folder: Path) -> list[str]:
    """Names of the parts that have weights; those that the index marks as absent do not count."""
    index = _read_json(folder / "model_index.json")
    present = [part for part, named in index.items() if isinstance(named, list) and named and named[0] is not None]
    return [part for part in present if (folder / part / "config.json").exists()]


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one part in their first variant, all of them there.

    Raises:
        ModelError: there is none, or one that the list names is missing.
    """
    for listed in sorted(folder.glob("*.safetensors.index.json")):
        files = [folder / name for name in sorted(set(_read_json(listed)["weight_map"].values()))]
        break
    else:
        files = [path for path in sorted(folder.glob("*.safetensors")) if path.stem.count(".") == 0][:1]
    missing = [path.name for path in files if not path.exists()]
    if missing or not files:
        raise ModelError(f"{folder} lacks {', '.join(missing) or 'safetensors weights'}; fetch the model again")
    return files


def _part_size(folder: Path) -> PartSize:
    shapes = [item for file in _weight_files(folder) for item in _header(file).items()]
    return PartSize(
        sum(prod(shape) for _, shape in shapes), sum(prod(shape) for name, shape in shapes if _is_matrix(name, shape))
    )


def _is_matrix(name: str, shape: list[int]) -> bool:
    return len(shape) == 2 and name.endswith(".weight") and not any(part in name for part in _EMBEDDINGS)


def _header(file: Path) -> dict[str, list[int]]:
    """Shapes by tensor name: a little-endian length of 8 bytes, then JSON."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            entries: dict[str, Any] = json.loads(stream.read(min(length, file.stat().st_size)))
        return {name: entry["shape"] for name, entry in entries.items() if name != "__metadata__"}
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{file} is no safetensors file; fetch the model again") from error


def _pixels(folder: Path) -> int:
    """Of the image that the configurations make by default."""
    side = _read_json(folder / "transformer" / "config.json").get("sample_size") or 128
    blocks = _read_json(folder / "vae" / "config.json").get("block_out_channels") or [0] * 4
    return (side * 2 ** (len(blocks) - 1)) ** 2


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is missing or broken; fetch the model again") from error
