"""What commands share. Everything that they print comes through here, and no text in it can command the terminal."""

import re
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import typer
from typer.core import TyperGroup

from ...tools.text import plain

if TYPE_CHECKING:
    from rich.console import Console

    from ..views.asker import TerminalAsker
    from ..views.live import Live

PIPED_WIDTH = 120
"""Columns of a table where stdout is no terminal."""

_HARMLESS = re.compile(r"(\x1b\[[0-9;]*m|\A\r|\A(?:\n|\x1b\[A)+\Z)")
"""Commands of a terminal that are kept: colours, and how progress bars of libraries (tqdm) go back to their line."""


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


class PlainGroup(TyperGroup):
    """The commands, with standard output and error as ``PlainStream``s while one of them runs."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command."""
        out, err = (cast(TextIO, PlainStream(stream)) for stream in (sys.stdout, sys.stderr))
        with redirect_stdout(out), redirect_stderr(err):
            return super().main(*args, **kwargs)


@contextmanager
def reported() -> Generator[None]:
    """Prints what the user can mend as one line on stderr, with exit status 2; Ctrl-C exits with 130."""
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
