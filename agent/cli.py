"""The command line. Whatever is heavy is imported by the command that needs it."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from .outcome import Run
    from .settings import Settings

PIPED_WIDTH = 120
"""Columns of the table where stdout is no terminal."""

app = typer.Typer(
    name="detailscribe",
    help="Draws prompts about things that interact, checks the drawing item by item, and refines it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The ``detailscribe`` command."""
    app()


@contextmanager
def reported() -> Generator[None]:
    """What the user can mend becomes one line on stderr and exit status 2; Ctrl-C becomes 130."""
    from ..tools.errors import DetailScribeError

    try:
        yield
    except DetailScribeError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as interrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(130) from interrupt


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"detailscribe {version('detailscribe')}")
        raise typer.Exit


@app.callback()
def root(
    show: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Draws prompts about things that interact, checks the drawing item by item, and refines it."""


@app.command("run")
def run_command(
    prompt: Annotated[str, typer.Argument(help="What the picture should show.", show_default=False)],
    policy: Annotated[
        str | None, typer.Option(help="adaptive, single, best_of_n, or your own as module:Name. By default adaptive.")
    ] = None,
    policy_arg: Annotated[
        list[str] | None, typer.Option("--policy-arg", "-p", metavar="KEY=VALUE", help="A parameter of the policy.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Every image's seed follows from it. By default 0.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. By default a new one in runs.")] = None,
    rounds: Annotated[int | None, typer.Option(help="At most so many rounds after the first drawings.")] = None,
    images: Annotated[int | None, typer.Option(help="At most so many images.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps of an image.")] = None,
    settings: Annotated[Path | None, typer.Option(help="A TOML file of settings; options go before it.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the run folder.")] = False,
) -> None:
    """Draw PROMPT, check the drawing, and work on it until it is right or the budget is spent."""
    given = {"policy": policy, "seed": seed, "out": out, "steps": steps}
    bounds = {"rounds": rounds, "images": images}
    with reported():
        chosen = merged(settings, given, bounds, policy_arg or [])
        _show(prompt, chosen, quiet)


@app.command("graph")
def graph_command() -> None:
    """Print the state machine as a Mermaid drawing."""
    from .graph import build_graph

    typer.echo(build_graph().get_graph().draw_mermaid())


def merged(file: Path | None, given: dict[str, Any], bounds: dict[str, Any], arguments: list[str]) -> "Settings":
    """The settings of the file, with what was given on the command line on top.

    Raises:
        SettingsError: the file or a value is not usable.
    """
    from .settings import Settings, load_settings, make_settings

    base = (load_settings(file) if file else Settings()).model_dump()
    if given["policy"] not in (None, base["policy"]):
        base["policy_args"] = {}
    base["policy_args"] |= dict(parsed_argument(argument) for argument in arguments)
    base["budget"] |= _set(bounds)
    return make_settings(**{**base, **_set(given)})


def parsed_argument(argument: str) -> tuple[str, object]:
    """``key=value``, the value read as TOML where it is any, else as text; ``SettingsError`` without a key."""
    import tomllib

    from ..tools.errors import SettingsError

    key, equals, value = argument.partition("=")
    if not (key and equals):
        raise SettingsError(f"--policy-arg {argument!r} should read key=value")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _set(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _show(prompt: str, settings: "Settings", quiet: bool) -> None:
    from rich.console import Console

    from .live import Live
    from .policies import resolve_policy
    from .runs import run

    console = Console(quiet=quiet, highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    sys.path.append(str(Path.cwd()))  # where module:Name is looked for, after everything installed
    with Live(console) as live:
        done = run(
            prompt,
            policy=resolve_policy(settings.policy, **settings.policy_args),
            seed=settings.seed,
            budget=settings.budget,
            preset=settings.preset,
            steps=settings.steps,
            guidance=settings.guidance,
            out=settings.out,
            on_event=live,
        )
    if quiet:
        typer.echo(done.folder)
    else:
        _tell(console, done)


def _tell(console: "Console", done: "Run") -> None:
    from rich.text import Text

    from .live import summary

    console.print()
    console.print(summary(done))
    console.print()
    for name, path in (("folder", done.folder), ("best", done.best.path), ("report", done.report)):
        console.print(Text(f"{name:<8} {path}"), soft_wrap=True)


if __name__ == "__main__":
    main()
