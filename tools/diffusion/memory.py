"""What memory a model needs and what there is, so that too little ends in one line and not in the middle of a run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from ..errors import ModelError
from .sizes import ModelSize, PartSize, model_size

Precision = Literal["bf16", "fp32", "fp16", "nf4"]
"""bf16, fp16, fp32: every weight in that type; nf4: the denoiser and T5 in 4-bit NormalFloat (arXiv 2305.14314),
the rest and all arithmetic in bf16."""
Offload = Literal["none", "model", "group"]
"""none: every part stays on the device; model: one part at a time is on the GPU; group: a few layers at a time."""
T5 = Literal["keep", "once", "drop"]
"""keep: the T5 text encoder stays; once: it is loaded for new prompts and dropped before the denoiser runs;
drop: prompts are read without it, as SD3 allows."""

NF4_PARTS = ("transformer", "text_encoder_3")
"""Parts that ``nf4`` quantizes, beside any text encoder with more than ``_LARGE`` numbers."""
_LARGE = 10**9
_BYTES = {"bf16": 2.0, "fp16": 2.0, "fp32": 4.0, "nf4": 2.0}
_NF4_BYTES = 0.5 + 4 / 64
"""Four bits, and one float32 scale for each block of 64."""
_WORKING = 1536
"""Numbers a pixel that the denoiser and the decoder hold while they work on one image: 3 GiB for a megapixel
in bf16. An estimate that means to err upwards; it was not measured."""
_GROUP_SHARE = 10
"""Of the largest part, at most one in so many bytes is on the GPU under ``group``: T5's vocabulary is 1 in 36."""
_GB = 1e9


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
    """Of the current GPU; None without one."""
    ram_bytes: int


def memory_needed(
    model: Path | str, precision: Precision = "bf16", offload: Offload = "none", t5: T5 = "keep", *, gpu: bool = True
) -> MemoryNeed:
    """An estimate from file headers alone, for a folder, a downloaded model or a known hub id.

    Raises:
        ModelError: nothing is known of the model's size.
    """
    return need_of(model_size(model), precision, offload, t5, gpu=gpu)


def need_of(size: ModelSize, precision: Precision, offload: Offload, t5: T5, *, gpu: bool) -> MemoryNeed:
    """``memory_needed``, for a model of that size."""
    working = int(size.pixels * _WORKING * _BYTES[precision])
    parts = {name: _weight_bytes(name, part, precision) for name, part in size.parts.items()}
    reader = parts.pop("text_encoder_3", 0) if t5 != "keep" else 0
    reader = reader if t5 == "once" else 0
    staying, largest = sum(parts.values()), max(parts.values(), default=0)
    if not gpu:
        return MemoryNeed(0, staying + max(reader, working))
    if offload == "model":
        return MemoryNeed(max(largest, reader) + working, staying)
    if offload == "group":
        return MemoryNeed(largest // _GROUP_SHARE + working, staying + reader)
    return MemoryNeed(staying + working, max(largest, reader))


def memory_there() -> MemoryThere:
    """Free memory of this machine, or of the container where that has less."""
    import psutil
    import torch

    ram = min([psutil.virtual_memory().available, *_container_room()])
    return MemoryThere(torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None, ram)


def fits(size: ModelSize, precision: Precision, offload: Offload, t5: T5, there: MemoryThere, *, gpu: bool) -> bool:
    """Whether a model of that size can be loaded so."""
    return _shortage(need_of(size, precision, offload, t5, gpu=gpu), there) is None


def check_memory(
    model: Path | str,
    precision: Precision,
    offload: Offload,
    t5: T5,
    there: MemoryThere,
    *,
    gpu: bool,
) -> None:
    """Nothing if the model fits; otherwise one line that says what would.

    Raises:
        ModelError: it does not fit.
    """
    size = model_size(model)
    need = need_of(size, precision, offload, t5, gpu=gpu)
    if short := _shortage(need, there):
        raise ModelError(
            f'{Path(model).name} in {precision} with offload "{offload}" needs about {short}; '
            f"{_advice(size, there, gpu=gpu)}"
        )


def _shortage(need: MemoryNeed, there: MemoryThere) -> str | None:
    """What is too little, in words."""
    if there.gpu_bytes is not None and need.gpu_bytes > there.gpu_bytes:
        return f"{_in_gb(need.gpu_bytes)} of GPU memory and {_in_gb(there.gpu_bytes)} are free"
    if need.ram_bytes > there.ram_bytes:
        return f"{_in_gb(need.ram_bytes)} of memory and {_in_gb(there.ram_bytes)} are free"
    return None


def _advice(size: ModelSize, there: MemoryThere, *, gpu: bool) -> str:
    """The first way that fits, from the least loss of quality and speed to the most."""
    for precision, offload, t5 in _ways(gpu=gpu):
        if fits(size, precision, offload, t5, there, gpu=gpu):
            return f'set diffusion.precision = "{precision}", diffusion.offload = "{offload}", diffusion.t5 = "{t5}"'
    return "nothing here makes it fit: use a smaller model or another machine"


def _ways(*, gpu: bool) -> Iterator[tuple[Precision, Offload, T5]]:
    if not gpu:
        yield from product(("bf16",), ("none",), ("keep", "once", "drop"))
        return
    yield "bf16", "none", "keep"
    yield "bf16", "model", "keep"
    yield "bf16", "model", "once"
    yield "nf4", "none", "keep"
    yield "nf4", "model", "keep"
    yield "nf4", "model", "once"
    yield "bf16", "group", "once"
    yield "nf4", "model", "drop"
    yield "bf16", "group", "drop"


def quantized_parts(parts: Mapping[str, PartSize]) -> list[str]:
    """Names of the parts that ``nf4`` quantizes."""
    return [name for name, part in parts.items() if name in NF4_PARTS or part.parameters > _LARGE]


def _weight_bytes(name: str, part: PartSize, precision: Precision) -> int:
    width = _BYTES[precision]
    if precision != "nf4" or name not in quantized_parts({name: part}):
        return int(part.parameters * width)
    return int(part.matrices * _NF4_BYTES + (part.parameters - part.matrices) * width)


def _container_room() -> list[int]:
    """What a control group (cgroup v2) leaves; nothing where there is no bound."""
    root = Path("/sys/fs/cgroup")
    try:
        bound, used = ((root / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return [max(0, int(bound) - int(used))]
    except (OSError, ValueError):
        return []


def _in_gb(number: int) -> str:
    return f"{number / _GB:.1f} GB"
