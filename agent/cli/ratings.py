"""``detailscribe ratings``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import console, reported

if TYPE_CHECKING:
    from ..ratings import Results


def command(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="What raters exported.", show_default=False)],
    key: Annotated[
        Path, typer.Option(metavar="FILE", help="The key that `detailscribe rate` left.", show_default=False)
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
    """Tell what people think of the methods, how far they agree, and how far metrics and the critic agree with them."""
    with reported():
        from ..ratings import read_answers, read_key, results
        from ..ratings.scores import metric_scores, read_measurements

        known = read_key(key)
        measured = [one for path in scores or [] for one in read_measurements(path)]
        found = results(read_answers(files, known), known, metric_scores(measured, known), against)
    _show(found, "json" if json else "markdown" if markdown else "table")


def _show(found: "Results", form: str) -> None:
    from ..ratings.tables import as_markdown

    if form == "json":
        typer.echo(found.model_dump_json(indent=2))
    elif form == "markdown":
        typer.echo(as_markdown(found))
    else:
        _print(found)
    for line in found.problems:
        typer.echo(line, err=True)


def _print(found: "Results") -> None:
    from rich.table import Table
    from rich.text import Text

    from ..ratings.tables import tables

    out = console()
    who = ", ".join(f"{rater} {count}" for rater, count in found.raters.items())
    out.print(Text(f"{found.rated} of {found.pictures} pictures rated; by rater: {who}"), soft_wrap=True)
    for one in tables(found):
        shown = Table(box=None, pad_edge=False, header_style="bold", title=one.title, title_justify="left")
        for heading in one.header:
            shown.add_column(heading, no_wrap=heading not in ("method", "metric", "question"), overflow="fold")
        for row in one.rows:
            shown.add_row(*map(Text, row))
        out.print()
        out.print(shown)
        out.print(Text(one.note, style="dim"), soft_wrap=True)
