"""``detailscribe run``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import console, reported
from .options import (
    LEAVES,
    MODELS,
    ChatModel,
    ChatUrl,
    Diffusion,
    Preset,
    SettingsFile,
    VisionModel,
    VisionUrl,
    model_arguments,
    said,
)

if TYPE_CHECKING:
    from rich.console import Console

    from ..outcome import Run
    from ..settings import Loaded, Settings

EMBEDDED = "models   embedded, offline; --preset sd35-large or another for full-size ones, see detailscribe doctor"

DECIDES = "How the run decides"


def command(
    prompt: Annotated[str, typer.Argument(help="What the picture should show.", show_default=False)],
    preset: Preset = None,
    chat_url: ChatUrl = None,
    chat_model: ChatModel = None,
    vision_url: VisionUrl = None,
    vision_model: VisionModel = None,
    diffusion: Diffusion = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps of an image.", rich_help_panel=MODELS)] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Scale of classifier-free guidance.", rich_help_panel=MODELS)
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="adaptive, single, best_of_n, paper ..., or your own as module:Name.", rich_help_panel=DECIDES
        ),
    ] = None,
    policy_arg: Annotated[
        list[str] | None,
        typer.Option(
            "--policy-arg", "-p", metavar="KEY=VALUE", help="A parameter of the policy.", rich_help_panel=DECIDES
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Every image's seed follows from it. By default 0.", rich_help_panel=DECIDES)
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="At most so many rounds after the first drawings.", rich_help_panel=DECIDES)
    ] = None,
    images: Annotated[int | None, typer.Option(help="At most so many images.", rich_help_panel=DECIDES)] = None,
    settings: SettingsFile = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder. By default a new one in runs.", rich_help_panel=LEAVES)
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the run folder.", rich_help_panel=LEAVES)
    ] = False,
) -> None:
    """Draw PROMPT, check the drawing, and work on it until it is right or the budget is spent."""
    from ..settings import load

    with reported():
        arguments = dict(parsed_argument(argument) for argument in policy_arg or [])
        given = model_arguments(preset, chat_url, chat_model, vision_url, vision_model, diffusion)
        run = {"policy": policy, "seed": seed, "out": out, "steps": steps, "guidance": guidance}
        run |= {"policy_args": arguments or None, "budget": said({"rounds": rounds, "images": images}) or None}
        given["run"] = given.get("run", {}) | said(run)
        _show(prompt, load(given, file=settings), quiet)


def parsed_argument(argument: str) -> tuple[str, object]:
    """``key=value``, the value read as TOML where it is any, else as text; ``SettingsError`` without a key."""
    import tomllib

    from ...tools.errors import SettingsError

    key, equals, value = argument.partition("=")
    if not (key and equals):
        raise SettingsError(f"--policy-arg {argument!r} should read key=value")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _show(prompt: str, loaded: "Loaded", quiet: bool) -> None:
    from ..live import Live
    from ..runs import run

    out = console(quiet)
    sys.path.append(str(Path.cwd()))  # where module:Name is looked for, after everything installed
    with Live(out) as live:
        done = run(prompt, settings=loaded, on_event=live)
    if quiet:
        typer.echo(done.folder)
    else:
        _tell(out, done, loaded.settings)


def _tell(out: "Console", done: "Run", settings: "Settings") -> None:
    from rich.text import Text

    from ..live import summary

    out.print()
    out.print(summary(done))
    out.print()
    if settings.is_embedded:
        out.print(Text(EMBEDDED), soft_wrap=True)
    for name, path in (("folder", done.folder), ("best", done.best.path), ("report", done.report)):
        out.print(Text(f"{name:<8} {path}"), soft_wrap=True)
