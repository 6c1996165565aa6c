"""``detailscribe doctor``, ``presets`` and ``graph``, which say what is here."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import console, reported
from .options import ChatModel, ChatUrl, Diffusion, SettingsFile, VisionModel, VisionUrl, model_arguments
from .options import Preset as PresetName

if TYPE_CHECKING:
    from ..doctor import Diagnosis
    from ..settings.presets import Preset

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
ENDINGS = {
    "ok": "ready to run",
    "warning": "ready to run, but see the warnings",
    "problem": "a run would end at the first problem",
}


def doctor(
    preset: PresetName = None,
    chat_url: ChatUrl = None,
    chat_model: ChatModel = None,
    vision_url: VisionUrl = None,
    vision_model: VisionModel = None,
    diffusion: Diffusion = None,
    settings: SettingsFile = None,
    everything: Annotated[bool, typer.Option("--all", help="Show settings at their defaults too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every setting.")] = False,
) -> None:
    """Say what is configured, reachable and downloaded, and whether it fits; exit status 2 if a run would fail."""
    with reported():
        from ..doctor import examine
        from ..settings.loading import load

        given = model_arguments(preset, chat_url, chat_model, vision_url, vision_model, diffusion)
        sys.path.append(str(Path.cwd()))  # where module:Name is looked for, as in a run
        diagnosis = asyncio.run(examine(load(given, file=settings)))
    if as_json:
        typer.echo(diagnosis.model_dump_json(indent=2))
    else:
        _show(diagnosis, everything)
    raise typer.Exit(2 if diagnosis.status == "problem" else 0)


def _show(diagnosis: "Diagnosis", everything: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    shown = [one for one in diagnosis.settings if everything or one.source != "default"]
    settings = Table(box=None, pad_edge=False, header_style="bold")
    settings.add_column("setting", no_wrap=True)
    settings.add_column("value", overflow="fold")
    settings.add_column("from", overflow="fold", style="dim")
    for one in shown:
        settings.add_row(*map(Text, (one.name, "-" if one.value is None else one.value, one.source)))
    findings = Table(box=None, pad_edge=False, show_header=False)
    for wraps in (False, False, True):
        findings.add_column(no_wrap=not wraps, overflow="fold")
    for one in diagnosis.findings:
        findings.add_row(Text(one.status, style=STYLES[one.status]), Text(one.topic), Text(one.text))
    out = console()
    versions = ", ".join(f"{name} {version}" for name, version in diagnosis.versions.items())
    out.print(Text(f"{versions}\n", style="dim"))
    out.print(settings)
    if hidden := len(diagnosis.settings) - len(shown):
        out.print(Text(f"{hidden} settings are at their defaults; --all shows them", style="dim"))
    out.print()
    out.print(findings)
    out.print(Text(f"\n{ENDINGS[diagnosis.status]}", style=STYLES[diagnosis.status]))


def presets() -> None:
    """List the presets, with the memory that each needs for its images, and what can be put after one of them."""
    from rich.table import Table
    from rich.text import Text

    from ..settings.presets import BASELINES, PRESETS, baseline_named

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("preset", "GPU memory", "downloaded", "what it is"):
        table.add_column(heading, no_wrap=heading != "what it is")
    for name, preset in PRESETS.items():
        table.add_row(*map(Text, (name, *_size(preset), preset.summary)))
    for name, baseline in {**BASELINES, "best-by-clipscore": baseline_named("best-by-clipscore")}.items():
        table.add_row(Text(f"...+{name}"), "", "", Text(f"baseline: {baseline.summary}"))
    console().print(table)


def _size(preset: "Preset") -> tuple[str, str]:
    """GPU memory needed, and whether the model is here; dashes where there is nothing to say."""
    from ...tools.diffusion.memory import is_downloaded, memory_needed
    from ..settings.settings import DiffusionSection

    chosen = DiffusionSection.model_validate(preset.settings.get("diffusion", {}))
    if chosen.model is None or chosen.kind == "endpoint":
        return "-", "-"
    need = memory_needed(chosen.model, chosen.precision or "bf16", chosen.offload, chosen.t5)
    return f"{need.gpu_bytes / 1e9:.0f} GB", "yes" if is_downloaded(chosen.model) else "no"


def graph() -> None:
    """Print the state machine as a Mermaid drawing."""
    from ..graph.graph import build_graph

    typer.echo(build_graph().get_graph().draw_mermaid())
