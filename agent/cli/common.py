"""What commands share."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ..runs.interactive import TerminalAsker
    from ..traces.live import Live

PIPED_WIDTH = 120
"""Columns of a table where stdout is no terminal."""


@contextmanager
def reported() -> Generator[None]:
    """What the user can mend becomes one line on stderr and exit status 2; Ctrl-C becomes 130."""
    from ...tools.errors import DetailScribeError, Interrupted

    try:
        yield
    except Interrupted as interrupted:
        typer.echo(str(interrupted), err=True)
        raise typer.Exit(130) from interrupted
    except DetailScribeError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as interrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(130) from interrupt


def terminal_asker(live: "Live") -> "TerminalAsker":
    """Asks on the terminal, between what ``live`` shows."""
    import os

    from rich.text import Text

    from ...tools.errors import SettingsError
    from ..runs.interactive import TerminalAsker
    from ..traces.harmless import harmless
    from ..traces.terminal_images import escape, protocol_of

    out = live.console
    protocol = protocol_of(os.environ) if out.is_terminal else None

    def read(question: str) -> str:
        try:
            with live.paused():
                return input(question)
        except EOFError as error:
            raise SettingsError("nobody answers: give --interactive in a terminal, and resume the run there") from error

    def show(path: Path) -> None:
        if protocol is not None:
            out.file.write(f"{escape(path, protocol)}\n")

    return TerminalAsker(lambda line: out.print(Text(harmless(line)), soft_wrap=True), read, show)


def console(quiet: bool = False) -> "Console":
    """Standard output: as wide as the terminal, or ``PIPED_WIDTH``."""
    from rich.console import Console

    return Console(quiet=quiet, highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
