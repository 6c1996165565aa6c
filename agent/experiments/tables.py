"""Tables as data, and as Markdown, CSV and for the terminal."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .statistics import Interval

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Cell = str | float | Interval | None
"""None where nothing is known."""
Style = Literal["text", "share", "points", "number", "fine", "p"]
"""text: as it is; share: per cent; points: a difference in per cent points, signed; number: one decimal;
fine: two decimals; p: a p-value."""


@dataclass(frozen=True)
class Column:
    """A column and how its cells are written."""

    name: str
    style: Style = "text"


@dataclass(frozen=True)
class Table:
    """Figures of one kind."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    """What a reader has to know; empty for nothing."""

    @property
    def texts(self) -> list[list[str]]:
        """Every cell in words."""
        return [[written(cell, c.style) for cell, c in zip(row, self.columns, strict=True)] for row in self.rows]


def written(cell: Cell, style: Style) -> str:
    """A cell in words; an interval as ``value (low to high)``."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Interval):
        unit = "%" if style in ("share", "points") else ""
        low, high = (_number(end, style).removesuffix("%").removesuffix(" pp") for end in (cell.low, cell.high))
        value = _number(cell.value, style).removesuffix(unit)
        return f"{value}{unit} ({low} to {high})"
    return _number(cell, style)


def _number(value: float, style: Style) -> str:
    if style == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    return {"share": f"{100 * value:.1f}%", "points": f"{100 * value:+.1f}%", "fine": f"{value:.2f}"}.get(
        style, f"{value:.1f}"
    )


def markdown(table: Table) -> str:
    """The table with its title as a heading."""
    cells = [[c.name for c in table.columns], *table.texts]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in cells]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    lines = [_line(row, widths, table.columns) for row in cells]
    rule = (
        "| "
        + " | ".join(
            "-" * (w - 1) + ("-" if c.style == "text" else ":") for w, c in zip(widths, table.columns, strict=True)
        )
        + " |"
    )
    note = f"\n\n{table.note}" if table.note else ""
    return f"## {table.title}\n\n" + "\n".join([lines[0], rule, *lines[1:]]) + note


def _line(cells: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    padded = [
        cell.ljust(width) if column.style == "text" else cell.rjust(width)
        for cell, width, column in zip(cells, widths, columns, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def comma_separated(table: Table) -> str:
    """The table in plain numbers; an interval takes three columns."""
    wide = [any(isinstance(row[i], Interval) for row in table.rows) for i in range(len(table.columns))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [
        [c.name, f"{c.name} low", f"{c.name} high"] if w else [c.name] for c, w in zip(table.columns, wide, strict=True)
    ]
    writer.writerow([name for group in names for name in group])
    for row in table.rows:
        writer.writerow([value for cell, w in zip(row, wide, strict=True) for value in _plain(cell, w)])
    return out.getvalue()


def _plain(cell: Cell, wide: bool) -> list[str | float]:
    if isinstance(cell, Interval):
        return [round(number, 6) for number in (cell.value, cell.low, cell.high)]
    value: str | float = "" if cell is None else round(cell, 6) if isinstance(cell, float) else cell
    return [value, "", ""] if wide else [value]


def for_terminal(table: Table) -> "RichTable":
    """The table as rich draws it."""
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(title=Text(table.title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        made.add_column(Text(column.name), justify="left" if column.style == "text" else "right", overflow="fold")
    for row in table.texts:
        made.add_row(*map(Text, row))
    return made
