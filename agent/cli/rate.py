"""``detailscribe rate``."""

from pathlib import Path
from typing import Annotated

import typer

from ...tools.text import plain
from .common import reported
from .evaluate import Runs

ASKS = "What raters are asked"
WRITES = "What it writes"


def command(
    runs: Runs,
    criteria: Annotated[
        str, typer.Option(metavar="A,B", help="Rated from 1 to 5.", rich_help_panel=ASKS)
    ] = "interactions,layout",
    checks: Annotated[
        bool, typer.Option("--checks", help="Ask every check of the prompt too, yes or no.", rich_help_panel=ASKS)
    ] = False,
    images: Annotated[
        str, typer.Option(metavar="A,B", help="Of each run: best, first, last, all.", rich_help_panel=ASKS)
    ] = "best",
    prompts: Annotated[
        int | None, typer.Option(min=1, help="Prompts at most, evenly from each scenario.", rich_help_panel=ASKS)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of the pictures.", rich_help_panel=ASKS)] = 0,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page, for raters.", rich_help_panel=WRITES)] = Path(
        "rating.html"
    ),
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Which method made which picture, not for raters. By default beside the page, ending in .key.json.",
            rich_help_panel=WRITES,
        ),
    ] = None,
    beside: Annotated[
        bool, typer.Option("--beside", help="Pictures in a folder beside the page.", rich_help_panel=WRITES)
    ] = False,
) -> None:
    """Write one page on which people rate the images of RUNS without knowing which method made them."""
    with reported():
        from ..evaluation import collect, make_survey, write_survey
        from ..evaluation.collect import listed, picks_named
        from ..evaluation.survey import criteria_named

        asked = criteria_named(listed(criteria))
        found = collect(runs, picks=picks_named(images))
        survey = make_survey(found.shots, asked, seed=seed, checks=checks, prompts=prompts)
        key = key or out.with_suffix(".key.json")
        pictures = write_survey(survey, out, key, beside=beside)
    typer.echo(plain(f"page     {out}"))
    if pictures is not None:
        typer.echo(plain(f"pictures {pictures}"))
    typer.echo(plain(f"key      {key} (keep it from raters)"))
    shown = len({item.prompt for item in survey.items})
    typer.echo(f"{len(survey.items)} pictures of {shown} prompts, {len(survey.key.methods)} methods")
    if found.skipped:
        typer.echo(plain(f"{len(found.skipped)} run(s) give no image, such as {found.skipped[0].place}"), err=True)
