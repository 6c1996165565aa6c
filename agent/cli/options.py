"""Options that several commands take."""

from pathlib import Path
from typing import Annotated, Any

import typer

MODELS = "Which models take part"
LEAVES = "What it reads and leaves"

Preset = Annotated[
    str | None,
    typer.Option(
        help="embedded (the default), sd35-large, sd35-medium, paper ...; `detailscribe presets` lists them.",
        rich_help_panel=MODELS,
    ),
]
ChatUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="An OpenAI-compatible server, such as http://localhost:8000/v1.", rich_help_panel=MODELS
    ),
]
ChatModel = Annotated[
    str | None, typer.Option(metavar="NAME", help="Its model, for decomposing and looking.", rich_help_panel=MODELS)
]
VisionUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="Another server for looking.", rich_help_panel=MODELS)
]
VisionModel = Annotated[
    str | None, typer.Option(metavar="NAME", help="Another model for looking.", rich_help_panel=MODELS)
]
Diffusion = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="A diffusers folder or hub id that draws.", rich_help_panel=MODELS),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="TOML. By default detailscribe.toml, if it is here.", rich_help_panel=LEAVES),
]


def model_arguments(
    preset: str | None,
    chat_url: str | None,
    chat_model: str | None,
    vision_url: str | None,
    vision_model: str | None,
    diffusion: str | None,
) -> dict[str, dict[str, Any]]:
    """These options as settings by section; what was not given is left out."""
    sections = {
        "run": {"preset": preset},
        "chat": {"url": chat_url, "model": chat_model},
        "vision": {"url": vision_url, "model": vision_model},
        "diffusion": {"model": diffusion},
    }
    return {name: values for name, section in sections.items() if (values := said(section))}


def said(values: dict[str, Any]) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}
