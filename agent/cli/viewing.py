"""``detailscribe view``, ``ctl`` and ``mcp``: runs in a browser, steered from elsewhere, and made by other programs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .options import (
    DECIDES,
    MODEL_OPTIONS,
    SHOWS,
    Json,
    RunFolder,
    SettingsFile,
    argument,
    by_section,
    option,
    parsed_arguments,
    with_options,
)


def view(
    folder: Annotated[Path, argument("A folder of runs, or a run.")] = Path("runs"),
    host: Annotated[str, option("Where it listens; another than this machine's own lets others in.")] = "127.0.0.1",
    port: Annotated[int, option("Of the page.", min=1, max=65535)] = 7575,
) -> None:
    """Show FOLDER in a browser: runs as they go on, side by side, with what you note on them, and steered by hand."""
    from ..viewing import serve

    serve(folder, host, port, lambda: typer.echo(f"http://{host}:{port}  (Ctrl-C ends it)"))


def ctl(
    folder: RunFolder,
    action: Annotated[
        Literal["status", "pause", "go", "accept", "decide", "budget", "cancel"],
        argument("What to do after the step that is at work; `status` only looks."),
    ] = "status",
    what: Annotated[
        list[str] | None,
        argument("accept IMAGE; decide IMAGE=refine, reseed or stop; budget images=20.", metavar="[WHAT...]"),
    ] = None,
    by: Annotated[str, option("Who asks, for the trace.", metavar="NAME")] = "",
    json: Json = False,
) -> None:
    """Steer a run that goes on in another process: pause it, accept an image, go on, decide, raise a budget, cancel."""
    from json import dumps

    from pydantic import ValidationError

    from ...tools.errors import SettingsError, first_problem
    from ..records.reader import read_run
    from ..runs.steering import Instruction, instruct, live_status

    run = read_run(folder)
    if action != "status":
        given: dict[str, object] = {"action": action, "by": by}
        if action == "accept":
            given["image"] = " ".join(what or ())
        elif action in ("decide", "budget"):
            given["decisions" if action == "decide" else "budget"] = parsed_arguments(what, action)
        try:
            instruct(run, Instruction.model_validate(given))
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
        typer.echo(f"asked    {action}, after the step that is at work")


@with_options((*MODEL_OPTIONS, "steps", "guidance", "policy", "policy_arg"))
def mcp(
    given: dict[str, Any],
    folder: Annotated[Path, argument("Runs are made in it, and nothing outside it is read.")] = Path("runs"),
    budget: Annotated[
        list[str] | None,
        option("A bound of each call, such as images=8.", "--budget", "-b", metavar="NAME=VALUE", panel=DECIDES),
    ] = None,
    total: Annotated[
        list[str] | None,
        option("A bound of all calls together, such as money=5.", metavar="NAME=VALUE", panel=DECIDES),
    ] = None,
    http: Annotated[
        int | None,
        option("Serve http://127.0.0.1:PORT/mcp instead of stdio.", min=1, max=65535, metavar="PORT", panel=SHOWS),
    ] = None,
    settings: SettingsFile = None,
) -> None:
    """Offer drawing, checking and refining as tools of the Model Context Protocol, to the program that starts this."""
    from ...tools.errors import SettingsError
    from ..settings.loading import load

    bounds = by_section({"run.budget": parsed_arguments(budget, "--budget") or None})
    loaded = load(given, bounds, file=settings)
    try:
        from ..mcp import Server, serve
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("mcp"):
            raise
        raise SettingsError('detailscribe mcp needs pip install "detailscribe[mcp]"') from error
    serve(Server(folder, loaded, parsed_arguments(total, "--total")), http)
