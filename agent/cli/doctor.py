"""``detailscribe doctor``."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import console, reported
from .options import (
    ChatModel,
    ChatUrl,
    Diffusion,
    Preset,
    SettingsFile,
    VisionModel,
    VisionUrl,
    model_arguments,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..doctor.examine import Diagnosis, Setting

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
ENDINGS = {
    "ok": "ready to run",
    "warning": "ready to run, but see the warnings",
    "problem": "a run would end at the first problem",
}


def command(
    preset: Preset = None,
    chat_url: ChatUrl = None,
    chat_model: ChatModel = None,
    vision_url: VisionUrl = None,
    vision_model: VisionModel = None,
    diffusion: Diffusion = None,
    settings: SettingsFile = None,
    everything: Annotated[bool, typer.Option("--all", help="Show settings at their defaults too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every setting.")] = False,
) -> None:
    """Tell what is configured, reachable and downloaded, and whether it fits; exit status 2 if a run would fail."""
    with reported():
        from ..doctor.examine import examine
        from ..settings import load

        given = model_arguments(preset, chat_url, chat_model, vision_url, vision_model, diffusion)
        sys.path.append(str(Path.cwd()))  # where module:Name is looked for, as in a run
        diagnosis = asyncio.run(examine(load(given, file=settings)))
    if as_json:
        typer.echo(diagnosis.model_dump_json(indent=2))
    else:
        _show(diagnosis, everything)
    raise typer.Exit(2 if diagnosis.status == "problem" else 0)


def _show(diagnosis: "Diagnosis", everything: bool) -> None:
    from rich.text import Text

    out = console()
    versions = ", ".join(f"{name} {version}" for name, version in diagnosis.versions.items())
    out.print(Text(versions, style="dim"))
    out.print()
    shown = [one for one in diagnosis.settings if everything or one.source != "default"]
    out.print(_settings(shown))
    if hidden := len(diagnosis.settings) - len(shown):
        out.print(Text(f"{hidden} settings are at their defaults; --all shows them", style="dim"))
    out.print()
    out.print(_findings(diagnosis))
    out.print()
    out.print(Text(ENDINGS[diagnosis.status], style=STYLES[diagnosis.status]))


def _settings(shown: "list[Setting]") -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold", style="dim")
    for one in shown:
        table.add_row(Text(one.name), Text("-" if one.value is None else one.value), Text(one.source))
    return table


def _findings(diagnosis: "Diagnosis") -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in diagnosis.findings:
        table.add_row(Text(finding.status, style=STYLES[finding.status]), Text(finding.topic), Text(finding.text))
    return table
