"""``detailscribe report``."""

from pathlib import Path
from typing import Annotated

import typer

from .common import reported


def command(
    folder: Annotated[Path, typer.Argument(help="A run folder, or a folder of them.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="The page to write. By default report.html in FOLDER.")] = None,
) -> None:
    """Write a run as one HTML page, or a folder of runs as a table and gallery of them."""
    from ..report import write_collection, write_report
    from ..traces.reader import is_run

    with reported():
        page = write_report(folder, out=out) if is_run(folder) else write_collection(folder, out)
        typer.echo(page)
