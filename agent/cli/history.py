"""``detailscribe history``."""

from pathlib import Path
from typing import Annotated

import typer

from .common import console, reported


def command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
) -> None:
    """List the steps of a run, each of which `detailscribe fork` can go on from."""
    from rich.table import Table
    from rich.text import Text

    from ..runs.steps import history

    with reported():
        steps = history(folder)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("step", "next", "images", "best so far"):
        table.add_column(heading, overflow="fold")
    for step in steps:
        new = [id for id in step.images if step.number == 0 or id not in steps[step.number - 1].images]
        images = f"{len(step.images)}" + (f", new {' '.join(new)}" if new else "")
        table.add_row(*map(Text, (str(step.number), ", ".join(step.next) or "-", images, step.best or "-")))
    console().print(table)
