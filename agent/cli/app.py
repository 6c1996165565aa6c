"""The command ``detailscribe`` and its subcommands."""

import warnings
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from .common import PlainGroup

COMMANDS = [
    "run",
    "resume",
    "history",
    "fork",
    "reproduce",
    "batch",
    "show",
    "report",
    "export",
    "experiment",
    "compare",
    "replay",
    "evaluate",
    "rate",
    "ratings",
    "data",
    "doctor",
    "presets",
    "graph",
]
"""In the order of ``--help``. Each is a module here whose ``command`` is a function, or a ``Typer`` of several, or else
a function of the module that ``TOGETHER`` names."""
TOGETHER = dict.fromkeys(("history", "show", "report", "export"), "recorded") | dict.fromkeys(
    ("doctor", "presets", "graph"), "about"
)

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
    # What the checkpointer leaves behind when Ctrl-C comes in the middle of a checkpoint; nothing is lost with it.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning, r"langgraph\.checkpoint\.")
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


def _register(name: str) -> None:
    module, function = (TOGETHER[name], name) if name in TOGETHER else (name, "command")
    command = getattr(import_module(f".{module}", __package__), function)
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


for _name in COMMANDS:
    _register(_name)
