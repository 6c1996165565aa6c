"""``detailscribe run``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import console, reported

if TYPE_CHECKING:
    from rich.console import Console

    from ..outcome import Run
    from ..settings import Settings


def command(
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


def merged(file: Path | None, given: dict[str, Any], bounds: dict[str, Any], arguments: list[str]) -> "Settings":
    """The settings of the file, with what was given on the command line on top.

    Raises:
        SettingsError: the file or a value is not usable.
    """
    from ..settings import Settings, load_settings, make_settings

    base = (load_settings(file) if file else Settings()).model_dump()
    if given["policy"] not in (None, base["policy"]):
        base["policy_args"] = {}
    base["policy_args"] |= dict(parsed_argument(argument) for argument in arguments)
    base["budget"] |= _set(bounds)
    return make_settings(**{**base, **_set(given)})


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


def _set(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _show(prompt: str, settings: "Settings", quiet: bool) -> None:
    from ..live import Live
    from ..policies import resolve_policy
    from ..runs import run

    out = console(quiet)
    sys.path.append(str(Path.cwd()))  # where module:Name is looked for, after everything installed
    with Live(out) as live:
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
        _tell(out, done)


def _tell(out: "Console", done: "Run") -> None:
    from rich.text import Text

    from ..live import summary

    out.print()
    out.print(summary(done))
    out.print()
    for name, path in (("folder", done.folder), ("best", done.best.path), ("report", done.report)):
        out.print(Text(f"{name:<8} {path}"), soft_wrap=True)
