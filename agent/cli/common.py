"""Output and errors of all commands; no text that they print can command the terminal."""

import os
import re
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from ...tools.errors import Interrupted, SettingsError, mended
from ...tools.text import one_line, plain, without_secrets

if TYPE_CHECKING:
    from rich.console import Console

    from ..evaluation.tables import Table
    from ..views.asker import TerminalAsker
    from ..views.live import Live

PIPED_WIDTH = 120
"""Columns of text in a file or pipe."""
WIDEST_TABLE = 1000
"""Columns of a table in a file or pipe, so that no number is cut off."""

ASK_FOR_REPORT = (
    "this is a fault of detailscribe and not of what you gave it: please report it, with the lines above and what"
    " `detailscribe doctor` prints"
)
LONGEST = 800
"""Characters of an error; a longer one is cut in its middle."""
_STYLE = "(?:[0-4]|22|3[1-79]|9[1-7])"
_HARMLESS = re.compile(rf"(\x1b\[(?:{_STYLE}(?:;{_STYLE})*)?m|\A\r|\A(?:\n|\x1b\[A)+\Z)")
"""Terminal commands that are kept: colours, and the cursor movements of progress bars (tqdm)."""
_UsageError: Any = typer.BadParameter.__base__
"""Click's, which typer may vendor."""


class PlainStream:
    """A text stream that replaces control characters except harmless ones."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        """The output; rich's consoles replace control characters themselves and write to it directly."""

    def write(self, text: str) -> int:
        """Write the text and return its length."""
        self.stream.write("".join(part if n % 2 else plain(part) for n, part in enumerate(_HARMLESS.split(text))))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each line."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # bytes would bypass this class
            raise AttributeError(name)
        return getattr(self.stream, name)


@contextmanager
def reported() -> Generator[None]:
    """Prints errors that the user can mend as one line on stderr, with exit status 2; Ctrl-C exits with 130.

    Any other error is a bug: it prints a traceback and a line that asks for a report, with exit status 1.
    """
    try:
        yield
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its text is the help
            raise
        command = error.ctx.command_path if error.ctx else "detailscribe"
        print_line(f"error: {error.format_message()} (see {command} --help)")
        raise typer.Exit(2) from error
    except Interrupted as interrupted:
        print_line(str(interrupted))
        raise typer.Exit(130) from interrupted
    except KeyboardInterrupt as interrupt:
        print_line("interrupted")
        raise typer.Exit(130) from interrupt
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if (mendable := mended(error)) is None:
            typer.echo(without_secrets(traceback.format_exc()) + ASK_FOR_REPORT, err=True)
            raise typer.Exit(1) from error
        print_line(f"error: {mendable}")
        raise typer.Exit(2) from error


def print_line(words: str) -> None:
    """Print words as one line on stderr, without secrets of URLs and control characters."""
    line = plain(without_secrets(one_line(words)))
    typer.echo(line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}", err=True)


def terminal_asker(live: "Live") -> "TerminalAsker":
    """Asks on the terminal, while ``live`` is paused."""
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


def print_tables(
    tables: "Sequence[Table]", *, markdown: bool = False, latex: bool = False, json: bool = False, data: object = None
) -> None:
    """Prints the tables that are not empty with their notes, for the terminal, as Markdown or as LaTeX; with ``json``,
    prints ``data``, by default the tables by title."""
    from json import dumps

    from rich.text import Text

    from ..evaluation import tables as forms

    tables = [table for table in tables if table.rows]
    if json:
        typer.echo(dumps(data or {table.title: table.records for table in tables}, indent=2))
    elif markdown or latex:
        typer.echo(plain("\n\n".join(map(forms.markdown if markdown else forms.latex, tables))))
    else:
        out = console()
        if not out.is_terminal:
            out.width = WIDEST_TABLE
        for n, table in enumerate(tables):
            if n:
                out.print()
            out.print(forms.for_terminal(table))
            if table.note:
                out.print(Text(table.note, style="dim"), soft_wrap=True)
