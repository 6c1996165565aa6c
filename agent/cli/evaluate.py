"""``detailscribe evaluate``."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .common import console, reported
from .options import ChatModel, ChatUrl, Preset, SettingsFile, VisionModel, VisionUrl, model_arguments

if TYPE_CHECKING:
    from ...tools.metrics import BatchMetric
    from ..evaluation import Figure, Measurement
    from ..evaluation.collect import Collected
    from ..evaluation.costs import Cost
    from ..evaluation.tables import Table

MEASURES = "What is measured"
SHOWS = "How it is shown"
WIDEST = 1000
"""Columns of a table that is not shown in a terminal."""

KNOWN = (
    "clipscore, image_reward, blip_vqa: models here; vqascore, interactions, layout: a chat model that sees; checklist,"
    " all_correct: the critic of the settings; judge, judge_all_correct: the embedded world's independent judge."
)


def command(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUNS...",
            help="Runs, batches, or folders of them; each batch is a method; NAME=FOLDER names it.",
            show_default=False,
        ),
    ],
    metrics: Annotated[str, typer.Option(metavar="A,B", help=KNOWN, rich_help_panel=MEASURES, show_default=False)],
    images: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Of each run: best, first (as the bare model draws), last, all; further ones are methods beside.",
            rich_help_panel=MEASURES,
        ),
    ] = "best",
    by: Annotated[
        Literal["folder", "policy"], typer.Option(help="What makes a method.", rich_help_panel=MEASURES)
    ] = "folder",
    against: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="Win rates are against this one; the first.", rich_help_panel=MEASURES),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Prompts with their scenario, for runs of no batch.", rich_help_panel=MEASURES
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=FOLDER", help="Weights that are here, or a hub id.", rich_help_panel=MEASURES),
    ] = None,
    phrases: Annotated[
        Literal["concepts", "chat"],
        typer.Option(
            help="Noun phrases of blip_vqa: concepts of the run, or of the settings' decomposer where it has none; or a"
            " list of the chat model's own.",
            rich_help_panel=MEASURES,
        ),
    ] = "concepts",
    preset: Preset = None,
    chat_url: ChatUrl = None,
    chat_model: ChatModel = None,
    vision_url: VisionUrl = None,
    vision_model: VisionModel = None,
    settings: SettingsFile = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=SHOWS)] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.", rich_help_panel=SHOWS)] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX.", rich_help_panel=SHOWS)] = False,
    wide: Annotated[
        bool,
        typer.Option(
            "--wide",
            help="A row for each method, a column for each metric: mean ± standard error, win rate.",
            rich_help_panel=SHOWS,
        ),
    ] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="What each method spent on a prompt, too.", rich_help_panel=SHOWS)
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Every single value: .parquet, .csv or .jsonl.", rich_help_panel=SHOWS),
    ] = None,
) -> None:
    """Measure the images of RUNS; tell means, deviations, standard errors and win rates by method and scenario."""
    with reported():
        from ..evaluation.costs import costs_of
        from ..evaluation.files import require_writable, write_measurements
        from ..evaluation.parts import make_metrics
        from ..evaluation.statistics import summarize
        from ..evaluation.tables import cost_table, long_table, reasons, wide_table
        from ..settings import load

        if out is not None:
            require_writable(out)
        given = model_arguments(preset, chat_url, chat_model, vision_url, vision_model, None)
        chosen = load(given, file=settings).settings
        wanted = make_metrics(_names(metrics), chosen, _pairs(weights or []), phrases)
        collected = _collected(runs, images, by, prompts)
        _require_method(against, collected)
        measured = asyncio.run(_measured(collected, wanted))
        if out is not None:
            write_measurements(measured, out)
        figures, costs = summarize(measured, against), costs_of(collected.spent)
    lost = reasons(measured)
    if json:
        typer.echo(_as_json(figures, costs, lost))
        return
    tables = [wide_table(figures) if wide else long_table(figures), *([cost_table(costs)] if cost else [])]
    for n, table in enumerate(tables):
        if n:
            typer.echo()
        _show(table, "markdown" if markdown else "latex" if latex else "table")
    for line in lost:
        typer.echo(line, err=True)


def _names(listed: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))


def _pairs(given: Sequence[str]) -> dict[str, str]:
    from ...tools.errors import SettingsError

    pairs = [one.partition("=") for one in given]
    if wrong := [one for one, (name, _, value) in zip(given, pairs, strict=True) if not (name and value)]:
        raise SettingsError(f"--weights {wrong[0]!r} should read metric=folder")
    return {name: value for name, _, value in pairs}


def _collected(runs: Sequence[str], images: str, by: Literal["folder", "policy"], prompts: str | None) -> "Collected":
    from typing import get_args

    from ...tools.data import read_prompts
    from ...tools.errors import SettingsError
    from ..evaluation.collect import Pick, collect

    known: dict[str, Pick] = {pick: pick for pick in get_args(Pick)}
    if unknown := [name for name in _names(images) if name not in known]:
        raise SettingsError(f"--images {', '.join(unknown)!r}: these are known: {', '.join(known)}")
    told = {} if prompts is None else {r.prompt: r.scenario for r in read_prompts(prompts) if r.scenario}
    return collect(runs, by=by, picks=[known[name] for name in _names(images)], scenarios=told)


def _require_method(against: str | None, collected: "Collected") -> None:
    from ...tools.errors import SettingsError

    methods = list(dict.fromkeys(shot.method for shot in collected.shots))
    if against is not None and against not in methods:
        raise SettingsError(f"--against {against!r} is none of the methods: {', '.join(methods)}")


async def _measured(collected: "Collected", wanted: "dict[str, BatchMetric]") -> "list[Measurement]":
    from rich.console import Console
    from rich.progress import Progress

    from ..evaluation.measure import measure

    # Standard output is the table's alone.
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bars = {name: progress.add_task(name, total=len(collected.shots)) for name in wanted}
        return await measure(
            collected.shots,
            wanted,
            skipped=collected.skipped,
            on_progress=lambda name, done, total: progress.update(bars[name], completed=done, total=total),
        )


def _as_json(figures: "list[Figure]", costs: "list[Cost]", lost: list[str]) -> str:
    import json

    told = {"figures": [f.model_dump() for f in figures], "costs": [c.model_dump() for c in costs], "missing": lost}
    return json.dumps(told, indent=2)


def _show(table: "Table", form: Literal["table", "markdown", "latex"]) -> None:
    from ..evaluation.tables import latex, markdown

    if form == "table":
        _print(table)
    else:
        typer.echo({"markdown": markdown, "latex": latex}[form](table))


def _print(table: "Table") -> None:
    from rich.measure import Measurement as Width
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, pad_edge=False, header_style="bold")
    for n, heading in enumerate(table.header):
        shown.add_column(heading, justify="left" if n < table.words else "right", no_wrap=True)
    for row in table.rows:
        shown.add_row(*map(Text, row))
    out = console()
    wanted = Width.get(out, out.options.update(max_width=WIDEST), shown).maximum
    if not out.is_terminal:
        out.width = max(out.width, wanted)  # no number is cut off in a file
    out.print(shown)
