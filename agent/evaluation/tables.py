"""The one table of the project: cells as data, and as text, Markdown, LaTeX, CSV, a pandas frame and on a terminal."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ...tools.text import plain
from .statistics import Interval

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.table import Table as RichTable

Cell = str | float | Interval | None
"""None where nothing is known."""
Style = str
"""text: as it is, aligned left; share: per cent; points: a difference in per cent points, signed; number: one decimal;
fine: two decimals; p: a p-value; any other is a format specification of Python, such as ``+.3f``."""

_FORMATS: Mapping[str, str] = {"share": ".1%", "points": "+.1%", "number": ".1f", "fine": ".2f"}


@dataclass(frozen=True)
class Column:
    """A column and how its cells are written."""

    name: str
    style: Style = "text"


@dataclass(frozen=True)
class Table:
    """Figures of one kind."""

    title: str
    """Empty for none."""
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    """What a reader has to know; empty for nothing."""

    @property
    def texts(self) -> list[list[str]]:
        """Every cell as text."""
        return [[written(cell, c.style) for cell, c in zip(row, self.columns, strict=True)] for row in self.rows]

    @property
    def frame(self) -> "DataFrame":
        """The cells as a pandas frame, numbers with six decimals; an interval has also ``NAME low``, ``NAME high``."""
        from pandas import DataFrame

        wide = [any(isinstance(row[n], Interval) for row in self.rows) for n in range(len(self.columns))]
        ends = [("", " low", " high") if w else ("",) for w in wide]
        names = [f"{column.name}{end}" for column, of in zip(self.columns, ends, strict=True) for end in of]
        rows = [[v for cell, w in zip(row, wide, strict=True) for v in _plain(cell, w)] for row in self.rows]
        return DataFrame(rows, columns=names, dtype=object)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The cells as JSON, one object a row, by the names of their columns in snake_case."""
        names = [column.name.replace(" ", "_") for column in self.columns]
        rows = ((asdict(cell) if isinstance(cell, Interval) else cell for cell in row) for row in self.rows)
        return [dict(zip(names, row, strict=True)) for row in rows]


def columns(names: str) -> tuple[Column, ...]:
    """Columns from a list such as ``"method, mean: .3f, prompts: d"``; without a style, a column holds text."""
    return tuple(Column(*map(str.strip, one.split(":"))) for one in names.split(","))


def written(cell: Cell, style: Style) -> str:
    """A cell as text; an interval as ``value (low to high)``, or its value alone where it has no width."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Interval) and cell.low == cell.high:
        return written(cell.value, style)
    if isinstance(cell, Interval):
        low, high = (written(end, style).removesuffix("%") for end in (cell.low, cell.high))
        return f"{written(cell.value, style)} ({low} to {high})"
    if style == "p":
        return "<0.001" if cell < 0.001 else f"{cell:.3f}"
    return f"{cell:{_FORMATS.get(style, '.1f' if style == 'text' else style)}}"


def _plain(cell: Cell, wide: bool) -> list[str | float | None]:
    ends = [cell.value, cell.low, cell.high] if isinstance(cell, Interval) else [cell, None, None][: 3 if wide else 1]
    return [round(end, 6) if isinstance(end, float) else end for end in ends]


def markdown(table: Table) -> str:
    """The table, aligned so that it reads well as text too, with its title as a heading and its note below."""
    cells = [[c.name for c in table.columns], *table.texts]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [column.style == "text" for column in table.columns]
    head, *body = (
        " | ".join(
            cell.ljust(w) if is_text else cell.rjust(w) for cell, w, is_text in zip(row, widths, left, strict=True)
        )
        for row in cells
    )
    rule = " | ".join("-" * w if is_text else "-" * (w - 1) + ":" for w, is_text in zip(widths, left, strict=True))
    lines = "\n".join(f"| {line} |" for line in (head, rule, *body))
    return "\n\n".join(filter(None, (table.title and f"## {table.title}", lines, table.note)))


def latex(table: Table) -> str:
    """The table as a ``tabular`` for booktabs; of several text columns, the first one parts the rows by rules."""
    from pandas import DataFrame

    texts = DataFrame(table.texts, columns=[column.name for column in table.columns])
    aligned = "".join("l" if column.style == "text" else "r" for column in table.columns)
    lines = texts.to_latex(index=False, escape=True, column_format=aligned).replace("±", r"$\pm$").splitlines()
    if aligned.count("l") > 1:
        first, names = lines.index(r"\midrule") + 1, [row[0] for row in table.rows]
        for n in reversed(range(1, len(names))):
            if names[n] != names[n - 1]:
                lines.insert(first + n, r"\midrule")
    return "\n".join([*lines, *([f"% {table.note}"] if table.note else [])])


def for_terminal(table: Table) -> "RichTable":
    """The table as rich draws it; control characters are replaced."""
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(
        title=Text(plain(table.title)) if table.title else None,
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for column in table.columns:
        justify = "left" if column.style == "text" else "right"
        made.add_column(Text(plain(column.name)), justify=justify, overflow="fold")
    for row in table.texts:
        made.add_row(*(Text(plain(cell)) for cell in row))
    return made
