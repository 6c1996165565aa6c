"""``detailscribe compare``."""

from pathlib import Path
from typing import Annotated

import typer

from .common import console, reported


def command(
    a: Annotated[Path, typer.Argument(help="An experiment, a batch, a run, or a folder of runs.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Another one, or the same.", show_default=False)],
    only_a: Annotated[str | None, typer.Option("--a", metavar="VARIANT", help="Of A, this variant alone.")] = None,
    only_b: Annotated[str | None, typer.Option("--b", metavar="VARIANT", help="Of B, this variant alone.")] = None,
    prompts: Annotated[int, typer.Option(min=0, help="List the prompts that differ most, at most so many.")] = 20,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Print what B does other than A: differences with intervals, prompt by prompt, over the same prompts and seeds."""
    from ..evaluation.tables import for_terminal
    from ..evaluation.tables import markdown as as_markdown
    from ..experiments.compare import compare

    with reported():
        tables = [table for table in compare(a, b, only_a, only_b, prompts) if table.rows]
        if markdown:
            typer.echo("\n\n".join(map(as_markdown, tables)))
            return
        out = console()
        for table in tables:
            out.print(for_terminal(table))
            if table.note:
                out.print(table.note, markup=False)
            out.print()
