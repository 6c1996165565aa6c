"""``detailscribe show``, ``report``, ``export``, ``view``, ``ctl`` and ``mcp``: shows, exports and steers runs."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...tools.errors import SettingsError, first_problem
from .common import console
from .options import (
    MODEL_OPTIONS,
    Json,
    RunFolder,
    SettingsFile,
    argument,
    by_section,
    option,
    parsed_arguments,
    with_options,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

DRAW = "Draw the images in the terminal; by default if it supports kitty's or iTerm2's protocol."
ENDPOINT = (
    "URL of the collector, such as http://localhost:4318/v1/traces; by default OTEL_EXPORTER_OTLP_ENDPOINT, or this"
    " machine."
)
IMAGES = (
    "inline, to send small JPEGs; or a prefix of references, such as https://host/runs/fox/. With --layout: which"
    " images of each run; best,first by default."
)
LAYOUT = "Copy images under the names that this benchmark's evaluator reads, with a manifest."
ACTION = "What to do after the current step; `status` only looks."
WHAT = "accept IMAGE; decide IMAGE=refine, reseed or stop; budget images=20."
Action = Literal["status", "pause", "go", "accept", "decide", "budget", "cancel"]
BOUND = "A bound of each call, such as images=8."
TOTAL = "A bound of all calls together, such as money=5."
HTTP = "Serve http://127.0.0.1:PORT/mcp instead of stdio."


def show(
    folder: RunFolder,
    images: Annotated[bool | None, option(DRAW, "--images/--no-images", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Print what happened in a run: its images, what was fixed and broken, each decision and its reason, the cost."""
    from json import dumps

    from rich.columns import Columns
    from rich.console import Group
    from rich.text import Text

    from ...tools.files import Store
    from ...tools.text import plain
    from ..records.reader import read_run
    from ..views.terminal import as_data, escape, half_blocks, protocol_of, story

    run, out = read_run(folder), console()
    if json:
        text = dumps(as_data(run), ensure_ascii=False, indent=2)
        readable = sys.stdout.encoding.lower() == "utf-8" and plain(text) == text
        typer.echo(text if readable else dumps(as_data(run), indent=2))
        return
    out.print(story(run))
    protocol = protocol_of(os.environ) if out.is_terminal else None
    if images is False or (images is None and protocol is None):
        return
    store, drawn = Store(run.folder), list["RenderableType"]()
    out.print()
    for id, image in run.images.items():
        with suppress(OSError, ValueError):  # it is missing or leads out of the folder
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
    """Write a run as one HTML page, or a folder of runs as a table and gallery."""
    from ..records.reader import is_run
    from ..views.gallery import write_collection
    from ..views.report import write_report

    typer.echo(write_report(folder, out=out) if is_run(folder) else write_collection(folder, out))


def export(
    runs: Annotated[list[str], argument("A run; with --layout also batches or folders of runs.", metavar="RUNS...")],
    endpoint: Annotated[str | None, option(ENDPOINT, show_default=False)] = None,
    images: Annotated[str, option(IMAGES)] = "",
    layout: Annotated[Literal["geneval2", "unigenbench", "folder"] | None, option(LAYOUT)] = None,
    out: Annotated[Path, option("Where --layout copies to.", metavar="FOLDER")] = Path("export"),
) -> None:
    """Send a run to an OpenTelemetry collector, or with --layout copy the images of RUNS for an evaluator."""
    if layout is not None:
        from ..evaluation.collect import collect, picks_named, write_layout

        collected = collect(runs, picks=picks_named(images or "best,first"))
        notes = write_layout(collected, layout, out)
        typer.echo(f"{len(collected.shots)} images in {out}")
        for line in (*notes, *(f"no image of {run.place}: {run.reason}" for run in collected.skipped)):
            typer.echo(line, err=True)
        return
    if len(runs) > 1:
        raise SettingsError("a collector takes one run at a time; to copy images of several, give --layout")
    from ..telemetry import data_urls, export_run

    folder = Path(runs[0])
    urls = data_urls(folder) if images == "inline" else images
    typer.echo(f"{export_run(folder, endpoint, images=urls)} spans sent")


@contextmanager
def _extra(name: str, *packages: str) -> Generator[None]:
    """Says what to install where one of the packages is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in packages:
            raise
        raise SettingsError(f'detailscribe {name} needs pip install "detailscribe[{name}]"') from error


def view(
    folder: Annotated[Path, argument("A folder of runs, or a run.")] = Path("runs"),
    host: Annotated[str, option("Address to listen on; by default only this machine can connect.")] = "127.0.0.1",
    port: Annotated[int, option("Of the page.", min=1, max=65535)] = 7575,
) -> None:
    """Show FOLDER in a browser: watch runs, compare them side by side, write notes, and steer runs."""
    with _extra("view", "starlette", "uvicorn"):
        from ..viewing import serve
    serve(folder, host, port, lambda: typer.echo(f"http://{host}:{port}  (Ctrl-C ends it)"))


def ctl(
    folder: RunFolder,
    action: Annotated[Action, argument(ACTION)] = "status",
    what: Annotated[list[str] | None, argument(WHAT, metavar="[WHAT...]")] = None,
    by: Annotated[str, option("Your name, for the trace.", metavar="NAME")] = "",
    json: Json = False,
) -> None:
    """Steer a run of another process: pause it, accept an image, go on, decide, raise a budget, cancel."""
    from json import dumps

    from pydantic import ValidationError

    from ..records.reader import read_run
    from ..runs.steering import Instruction, instruct, live_status

    run = read_run(folder)
    if action != "status":
        fields: dict[str, object] = {"action": action, "by": by}
        if action == "accept":
            fields["image"] = " ".join(what or ())
        elif action in ("decide", "budget"):
            fields["decisions" if action == "decide" else "budget"] = parsed_arguments(what, action)
        try:
            instruct(run, Instruction.model_validate(fields))
        except ValidationError as error:
            raise SettingsError(f"{action}: {first_problem(error)}") from error
    data = {"run": run.run, "state": live_status(run), "asked": None if action == "status" else action}
    data |= {"images": list(run.images), "best": run.best and run.best.id}
    data |= {"budget": run.budget.model_dump(exclude_none=True), "spend": run.spend.model_dump()}
    if json:
        typer.echo(dumps(data))
        return
    typer.echo(f"run      {run.run}\nstate    {data['state']}\nimages   {' '.join(run.images) or '-'}")
    if action != "status":
        typer.echo(f"asked    {action}, after the current step")


@with_options((*MODEL_OPTIONS, "steps", "guidance", "policy", "policy_arg"))
def mcp(
    given: dict[str, Any],
    folder: Annotated[Path, argument("For the runs; nothing outside it is read.")] = Path("runs"),
    budget: Annotated[list[str] | None, option(BOUND, "--budget", "-b", metavar="NAME=VALUE", panel="decides")] = None,
    total: Annotated[list[str] | None, option(TOTAL, metavar="NAME=VALUE", panel="decides")] = None,
    http: Annotated[int | None, option(HTTP, min=1, max=65535, metavar="PORT", panel="shows")] = None,
    settings: SettingsFile = None,
) -> None:
    """Offer drawing, checking and refining as tools of the Model Context Protocol."""
    from ..settings.loading import load

    bounds = by_section({"run.budget": parsed_arguments(budget, "--budget") or None})
    loaded = load(given, bounds, file=settings)
    with _extra("mcp", "mcp"):
        from ..mcp import Server, serve
    serve(Server(folder, loaded, parsed_arguments(total, "--total")), http)
