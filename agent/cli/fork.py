"""``detailscribe fork``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .common import console, reported
from .options import parsed_argument
from .run import tell


def command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
    at: Annotated[
        int, typer.Option(metavar="STEP", help="The step to go on from; `detailscribe history RUN` lists them.")
    ],
    policy: Annotated[str | None, typer.Option(help="Another policy; by default the run's own.")] = None,
    policy_arg: Annotated[
        list[str] | None,
        typer.Option("--policy-arg", "-p", metavar="KEY=VALUE", help="A parameter of the policy."),
    ] = None,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[IMAGE.]NAME=VALUE",
            help="Change what was known: refined_prompt=..., or the answer to a check, such as 00-00.CHECK=pass.",
        ),
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="At most so many rounds after the first drawings.")] = None,
    images: Annotated[int | None, typer.Option(help="At most so many images, with those taken over.")] = None,
    out: Annotated[Path | None, typer.Option(help="The new run folder. By default a new one in runs.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the new run folder.")] = False,
) -> None:
    """Go back to a step of a run, and go on from there otherwise, as a new run."""
    from ..records.manifest import read_manifest
    from ..runs.fork import fork
    from ..views.live import Live

    with reported():
        arguments = dict(parsed_argument(argument) for argument in policy_arg or [])
        bounds = {name: bound for name, bound in (("rounds", rounds), ("images", images)) if bound is not None}
        budget = read_manifest(folder).settings.run.budget.model_copy(update=bounds) if bounds else None
        out_console = console(quiet)
        sys.path.append(str(Path.cwd()))  # where module:Name is looked for, as in a run
        with Live(out_console) as live:
            done = fork(
                folder,
                at,
                policy=policy,
                policy_args=arguments,
                budget=budget,
                edits=dict(map(_edit, edit or [])),
                out=out,
                on_event=live,
            )
        if quiet:
            typer.echo(done.folder)
        else:
            tell(out_console, done, read_manifest(done.folder).settings)


def _edit(text: str) -> tuple[str, str]:
    from ...tools.errors import SettingsError

    place, equals, value = text.partition("=")
    if not (place and equals):
        raise SettingsError(f"--edit {text!r} should read [IMAGE.]NAME=VALUE")
    return place, value
