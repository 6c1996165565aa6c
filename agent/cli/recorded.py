"""``detailscribe show``, ``report`` and ``export``, which read recorded runs."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...tools.errors import SettingsError
from .common import console
from .options import Json, RunFolder, argument, option

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from ..records.reader import RecordedRun


def show(
    folder: RunFolder,
    images: Annotated[
        bool | None,
        option(
            "Draw the images in the terminal; by default where it speaks kitty's or iTerm2's protocol.",
            "--images/--no-images",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Print what happened in a run: its images, what was fixed and broken, each decision and its reason, the cost."""
    from json import dumps

    from ...tools.text import plain
    from ..records.reader import read_run
    from ..views.terminal import as_data, story

    run = read_run(folder)
    if json:
        text = dumps(as_data(run), ensure_ascii=False, indent=2)
        readable = sys.stdout.encoding.lower() == "utf-8" and plain(text) == text
        typer.echo(text if readable else dumps(as_data(run), indent=2))
        return
    out = console()
    out.print(story(run))
    _draw(out, run, images)


def _draw(out: "Console", run: "RecordedRun", wanted: bool | None) -> None:
    """The pictures that can be read; one that is missing or leads out of the folder is passed over."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.text import Text

    from ...tools.files import Store
    from ..views.terminal import escape, half_blocks, protocol_of

    protocol = protocol_of(os.environ) if out.is_terminal else None
    if wanted is False or (wanted is None and protocol is None):
        return
    store, drawn = Store(run.folder), list["RenderableType"]()
    out.print()
    for id, image in run.images.items():
        with suppress(OSError, ValueError):
            png = store.read(image.path)
            if protocol is None:
                drawn.append(Group(half_blocks(png), Text(id)))
            else:
                out.print(Text(id))
                out.file.write(f"{escape(png, protocol)}\n")
    out.print(Columns(drawn, padding=(1, 2)))


def report(
    folder: Annotated[Path, argument("A run folder, or a folder of them.")],
    out: Annotated[Path | None, option("The page to write. By default report.html in FOLDER.")] = None,
) -> None:
    """Write a run as one HTML page, or a folder of runs as a table and gallery of them."""
    from ..records.reader import is_run
    from ..views.gallery import write_collection
    from ..views.report import write_report

    typer.echo(write_report(folder, out=out) if is_run(folder) else write_collection(folder, out))


def export(
    runs: Annotated[list[str], argument("A run; with --layout also batches or folders of runs.", metavar="RUNS...")],
    endpoint: Annotated[
        str | None,
        option(
            "URL of the collector, such as http://localhost:4318/v1/traces; by default what"
            " OTEL_EXPORTER_OTLP_ENDPOINT says, or this machine.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        str,
        option(
            "inline, to send small JPEGs; else put before references, such as https://host/runs/fox/. With --layout:"
            " which images of each run; best,first by default."
        ),
    ] = "",
    layout: Annotated[
        Literal["geneval2", "unigenbench", "folder"] | None,
        option("Copy images under the names that this benchmark's evaluator reads, with a manifest."),
    ] = None,
    out: Annotated[Path, option("Where --layout copies to.", metavar="FOLDER")] = Path("export"),
) -> None:
    """Send a run to an OpenTelemetry collector, as spans with OpenInference attributes; or copy the images of RUNS for
    an evaluator."""
    if layout is not None:
        from ..evaluation.collect import collect, picks_named
        from ..evaluation.layouts import write_layout

        found = collect(runs, picks=picks_named(images or "best,first"))
        notes = write_layout(found, layout, out)
        typer.echo(f"{len(found.shots)} images in {out}")
        for line in (*notes, *(f"no image of {lost.place}: {lost.reason}" for lost in found.skipped)):
            typer.echo(line, err=True)
        return
    if len(runs) > 1:
        raise SettingsError("a collector takes one run at a time; to copy images of several, give --layout")
    from ..telemetry import data_urls, export_run

    folder = Path(runs[0])
    urls = data_urls(folder) if images == "inline" else images
    typer.echo(f"{export_run(folder, endpoint, images=urls)} spans sent")
