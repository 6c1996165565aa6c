"""What commands share. Everything that they print comes through here, and no text in it can command the terminal."""

import os
import re
import sqlite3
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import typer

from ...tools.errors import DetailScribeError, Interrupted, SettingsError, disk_is_full
from ...tools.text import one_line, plain, without_secrets

if TYPE_CHECKING:
    from rich.console import Console

    from ..evaluation.tables import Table
    from ..views.asker import TerminalAsker
    from ..views.live import Live

LONGEST_PATH = 200
"""Characters of a path in an error."""
PIPED_WIDTH = 120
"""Columns of text where stdout is no terminal."""
WIDEST_TABLE = 1000
"""Columns of a table where stdout is no terminal, so that no number is cut off in a file."""

_STYLE = "(?:[0-4]|22|3[1-79]|9[1-7])"
_HARMLESS = re.compile(rf"(\x1b\[(?:{_STYLE}(?:;{_STYLE})*)?m|\A\r|\A(?:\n|\x1b\[A)+\Z)")
"""Commands of a terminal that are kept: colours of letters, and how progress bars of libraries (tqdm) go back to their
line."""
_UsageError: Any = typer.BadParameter.__base__
"""Of click, wherever typer keeps it."""


class PlainStream:
    """An output in which control characters are replaced as they are written, but for harmless ones."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        """Where the text goes; rich's consoles, which replace control characters themselves, write to it at once."""

    def write(self, text: str) -> int:
        """Write the text; the count is that of its own characters."""
        self.stream.write("".join(part if n % 2 else plain(part) for n, part in enumerate(_HARMLESS.split(text))))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # who writes bytes would write past this
            raise AttributeError(name)
        return getattr(self.stream, name)


@contextmanager
def reported() -> Generator[None]:
    """Prints what the user can mend as one line on stderr, with exit status 2; Ctrl-C exits with 130."""

    def ending(line: str, status: int) -> typer.Exit:
        typer.echo(plain(without_secrets(one_line(line))), err=True)
        return typer.Exit(status)

    try:
        yield
    except _UsageError as error:
        error.message = plain(error.message)  # it shows what was given
        raise
    except Interrupted as interrupted:
        raise ending(str(interrupted), 130) from interrupted
    except (DetailScribeError, OSError, sqlite3.Error) as error:
        if disk_is_full(error):
            full = "error: the disk is full: make room, and go on with the same command or detailscribe resume"
            raise ending(full, 2) from error
        if isinstance(error, OSError) and error.filename is not None:
            raise ending(f"error: {str(error.filename)[:LONGEST_PATH]} cannot be used: {error.strerror}", 2) from error
        if not isinstance(error, DetailScribeError):
            raise
        raise ending(f"error: {error}", 2) from error
    except KeyboardInterrupt as interrupt:
        raise ending("interrupted", 130) from interrupt


def terminal_asker(live: "Live") -> "TerminalAsker":
    """Asks on the terminal, between what ``live`` shows."""
    from rich.text import Text

    from ..views.asker import TerminalAsker
    from ..views.terminal import escape, protocol_of

    out = live.console
    protocol = protocol_of(os.environ) if out.is_terminal else None

    def read(question: str) -> str:
        try:
            with live.paused():
                return input(plain(question))
        except EOFError as error:
            raise SettingsError("nobody answers: give --interactive in a terminal, and resume the run there") from error

    def show(path: Path) -> None:
        if protocol is not None:
            out.file.write(f"{escape(path.read_bytes(), protocol)}\n")

    return TerminalAsker(lambda line: out.print(Text(line), soft_wrap=True), read, show)


def console(quiet: bool = False, *, stderr: bool = False) -> "Console":
    """Standard output or error: as wide as the terminal, or ``PIPED_WIDTH``."""
    from ..views.terminal import PlainConsole

    file = sys.stderr if stderr else sys.stdout
    file = file.stream if isinstance(file, PlainStream) else file
    return PlainConsole(file=file, quiet=quiet, highlight=False, width=None if file.isatty() else PIPED_WIDTH)


def print_tables(tables: "Sequence[Table]", form: Literal["terminal", "markdown", "latex"] = "terminal") -> None:
    """Prints tables with a blank line between them, each with its note below."""
    from rich.text import Text

    from ..evaluation.tables import for_terminal, latex, markdown

    if form != "terminal":
        typer.echo(plain("\n\n".join(map(markdown if form == "markdown" else latex, tables))))
        return
    out = console()
    if not out.is_terminal:
        out.width = WIDEST_TABLE
    for n, table in enumerate(tables):
        if n:
            out.print()
        out.print(for_terminal(table))
        if table.note:
            out.print(Text(table.note, style="dim"), soft_wrap=True)
