"""The table type of the project: as text, Markdown, LaTeX, a pandas frame, JSON records and on a terminal."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ...tools.text import plain
from .statistics import Interval

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.table import Table as RichTable

Cell = str | float | Interval | None
"""None where there is no value."""
Style = str
"""text: as it is, aligned left; share: per cent; points: a signed difference in percentage points; number: one decimal;
fine: two decimals; p: a p-value; any other is a format specification of Python, such as ``+.3f``."""

_FORMATS: Mapping[str, str] = {"share": ".1%", "points": "+.1%", "number": ".1f", "fine": ".2f"}


@dataclass(frozen=True)
class Column:
    """A column and how its cells are formatted."""

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

        def rounded(value: Any) -> Any:
            return round(value, 6) if isinstance(value, float) else value

        data = dict[str, list[Any]]()
        for n, column in enumerate(self.columns):
            cells = [row[n] for row in self.rows]
            data[column.name] = [rounded(cell.value if isinstance(cell, Interval) else cell) for cell in cells]
            for end in ("low", "high") if any(isinstance(cell, Interval) for cell in cells) else ():
                data[f"{column.name} {end}"] = [rounded(getattr(cell, end, None)) for cell in cells]
        return DataFrame(data, dtype=object)

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


def markdown(table: Table) -> str:
    """The table, padded so that it reads well as text too, with its title as a heading and its note below."""
    texts, padded = table.texts, list[list[str]]()
    for n, column in enumerate(table.columns):
        cells = [text.replace("|", "\\|").replace("\n", " ") for text in (column.name, *(row[n] for row in texts))]
        width, is_text = max(map(len, cells)), column.style == "text"
        cells.insert(1, "-" * width if is_text else "-" * (width - 1) + ":")
        padded.append([cell.ljust(width) if is_text else cell.rjust(width) for cell in cells])
    lines = "\n".join(f"| {' | '.join(row)} |" for row in zip(*padded, strict=True))
    return "\n\n".join(filter(None, (table.title and f"## {table.title}", lines, table.note)))


def latex(table: Table) -> str:
    """The table as a booktabs ``tabular``; with several text columns, a rule follows each group of the first one."""
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
    """The table for rich, with control characters replaced."""
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
