"""Loads any SD3-class pipeline, from a diffusers folder or from the hub, whole or not at all."""

import hashlib
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import diffusers
import torch
from diffusers import StableDiffusion3Pipeline
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from ..errors import ModelError
from .memory import Precision, check_memory, memory_there
from .placement import Placement, loading_arguments, pipeline_arguments, put
from .quiet import quiet_loading
from .sizes import KNOWN, model_size
from .transient import TransientEncoder

P = TypeVar("P", bound=diffusers.DiffusionPipeline)

NETWORKS = ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
"""Parts with weights."""
OPTIONAL = ("text_encoder_2", "text_encoder_3", "tokenizer_2", "tokenizer_3")
"""Parts that a pipeline can do without; diffusers wants to be told that they are absent."""
T5_ENCODER = "text_encoder_3"
INDEX = "model_index.json"
"""What a pipeline is made of."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def locate(source: Path | str) -> tuple[Path, str]:
    """The folder of a model and its name with a short content hash; a hub id is downloaded.

    Raises:
        ModelError: it is neither a folder nor a model of the hub that can be fetched.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder, f"{folder.resolve().name}@{content_hash(folder)}"
    hub_id = _hub_id(source)
    try:
        snapshot = Path(diffusers.DiffusionPipeline.download(hub_id))
    except Exception as error:
        raise ModelError(_not_given(hub_id, error)) from error
    return snapshot, f"{hub_id.rpartition('/')[2]}@{snapshot.name[:12]}"


def class_named(source: Path | str) -> str:
    """The class of pipeline that a model's index names; of a hub model that is not here, the index alone is fetched.

    Raises:
        ModelError: it is neither a folder with an index nor a model of the hub that can be fetched.
    """
    folder = Path(source)
    index = folder / INDEX if folder.is_dir() else _fetched(_hub_id(source), INDEX)
    try:
        return str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{source} has no {INDEX} that can be read: {one_line(error)}") from error


def _fetched(hub_id: str, file: str) -> Path:
    try:
        return Path(hf_hub_download(hub_id, file))
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise ModelError(_not_given(hub_id, error)) from error


def _not_given(hub_id: str, error: BaseException) -> str:
    return f"{hub_id} is no folder here, and the hub did not give it: {one_line(error)}"


def _hub_id(source: Path | str) -> str:
    if isinstance(source, Path) or not _HUB_ID.fullmatch(source):
        raise ModelError(f"there is no model folder {source}; give a diffusers folder or a hub id such as owner/name")
    return source


def content_hash(folder: Path) -> str:
    """The first 12 hex digits of a SHA-256 over names and contents of the configuration and weight files.

    Files beside the parts' own folders do not count, except for ``model_index.json``.
    """
    total = hashlib.sha256()
    files = [path for kind in ("json", "txt", "model", "safetensors") for path in folder.glob(f"*/*.{kind}")]
    for path in [*folder.glob(INDEX), *sorted(files)]:
        total.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:12]


def load(source: Path | str, placement: Placement) -> tuple[StableDiffusion3Pipeline, str]:
    """The pipeline of a diffusers folder or a hub id, and its name with a short content hash.

    Raises:
        ModelError: see ``locate`` and ``load_pipeline``; neither a known model that does not fit nor one of another
            class is downloaded first.
    """
    if str(source) in KNOWN:
        _check_room(source, placement)
    elif not Path(source).is_dir():
        _check_class(class_named(source))
    folder, model = locate(source)
    return load_pipeline(folder, placement), model


def load_any(source: Path | str, placement: Placement) -> tuple[diffusers.DiffusionPipeline, str]:
    """The pipeline of any family, of the class that its index names, and its name; see ``load``."""
    folder, model = locate(source)
    try:
        _check_room(folder, placement)
        with quiet_loading():
            pipe = diffusers.DiffusionPipeline.from_pretrained(
                str(folder), local_files_only=True, **pipeline_arguments(model_size(folder), placement)
            )
    except ModelError as error:
        raise ModelError(f"{folder} cannot be used: {error}") from error
    except Exception as error:  # tokenizers raises it bare
        raise ModelError(f"{folder} is not whole: {one_line(error)}; fetch or save it again") from error
    return _put(pipe, folder, placement), model


def load_pipeline(folder: Path, placement: Placement) -> StableDiffusion3Pipeline:
    """The pipeline in ``folder``, placed as wanted.

    Raises:
        ModelError: a file is missing or corrupt, weights are missing, it is not an SD3-class pipeline, or
            there is no room or no such device.
    """
    try:
        index = _read_index(folder)
        _check_room(folder, placement)
        with quiet_loading():
            pipe = _load(folder, index, placement)
        _check_kind(pipe)
    except ModelError as error:
        raise ModelError(f"{folder} cannot be used: {error}") from error
    except Exception as error:  # tokenizers raises it bare
        raise ModelError(f"{folder} is not whole: {one_line(error)}; fetch or save it again") from error
    return _put(pipe, folder, placement)


def _put(pipe: P, folder: Path, placement: Placement) -> P:
    try:
        return put(pipe, placement)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ModelError(f"{folder} cannot be put on the device {placement.device}: {one_line(error)}") from error


def _check_room(model: Path | str, placement: Placement) -> None:
    check_memory(model, placement.precision, placement.offload, placement.t5, memory_there(), gpu=placement.on_gpu)


def _read_index(folder: Path) -> dict[str, Any]:
    """What the pipeline is made of: library and class by part."""
    index: dict[str, Any] = json.loads((folder / INDEX).read_text())
    _check_class(str(index.get("_class_name")))
    return index


def _check_class(name: str) -> None:
    if not name.startswith("StableDiffusion3"):
        raise ModelError(f"it holds a {name}, not a StableDiffusion3Pipeline")


def _load(folder: Path, index: Mapping[str, Any], placement: Placement) -> StableDiffusion3Pipeline:
    absent: dict[str, Any] = {part: None for part in OPTIONAL if (index.get(part) or [None])[0] is None}
    transient = placement.t5 == "once" and T5_ENCODER not in absent
    if placement.t5 != "keep":
        absent[T5_ENCODER] = None
    if placement.t5 == "drop":
        absent["tokenizer_3"] = None
    parts = {part: load_network(folder, part, index[part], placement) for part in NETWORKS if part not in absent}
    pipe: StableDiffusion3Pipeline = StableDiffusion3Pipeline.from_pretrained(
        str(folder), **parts, **absent, image_encoder=None, feature_extractor=None, local_files_only=True
    )
    if transient:
        reader = TransientEncoder(
            lambda: _load_reader(folder, index[T5_ENCODER], placement), placement.dtype, placement.device
        )
        reader.drop_before(pipe.transformer)
        pipe.register_modules(text_encoder_3=reader)
    return pipe


def _load_reader(folder: Path, named: Sequence[str], placement: Placement) -> torch.nn.Module:
    """T5 where it is to run, in 4 bits only on the GPU."""
    there = placement.t5_device
    precision: Precision = "bf16" if placement.precision == "nf4" and there.type == "cpu" else placement.precision
    with quiet_loading():
        reader = load_network(folder, T5_ENCODER, named, replace(placement, device=there, precision=precision))
    return reader if precision == "nf4" else reader.to(there)


def load_network(folder: Path, part: str, named: Sequence[str], placement: Placement) -> torch.nn.Module:
    """One part, of the library and class ``named``; the libraries fill what its file lacks with random numbers."""
    network, info = _network_class(*named).from_pretrained(
        folder / part, output_loading_info=True, local_files_only=True, **loading_arguments(part, named[0], placement)
    )
    if missing := sorted(info["missing_keys"]):
        raise ModelError(f"{part} lacks {len(missing)} of its weights, such as {missing[0]}")
    return network


def _network_class(library: str, name: str) -> Any:
    """A class of diffusers, transformers or this package; a folder cannot name other code to run."""
    if library in ("diffusers", "transformers") or library.startswith(f"{__name__.partition('.')[0]}."):
        found = getattr(importlib.import_module(library), name, None)
        if found is not None:
            return found
    raise ModelError(f"it names the class {library}.{name}, which is not known here")


def _check_kind(pipe: StableDiffusion3Pipeline) -> None:
    if not isinstance(pipe.transformer, diffusers.SD3Transformer2DModel):
        raise ModelError(f"its transformer is a {type(pipe.transformer).__name__}, not an SD3Transformer2DModel")
    scheduler: Any = pipe.scheduler
    if not isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler):
        raise ModelError(f"its scheduler is a {type(scheduler).__name__}, not a FlowMatchEulerDiscreteScheduler")
    settings: Any = scheduler.config
    if settings.stochastic_sampling or settings.invert_sigmas:
        raise ModelError("its scheduler samples stochastically or upside down, so no seed would name an image")
    if pipe.text_encoder is None or (pipe.text_encoder_2 is None and pipe.text_encoder_3 is not None):
        raise ModelError("it needs one CLIP text encoder, or two with or without a T5")


def one_line(error: BaseException) -> str:
    """The first line of an error, at most 200 characters of it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
