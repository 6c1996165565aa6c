"""The command ``detailscribe`` and its subcommands, each of which imports what is heavy itself."""

import logging
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated, Any, TextIO, cast

import typer
from typer.core import TyperGroup

from . import about, batch, data, evaluation, experiments, runs, viewing
from .common import PlainStream, reported


class PlainGroup(TyperGroup):
    """The commands, run with ``PlainStream``s as standard output and error, and with errors in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command. Characters that the encoding of the output lacks are printed as ``?``."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")
        out, err = (cast(TextIO, PlainStream(stream)) for stream in (sys.stdout, sys.stderr))
        with redirect_stdout(out), redirect_stderr(err):
            return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the options before the command."""
        with reported():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with reported():
            return super().invoke(ctx)


app = typer.Typer(
    cls=PlainGroup,
    name="detailscribe",
    help="Draws prompts about things that interact, checks the drawing item by item, and refines it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The ``detailscribe`` command."""
    # LangGraph warns when Ctrl-C comes in the middle of a checkpoint or a step, although nothing is lost.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning, r"langgraph\.checkpoint\.")
    warnings.filterwarnings("ignore", "coroutine 'AsyncQueue.wait' was never awaited", RuntimeWarning)
    logging.getLogger("asyncio").addFilter(lambda record: "AsyncQueue.wait" not in record.getMessage())
    warnings.filterwarnings("ignore", "Image size .* exceeds limit", RuntimeWarning)  # such pictures are refused
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"detailscribe {version('detailscribe')}")
        raise typer.Exit


@app.callback()
def root(
    show: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Draws prompts about things that interact, checks the drawing item by item, and refines it."""


# In the order of ``--help``.
for command in (
    *(runs.run, runs.resume, runs.history, runs.fork, runs.reproduce, viewing.ctl, batch.batch, viewing.mcp),
    *(viewing.view, viewing.show, viewing.report, viewing.export),
    *(experiments.experiment, experiments.compare, experiments.replay, experiments.learn),
    *(evaluation.evaluate, evaluation.rate, evaluation.ratings, evaluation.critic_test),
):
    app.command()(command)
app.add_typer(data.commands, name="data")
for command in (about.doctor, about.presets, about.policies, about.graph):
    app.command()(command)
