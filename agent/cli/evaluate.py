"""``detailscribe evaluate``."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...tools.text import plain
from .common import console, reported
from .options import ChatModel, ChatUrl, Preset, SettingsFile, VisionModel, VisionUrl, model_arguments

if TYPE_CHECKING:
    from ...tools.metrics import BatchMetric
    from ..evaluation import Collected, Measurement
    from ..evaluation.tables import Table

MEASURES = "What is measured"
SHOWS = "How it is shown"
WIDEST = 1000
"""Columns of a table that is not shown in a terminal, so that no number is cut off in a file."""

KNOWN = (
    "clipscore, image_reward, blip_vqa: local models; vqascore, interactions, layout: a chat model with vision;"
    " checklist, all_correct: the critic of the settings; judge, judge_all_correct: the embedded world's independent"
    " judge."
)

IMAGES = "Of each run: best, first (as the bare model draws), last, all; each further one is a method."
PHRASES = (
    "Noun phrases of blip_vqa: concepts of the run, or of the settings' decomposer where it has none; or a list of the"
    " chat model's own."
)
WIDE = "A row for each method, a column for each metric: mean ± standard error, win rate."
Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUNS...",
        help="Runs, batches, or folders of them; each batch is a method; NAME=FOLDER names it.",
        show_default=False,
    ),
]


def command(
    runs: Runs,
    metrics: Annotated[str, typer.Option(metavar="A,B", help=KNOWN, rich_help_panel=MEASURES, show_default=False)],
    images: Annotated[str, typer.Option(metavar="A,B", help=IMAGES, rich_help_panel=MEASURES)] = "best",
    by: Annotated[
        Literal["folder", "policy"], typer.Option(help="What makes a method.", rich_help_panel=MEASURES)
    ] = "folder",
    against: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="Win rates are against this one; the first.", rich_help_panel=MEASURES),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Prompts with scenario, for runs of no batch.", rich_help_panel=MEASURES),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=FOLDER", help="A local folder, or a hub id.", rich_help_panel=MEASURES),
    ] = None,
    phrases: Annotated[Literal["concepts", "chat"], typer.Option(help=PHRASES, rich_help_panel=MEASURES)] = "concepts",
    preset: Preset = None,
    chat_url: ChatUrl = None,
    chat_model: ChatModel = None,
    vision_url: VisionUrl = None,
    vision_model: VisionModel = None,
    settings: SettingsFile = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=SHOWS)] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.", rich_help_panel=SHOWS)] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX.", rich_help_panel=SHOWS)] = False,
    wide: Annotated[bool, typer.Option("--wide", help=WIDE, rich_help_panel=SHOWS)] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="Also what each method spent on a prompt.", rich_help_panel=SHOWS)
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Every single value: .parquet, .csv or .jsonl.", rich_help_panel=SHOWS),
    ] = None,
) -> None:
    """Measure the images of RUNS: means, deviations, standard errors and win rates by method and scenario."""
    with reported():
        from json import dumps

        from ...tools.data import read_prompts
        from ...tools.errors import SettingsError
        from ..evaluation import collect, summarize, write_measurements
        from ..evaluation.collect import listed, picks_named
        from ..evaluation.figures import cost_table, costs_of, long_table, reasons, wide_table
        from ..evaluation.measure import require_writable
        from ..settings.loading import load
        from ..settings.models import Models

        if out is not None:
            require_writable(out)
        pairs = [(one, *one.partition("=")[::2]) for one in weights or []]
        if wrong := [one for one, name, value in pairs if not (name and value)]:
            raise SettingsError(f"--weights {wrong[0]!r} should read metric=folder")
        given = model_arguments(preset, chat_url, chat_model, vision_url, vision_model, None)
        chosen = load(given, file=settings).settings
        made = Models(chosen).metrics(listed(metrics), {name: value for _, name, value in pairs}, phrases)
        scenarios = {} if prompts is None else {r.prompt: r.scenario for r in read_prompts(prompts) if r.scenario}
        collected = collect(runs, by=by, picks=picks_named(images), scenarios=scenarios)
        methods = list(dict.fromkeys(shot.method for shot in collected.shots))
        if against is not None and against not in methods:
            raise SettingsError(f"--against {against!r} is none of the methods: {', '.join(methods)}")
        measured = asyncio.run(_measured(collected, made))
        if out is not None:
            write_measurements(measured, out)
        figures, costs, missing = summarize(measured, against), costs_of(collected.spent), reasons(measured)
    if json:
        found = {"figures": [f.model_dump() for f in figures], "costs": [c.model_dump() for c in costs]}
        typer.echo(dumps(found | {"missing": missing}, indent=2))
        return
    tables = [wide_table(figures) if wide else long_table(figures), *([cost_table(costs)] if cost else [])]
    for n, table in enumerate(tables):
        if n:
            typer.echo()
        _show(table, "markdown" if markdown else "latex" if latex else "table")
    for line in missing:
        typer.echo(plain(line), err=True)


async def _measured(collected: "Collected", metrics: "dict[str, BatchMetric]") -> "list[Measurement]":
    from rich.progress import Progress

    from ..evaluation import measure

    # Standard output is the table's alone.
    with Progress(console=console(stderr=True), transient=True) as progress:
        bars = {name: progress.add_task(name, total=len(collected.shots)) for name in metrics}
        return await measure(
            collected.shots,
            metrics,
            skipped=collected.skipped,
            on_progress=lambda name, done, total: progress.update(bars[name], completed=done, total=total),
        )


def _show(table: "Table", form: Literal["table", "markdown", "latex"]) -> None:
    from ..evaluation.tables import for_terminal, latex, markdown

    if form != "table":
        typer.echo(plain(markdown(table) if form == "markdown" else latex(table)))
        return
    out = console()
    if not out.is_terminal:
        out.width = WIDEST
    out.print(for_terminal(table))
