"""``detailscribe ratings``."""

from pathlib import Path
from typing import Annotated

import typer

from ...tools.text import plain
from .common import console, reported


def command(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="What raters exported.", show_default=False)],
    key: Annotated[
        Path, typer.Option(metavar="FILE", help="The key that `detailscribe rate` wrote.", show_default=False)
    ],
    scores: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="What `detailscribe evaluate --out` measured, to compare with people."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="METHOD", help="Gains are over this one. By default the first.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Report what people think of methods, how far they agree, and how far metrics and the critic agree with them."""
    with reported():
        from json import dumps

        from ..evaluation import read_answers, read_key, read_measurements, results
        from ..evaluation.ratings import tables
        from ..evaluation.tables import for_terminal
        from ..evaluation.tables import markdown as as_markdown

        known = read_key(key)
        measured = [one for path in scores or [] for one in read_measurements(path)]
        found = results(read_answers(files, known), known, measured, against)
    if json:
        # Escapes whatever a terminal would obey.
        typer.echo(dumps(found.model_dump(mode="json"), indent=2))
    elif markdown:
        typer.echo(plain("\n\n".join(as_markdown(table) for table in tables(found))))
    else:
        from rich.text import Text

        out = console()
        who = ", ".join(f"{rater} {count}" for rater, count in found.raters.items())
        typer.echo(plain(f"{found.rated} of {found.pictures} pictures rated; by rater: {who}"))
        for table in tables(found):
            out.print()
            out.print(for_terminal(table))
            out.print(Text(table.note, style="dim"), soft_wrap=True)
    for line in found.problems:
        typer.echo(plain(line), err=True)
