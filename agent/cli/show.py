"""``detailscribe show``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import console, reported

if TYPE_CHECKING:
    from rich.console import Console

    from ..traces.reader import RecordedRun


def command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
    images: Annotated[
        bool | None,
        typer.Option(
            "--images/--no-images",
            help="Draw the images in the terminal; by default where it speaks kitty's or iTerm2's protocol.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Tell the story of a run: its images, what was fixed and broken, each decision with its reason, the cost."""
    import sys

    from ..traces.reader import read_run
    from ..traces.show import as_data, story

    with reported():
        run = read_run(folder)
        if json:
            from json import dumps

            typer.echo(dumps(as_data(run), ensure_ascii=sys.stdout.encoding.lower() != "utf-8", indent=2))
            return
        out = console()
        out.print(story(run))
        _draw(out, run, images)


def _draw(out: "Console", run: "RecordedRun", wanted: bool | None) -> None:
    import os

    from rich.columns import Columns
    from rich.console import Group
    from rich.text import Text

    from ..traces.terminal_images import escape, half_blocks, protocol_of

    protocol = protocol_of(os.environ) if out.is_terminal else None
    paths = {image: run.path(image) for image in run.images if run.path(image).exists()}
    if wanted is False or not paths or (wanted is None and protocol is None):
        return
    out.print()
    if protocol is None:
        out.print(Columns([Group(half_blocks(path), Text(image)) for image, path in paths.items()], padding=(1, 2)))
        return
    for image, path in paths.items():
        out.print(Text(image))
        out.file.write(f"{escape(path, protocol)}\n")
