"""Options that several commands take."""

from pathlib import Path
from typing import Annotated, Any

import typer

MODELS = "Which models take part"
DECIDES = "How the run decides"
LEAVES = "What it reads and leaves"
WHERE = "Where it runs"

Preset = Annotated[
    str | None,
    typer.Option(
        help="embedded (the default), sd35-large, paper ..., or one of them as a baseline (NAME+base); "
        "`detailscribe presets` lists all.",
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
Steps = Annotated[int | None, typer.Option(help="Denoising steps of an image.", rich_help_panel=MODELS)]
Guidance = Annotated[float | None, typer.Option(help="Scale of classifier-free guidance.", rich_help_panel=MODELS)]
PolicyName = Annotated[
    str | None,
    typer.Option(help="adaptive, single, best_of_n, paper ..., or your own as module:Name.", rich_help_panel=DECIDES),
]
PolicyArgs = Annotated[
    list[str] | None,
    typer.Option("--policy-arg", "-p", metavar="KEY=VALUE", help="A parameter of the policy.", rich_help_panel=DECIDES),
]
Seed = Annotated[
    int | None, typer.Option(help="Every image's seed follows from it. By default 0.", rich_help_panel=DECIDES)
]
Rounds = Annotated[
    int | None, typer.Option(help="At most so many rounds after the first drawings.", rich_help_panel=DECIDES)
]
Images = Annotated[int | None, typer.Option(help="At most so many images.", rich_help_panel=DECIDES)]
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


def run_arguments(
    steps: int | None,
    guidance: float | None,
    policy: str | None,
    policy_arg: list[str] | None,
    seed: int | None,
    rounds: int | None,
    images: int | None,
    out: Path | None,
) -> dict[str, Any]:
    """These options as the section ``run``; what was not given is left out. ``SettingsError`` if one cannot be read."""
    arguments = dict(parsed_argument(argument) for argument in policy_arg or [])
    run = {"policy": policy, "seed": seed, "out": out, "steps": steps, "guidance": guidance}
    run |= {"policy_args": arguments or None, "budget": said({"rounds": rounds, "images": images}) or None}
    return said(run)


def parsed_argument(argument: str, option: str = "--policy-arg") -> tuple[str, object]:
    """``key=value``, the value read as TOML where it is any, else as text; ``SettingsError`` without a key."""
    import tomllib

    from ...tools.errors import SettingsError

    key, equals, value = argument.partition("=")
    if not (key and equals):
        raise SettingsError(f"{option} {argument!r} should read key=value")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def said(values: dict[str, Any]) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}
