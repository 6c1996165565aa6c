"""``detailscribe run``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import console, reported, terminal_asker
from .options import (
    DECIDES,
    LEAVES,
    ChatModel,
    ChatUrl,
    Diffusion,
    Guidance,
    Images,
    PolicyArgs,
    PolicyName,
    Preset,
    Rounds,
    Seed,
    SettingsFile,
    Steps,
    VisionModel,
    VisionUrl,
    model_arguments,
    run_arguments,
)

if TYPE_CHECKING:
    from rich.console import Console

    from ..records.reader import Run
    from ..settings.loading import Loaded
    from ..settings.settings import Settings

EMBEDDED = "models   embedded, offline; --preset sd35-large or another for full-size ones, see detailscribe doctor"


def command(
    prompt: Annotated[str, typer.Argument(help="What the picture should show.", show_default=False)],
    preset: Preset = None,
    chat_url: ChatUrl = None,
    chat_model: ChatModel = None,
    vision_url: VisionUrl = None,
    vision_model: VisionModel = None,
    diffusion: Diffusion = None,
    steps: Steps = None,
    guidance: Guidance = None,
    policy: PolicyName = None,
    policy_arg: PolicyArgs = None,
    seed: Seed = None,
    rounds: Rounds = None,
    images: Images = None,
    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive", "-i", help="Ask you after each round; the policy proposes.", rich_help_panel=DECIDES
        ),
    ] = False,
    settings: SettingsFile = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder. By default a new one in runs.", rich_help_panel=LEAVES)
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the run folder.", rich_help_panel=LEAVES)
    ] = False,
) -> None:
    """Draw PROMPT, check the drawing, and work on it until it is right or the budget is spent."""
    from ..settings.loading import load

    with reported():
        given = model_arguments(preset, chat_url, chat_model, vision_url, vision_model, diffusion)
        run = run_arguments(steps, guidance, policy, policy_arg, seed, rounds, images, out)
        given["run"] = given.get("run", {}) | run
        _show(prompt, load(given, file=settings), quiet, interactive)


def _show(prompt: str, loaded: "Loaded", quiet: bool, interactive: bool) -> None:
    from ..runs.run import run
    from ..views.live import Live

    out = console(quiet)
    sys.path.append(str(Path.cwd()))  # where module:Name is looked for, after everything installed
    with Live(out) as live:
        done = run(prompt, settings=loaded, on_event=live, ask=terminal_asker(live) if interactive else None)
    if quiet:
        typer.echo(done.folder)
    else:
        tell(out, done, loaded.settings)


def tell(out: "Console", done: "Run", settings: "Settings") -> None:
    """A run that came to its end."""
    from rich.text import Text

    from ..views.live import summary
    from ..views.words import shares

    out.print()
    out.print(summary(done))
    out.print()
    if settings.is_embedded:
        out.print(Text(EMBEDDED), soft_wrap=True)
    for model, words in shares(done.result.spend_by_model, done.result.images):
        out.print(Text(f"used     {model}: {words}"), soft_wrap=True)
    for name, path in (("folder", done.folder), ("best", done.best.path), ("report", done.report)):
        out.print(Text(f"{name:<8} {path}"), soft_wrap=True)
