"""``detailscribe data``: sets of prompts."""

import asyncio
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...tools.errors import SettingsError
from .options import SettingsFile, argument, option, with_options

if TYPE_CHECKING:
    from ...tools.data import PromptRecord

Out = Annotated[Path | None, option("JSONL, for `detailscribe batch`; by default printed.", "--out", metavar="FILE")]
Scenario = Literal["functional", "compositional", "multi_subject"]
OnlyScenario = Annotated[Scenario | None, option("Only this one.", "--scenario")]
FILES = "Where its three JSONL files are."
Count = Annotated[int, option("Prompts to make.", min=1)]
SeedOption = Annotated[int, option("Another seed, other prompts.", "--seed", min=0)]

commands = typer.Typer(help="Read sets of prompts, or make new ones.", no_args_is_help=True)


@commands.command()
def interacting(
    source: Annotated[str, option(FILES, "--from", metavar="FOLDER|URL", show_default=False)],
    scenario: OnlyScenario = None,
    out: Out = None,
) -> None:
    """The 1000 InterActing prompts as published, with scenario and subclass, as clean JSONL."""
    from ...tools.data import read_interacting

    _write((r for r in read_interacting(source) if scenario in (None, r.scenario)), out)


@commands.command()
def read(
    source: Annotated[str, argument("A file, a URL, - or dataset:owner/name#split.")],
    column: Annotated[str | None, option("Of prompts; by default prompt, caption, text ...", metavar="NAME")] = None,
    scenario: Annotated[str | None, option("Of scenarios; by default scenario, category ...", metavar="NAME")] = None,
    format: Annotated[str | None, option("jsonl, json, csv, tsv, parquet, txt; or detected.", metavar="NAME")] = None,
    limit: Annotated[int | None, option("Prompts at most.", min=1)] = None,
    unique: Annotated[bool, option("Each prompt once.", "--distinct")] = False,
    skip_empty: Annotated[bool, option("Leave out empty prompts, rather than stop.", "--skip-empty")] = False,
    out: Out = None,
) -> None:
    """Any set of prompts as clean JSONL: JSONL, COCO captions, CSV, TSV, parquet, plain text; also compressed."""
    from ...tools.data import distinct, read_prompts

    records = read_prompts(source, column=column, scenario=scenario, format=format, limit=limit, skip_empty=skip_empty)
    _write(distinct(records) if unique else records, out)


@commands.command()
def benchmark(
    name: Annotated[str, argument("geneval2, unigenbench, corebench, conceptmix or tifa.", metavar="NAME")],
    source: Annotated[str, argument("Its file as published: a path or URL.", metavar="SOURCE")],
    limit: Annotated[int | None, option("Prompts at most.", min=1)] = None,
    out: Out = None,
) -> None:
    """The prompts of a benchmark with the questions that it asks about their pictures, as JSONL."""
    from itertools import islice

    from ...tools.data import read_benchmark

    _write(islice(read_benchmark(name, source), limit), out)


@commands.command()
def world(
    count: Count = 100,
    seed: SeedOption = 0,
    scenario: OnlyScenario = None,
    complexity: Annotated[int | None, option("Relations in each; by default one to three.", min=1, max=5)] = None,
    out: Out = None,
) -> None:
    """New prompts of the embedded world that its models were never trained on; offline."""
    from ...tools.data import world_prompts

    _write(world_prompts(count, seed, scenario, complexity), out)


@commands.command()
@with_options(("chat_url", "chat_model"))
def build(
    scenario: Annotated[Scenario, option("What kind of interaction.", show_default=False)],
    given: dict[str, Any],
    count: Count = 50,
    seed: SeedOption = 0,
    settings: SettingsFile = None,
    out: Out = None,
) -> None:
    """New prompts about uncommon interactions, worded by a chat model, validated and without doubles."""
    from ...tools.data.builder import Builder
    from ...tools.files import require_writable
    from ..settings.loading import load
    from ..settings.models import Models

    if (model := Models(load(given, file=settings).settings).language) is None:
        raise SettingsError("a chat model words the prompts: name one with --chat-model and --chat-url")
    if out is not None:
        require_writable(out)
    builder = Builder(model, scenario, seed)

    async def build_all() -> "list[PromptRecord]":
        return [record async for record in builder.build(count)]

    records = asyncio.run(build_all())
    _write(records, out)
    for reason, times in builder.rejected.most_common():
        typer.echo(f"rejected {times} times: {reason}", err=True)
    if len(records) < count:
        typer.echo(f"{len(records)} of {count} prompts came", err=True)
        raise typer.Exit(1)


def _write(records: "Iterable[PromptRecord]", out: Path | None) -> None:
    from ...tools.data import write_prompts

    if out is None:
        for record in records:
            line = record.line()
            typer.echo(line if sys.stdout.encoding.lower() == "utf-8" else json.dumps(json.loads(line)))
    else:
        typer.echo(f"{write_prompts(records, out)} prompts in {out}")
