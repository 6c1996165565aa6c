"""Whether the model that draws is there, fits, and can run here."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...tools.errors import DetailScribeError, ModelError, SettingsError
from ..hub import check_available, is_hub_id, pipeline_class
from ..policies import POLICIES
from ..presets import PRESETS
from ..roles import diffusion_source, draws_remotely, endpoint_of
from ..settings import DiffusionSection, Settings
from .finding import Finding, found, ok, problem, warning

if TYPE_CHECKING:
    from ...tools.diffusion.memory import MemoryThere, Precision
    from ...tools.diffusion.placement import Placement

DRAWING_ALONE = ("best_of_n",)
"""Policies that never refine."""


def look_at_diffusion(settings: Settings) -> Iterator[Finding]:
    """Cheapest first; nothing is loaded, and the hub is asked for nothing but an index."""
    if draws_remotely(settings):
        yield found("diffusion", lambda: _remote(settings))
        return
    yield found("diffusion", lambda: _where(settings.diffusion))
    yield found("device", lambda: _device(settings.diffusion))
    yield _memory(settings)


def _remote(settings: Settings) -> str:
    """What an images endpoint can do, told before its first image is paid for."""
    policy = settings.run.policy
    if policy in POLICIES and policy not in DRAWING_ALONE:
        raise SettingsError(
            f"the policy {policy!r} refines, and an images endpoint can only draw: use --policy best_of_n"
        )
    return f"{endpoint_of(settings).model}, an images endpoint; nothing runs here"


def _where(chosen: DiffusionSection) -> str:
    """Where the model lies or comes from."""
    if chosen.model is None:
        return "the embedded model, inside the package"
    from ...tools.diffusion.sizes import KNOWN, is_downloaded

    if not is_hub_id(chosen.model):
        if not (Path(chosen.model) / "model_index.json").is_file():
            raise ModelError(
                f"there is no diffusers model in {chosen.model}: name a folder with a model_index.json or owner/name"
            )
        _check_kind(chosen.model)
        return f"the folder {chosen.model}"
    if is_downloaded(chosen.model):
        _check_kind(chosen.model)
        return f"{chosen.model}, downloaded"
    check_available(chosen.model)
    if chosen.model not in KNOWN:
        _check_kind(chosen.model)
    return f"{chosen.model}, not downloaded: the first run fetches it"


def _check_kind(model: str) -> None:
    """Refuse a family that cannot be refined, by its index alone."""
    kind = pipeline_class(model)
    if not kind.startswith("StableDiffusion3"):
        from ...tools.diffusion import check_family

        check_family(kind)


def _device(chosen: DiffusionSection) -> str:
    placement = _placement(chosen)
    import torch

    name = torch.cuda.get_device_name(placement.device) if placement.device.type == "cuda" else "no GPU is used"
    return f"{placement.device} ({name}), {placement.precision}, offload {placement.offload}, T5 {placement.t5}"


def _memory(settings: Settings) -> Finding:
    """Needed against there; where the device cannot be used, what a machine that can would need."""
    from ...tools.diffusion.memory import check_memory, memory_there
    from ...tools.diffusion.sizes import model_size

    chosen, source = settings.diffusion, diffusion_source(settings)
    try:
        model_size(source)
    except ModelError as error:
        return warning("memory", str(error))
    try:
        placement = _placement(chosen)
    except DetailScribeError:
        return warning("memory", f"{_needed(source, chosen.precision or 'bf16', chosen)}; not here")
    there = memory_there()
    try:
        check_memory(source, placement.precision, placement.offload, placement.t5, there, gpu=placement.on_gpu)
    except ModelError as error:
        return problem("memory", ModelError(f"{error}{_preset_that_fits(chosen, there, placement.on_gpu)}"))
    free = f"{_gb(there.ram_bytes)} of RAM are free"
    if placement.on_gpu and there.gpu_bytes is not None:
        free = f"{_gb(there.gpu_bytes)} and {free}"
    return ok("memory", f"{_needed(source, placement.precision, chosen, gpu=placement.on_gpu)}; {free}")


def _preset_that_fits(chosen: DiffusionSection, there: "MemoryThere", gpu: bool) -> str:
    """The first preset of the same model that would fit, as an advice; empty if none would."""
    from ...tools.diffusion.memory import fits
    from ...tools.diffusion.sizes import model_size

    for name, preset in PRESETS.items():
        other = DiffusionSection.model_validate(preset.settings.get("diffusion", {}))
        if not gpu or other.model is None or other.model != chosen.model or "policy" in preset.settings.get("run", {}):
            continue
        if fits(model_size(other.model), other.precision or "bf16", other.offload, other.t5, there, gpu=gpu):
            return f"; or use --preset {name}"
    return ""


def _needed(source: Path | str, precision: "Precision", chosen: DiffusionSection, gpu: bool = True) -> str:
    from ...tools.diffusion.memory import memory_needed

    need = memory_needed(source, precision, chosen.offload, chosen.t5, gpu=gpu)
    parts = [f"{_gb(need.gpu_bytes)} of GPU memory"] * gpu + [f"{_gb(need.ram_bytes)} of RAM"]
    return f"needs about {' and '.join(parts)}"


def _gb(number: int) -> str:
    return f"{number / 1e9:.1f} GB"


def _placement(chosen: DiffusionSection) -> "Placement":
    """Where the model would go; ``ModelError`` or ``SettingsError`` if that cannot be here."""
    import torch

    from ...tools.diffusion import choose_placement

    try:
        placement = choose_placement(chosen.device, chosen.precision, chosen.offload, chosen.t5)
    except RuntimeError as error:
        raise ModelError(f"there is no kind of device {chosen.device!r}: use cuda, mps or cpu") from error
    available = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if not available.get(placement.device.type, lambda: True)():
        raise ModelError(f"the device {chosen.device!r} is not there: leave diffusion.device out, or use cpu")
    return placement
