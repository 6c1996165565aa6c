"""``detailscribe run``, ``resume``, ``history``, ``fork`` and ``reproduce``: single runs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import console, print_tables, terminal_asker
from .options import (
    RUN_OPTIONS,
    ChatUrl,
    PolicyArgs,
    Quiet,
    RunFolder,
    SettingsFile,
    argument,
    by_section,
    option,
    parsed_arguments,
    split_arguments,
    with_options,
)

if TYPE_CHECKING:
    from ..records.reader import Run

INTERACTIVE = "Ask you after each round; the policy proposes."
EDIT = "Change the state: refined_prompt=..., or the answer to a check, such as 00-00.CHECK=pass."
EMBEDDED = "models   embedded, offline; --preset sd35-large or another for full-size ones, see detailscribe doctor"


@with_options(RUN_OPTIONS)
def run(
    prompt: Annotated[str, argument("What the picture should show.")],
    given: dict[str, Any],
    interactive: Annotated[bool, option(INTERACTIVE, "--interactive", "-i", panel="decides")] = False,
    settings: SettingsFile = None,
    out: Annotated[Path | None, option("The run folder. By default a new one in runs.", panel="files")] = None,
    quiet: Quiet = False,
) -> None:
    """Draw PROMPT, check the drawing, and work on it until it is right or the budget is spent."""
    from ..runs.run import run
    from ..settings.loading import load

    _show(partial(run, prompt, settings=load(given, by_section({"run.out": out}), file=settings)), quiet, interactive)


def resume(
    folder: RunFolder,
    policy: Annotated[str | None, option("The policy that the run began with, where that is one of your own.")] = None,
    chat_url: ChatUrl = None,
    quiet: Quiet = False,
) -> None:
    """Go on with a run that was killed, interrupted or failed; finished work is not repeated or paid for again."""
    from ..runs.run import resume

    _show(partial(resume, folder, policy=policy, chat_url=chat_url), quiet, asks=True)


def _show(start: "Callable[..., Run]", quiet: bool, asks: bool = False) -> None:
    """Shows a run while it goes on, and its result; with ``asks`` it may ask a person."""
    from ..records.manifest import read_manifest
    from ..views.live import Live, summary
    from ..views.words import shares

    out = console(quiet)
    with Live(out) as live:
        done = start(on_event=live, **({"ask": terminal_asker(live)} if asks else {}))
    if quiet:
        typer.echo(done.folder)
        return
    out.print()
    out.print(summary(done))
    typer.echo()
    if read_manifest(done.folder).settings.is_embedded:
        typer.echo(EMBEDDED)
    for model, words in shares(done.result.spend_by_model, done.result.images):
        typer.echo(f"used     {model}: {words}")
    for name, path in (("folder", done.folder), ("best", done.best.path), ("report", done.report)):
        typer.echo(f"{name:<8} {path}")


def history(folder: RunFolder) -> None:
    """List the steps of a run, for `detailscribe fork`."""
    from ..evaluation.tables import Table, columns
    from ..runs.fork import history

    steps = history(folder)
    rows: list[tuple[str, ...]] = []
    for n, step in enumerate(steps):
        new = [id for id in step.images if n == 0 or id not in steps[n - 1].images]
        images = f"{len(step.images)}" + (f", new {' '.join(new)}" if new else "")
        rows.append((str(step.number), ", ".join(step.next) or "-", images, step.best or "-"))
    print_tables([Table("", columns("step, next, images, best so far"), tuple(rows))])


def fork(
    folder: RunFolder,
    at: Annotated[int, option("The step to go on from; `detailscribe history RUN` lists them.", metavar="STEP")],
    policy: Annotated[str | None, option("Another policy; by default the run's own.")] = None,
    policy_arg: PolicyArgs = None,
    edit: Annotated[list[str] | None, option(EDIT, metavar="[IMAGE.]NAME=VALUE")] = None,
    rounds: Annotated[int | None, option("At most so many rounds after the first drawings.")] = None,
    images: Annotated[int | None, option("At most so many images, including those of the run.")] = None,
    chat_url: ChatUrl = None,
    out: Annotated[Path | None, option("The new run folder. By default a new one in runs.")] = None,
    quiet: Quiet = False,
) -> None:
    """Go back to a step of a run and go on from there with changes, as a new run."""
    from ..records.manifest import read_manifest
    from ..runs.fork import fork

    bounds = by_section({"rounds": rounds, "images": images})
    budget = read_manifest(folder).settings.run.budget.model_copy(update=bounds) if bounds else None
    edits, policy_args = split_arguments(edit, "--edit", "[IMAGE.]NAME=VALUE"), parsed_arguments(policy_arg)
    otherwise: dict[str, Any] = {"policy": policy, "policy_args": policy_args, "budget": budget, "edits": edits}
    _show(partial(fork, folder, at, **otherwise, chat_url=chat_url, out=out), quiet)


def reproduce(
    folder: RunFolder,
    image: Annotated[str, argument("Id of an image, such as 01-00.")],
    out: Annotated[Path | None, option("Folder for the picture and its latents. By default nothing is kept.")] = None,
) -> None:
    """Make an image of a run again from its record, and report how it differs."""
    from ..runs.reproduce import reproduce

    again = reproduce(folder, image, out=out)
    by = again.difference
    pixels = "identical" if by.identical else f"differ by at most {by.largest} of 255, PSNR {by.psnr:.1f} dB"
    model = again.model_now if again.model_now == again.model_then else f"{again.model_now}, then {again.model_then}"
    typer.echo(f"image    {again.image}\nmade     {' '.join(again.made)}\nmodel    {model}\npixels   {pixels}")
    if again.path is not None:
        typer.echo(f"picture  {again.path}")
