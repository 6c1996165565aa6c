"""``detailscribe resume``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .common import console, reported, terminal_asker
from .run import tell


def command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the run folder.")] = False,
) -> None:
    """Go on with a run that was killed, interrupted or failed; what is done is not done again, nor paid for again."""
    from ..records.manifest import read_manifest
    from ..runs.run import resume
    from ..views.live import Live

    with reported():
        out = console(quiet)
        sys.path.append(str(Path.cwd()))  # where module:Name is looked for, as in a run
        with Live(out) as live:
            done = resume(folder, on_event=live, ask=terminal_asker(live))
        if quiet:
            typer.echo(done.folder)
        else:
            tell(out, done, read_manifest(folder).settings)
