"""``detailscribe presets``."""

from typing import TYPE_CHECKING

from .common import console

if TYPE_CHECKING:
    from ..presets import Preset


def command() -> None:
    """List the presets, with the memory that each needs for its images, and what can be put after one of them."""
    from rich.table import Table
    from rich.text import Text

    from ..baselines import BASELINES, baseline_named
    from ..presets import PRESETS

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("preset", "GPU memory", "downloaded", "what it is"):
        table.add_column(heading, no_wrap=heading != "what it is")
    for name, preset in PRESETS.items():
        table.add_row(Text(name), *map(Text, _size(preset)), Text(preset.summary))
    for name, baseline in {**BASELINES, "best-by-clipscore": baseline_named("best-by-clipscore")}.items():
        table.add_row(Text(f"...+{name}"), "", "", Text(f"baseline: {baseline.summary}"))
    console().print(table)


def _size(preset: "Preset") -> tuple[str, str]:
    """GPU memory needed, and whether the model is here; dashes where there is nothing to say."""
    from ...tools.diffusion.memory import memory_needed
    from ...tools.diffusion.sizes import is_downloaded
    from ..settings import DiffusionSection

    chosen = DiffusionSection.model_validate(preset.settings.get("diffusion", {}))
    if chosen.model is None or chosen.kind == "endpoint":
        return "-", "-"
    need = memory_needed(chosen.model, chosen.precision or "bf16", chosen.offload, chosen.t5)
    return f"{need.gpu_bytes / 1e9:.0f} GB", "yes" if is_downloaded(chosen.model) else "no"
