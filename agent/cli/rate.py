"""``detailscribe rate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from .common import reported

if TYPE_CHECKING:
    from ..evaluation import Pick

ASKS = "What raters are asked"
LEAVES = "What it leaves"


def command(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUNS...",
            help="Runs, batches, or folders of them; each batch is a method; NAME=FOLDER names it.",
            show_default=False,
        ),
    ],
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
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page, for raters.", rich_help_panel=LEAVES)] = Path(
        "rating.html"
    ),
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Which method made which picture, not for raters. By default beside the page, ending in .key.json.",
            rich_help_panel=LEAVES,
        ),
    ] = None,
    beside: Annotated[
        bool, typer.Option("--beside", help="Pictures in a folder beside the page.", rich_help_panel=LEAVES)
    ] = False,
) -> None:
    """Write one page on which people rate the images of RUNS without knowing which method made them."""
    with reported():
        from ..evaluation import collect
        from ..ratings import make_survey, write_survey
        from ..ratings.criteria import criteria_named

        asked = criteria_named(_names(criteria))
        found = collect(runs, picks=_picks(images))
        survey = make_survey(found.shots, asked, seed=seed, checks=checks, prompts=prompts)
        written = write_survey(survey, out, key or out.with_suffix(".key.json"), beside=beside)
    typer.echo(f"page     {written.page}")
    if written.pictures is not None:
        typer.echo(f"pictures {written.pictures}")
    typer.echo(f"key      {written.key} (keep it from raters)")
    shown = len({item.prompt for item in survey.items})
    typer.echo(f"{len(survey.items)} pictures of {shown} prompts, {len(survey.key.methods)} methods")
    if found.skipped:
        typer.echo(f"{len(found.skipped)} run(s) give no image, such as {found.skipped[0].place}", err=True)


def _names(listed: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))


def _picks(listed: str) -> "list[Pick]":
    from ...tools.errors import SettingsError
    from ..evaluation import Pick

    known: dict[str, Pick] = {pick: pick for pick in get_args(Pick)}
    names = _names(listed)
    if not names or any(name not in known for name in names):
        raise SettingsError(f"--images {listed!r}: these are known: {', '.join(known)}")
    return [known[name] for name in names]
