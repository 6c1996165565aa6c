"""Figures as tables for people, for Markdown and for LaTeX."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .costs import Cost
from .measure import Measurement
from .statistics import Figure

HEADER = ("scenario", "metric", "method", "mean", "std. error", "deviation", "win rate", "prompts", "missing")

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


@dataclass(frozen=True)
class Table:
    """What is shown, in whatever form."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int
    """Columns that hold words; numbers stand in those after them."""


def cells(figure: Figure) -> tuple[str, ...]:
    """A figure as one row under ``HEADER``; a dash where there is no number."""
    win = "-" if figure.win_rate is None else f"{100 * figure.win_rate:.1f}% of {figure.pairs}"
    numbers = (figure.mean, figure.error, figure.deviation)
    told = ("-" if n is None else f"{n:.3f}" for n in numbers)
    about = (figure.scenario, figure.metric, figure.method)
    return (*about, *told, win, str(figure.prompts), str(figure.missing))


def as_markdown(figures: Sequence[Figure]) -> str:
    """Every figure in a row of its own."""
    return markdown(long_table(figures))


def as_latex(figures: Sequence[Figure]) -> str:
    """The same as a ``tabular``, with a rule between scenarios."""
    return latex(long_table(figures))


def long_table(figures: Sequence[Figure]) -> Table:
    """Every figure in a row of its own."""
    return Table(HEADER, tuple(cells(figure) for figure in figures), words=3)


def wide_table(figures: Sequence[Figure]) -> Table:
    """A row for each method, a column for each metric: mean ± standard error, and the win rate after it."""
    metrics = list(dict.fromkeys(figure.metric for figure in figures))
    rows: dict[tuple[str, str], dict[str, Figure]] = {}
    for figure in figures:
        rows.setdefault((figure.scenario, figure.method), {})[figure.metric] = figure
    return Table(
        ("scenario", "method", *metrics, "prompts", "missing"),
        tuple((*about, *(_short(by.get(metric)) for metric in metrics), *_counts(by)) for about, by in rows.items()),
        words=2,
    )


def cost_table(costs: Sequence[Cost]) -> Table:
    """A row for each method, with what it spent on a prompt."""
    header = ("method", "runs", "images", "evaluations", "critic calls", "tokens", "dollars", "model seconds")
    rows = tuple(
        (
            cost.method,
            str(cost.runs),
            f"{cost.images:.2f}",
            f"{cost.evaluations:.1f}",
            f"{cost.critic_calls:.2f}",
            f"{cost.tokens:.0f}",
            f"{cost.money:.4f}",
            f"{cost.seconds:.2f}",
        )
        for cost in costs
    )
    return Table(header, rows, words=1)


def markdown(table: Table) -> str:
    """A table that reads well as text too."""
    rows = [table.header, *(tuple(cell.replace("|", r"\|") for cell in row) for row in table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.header))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    ruler = " | ".join("-" * (w - 1) + ":" if i >= table.words else "-" * w for i, w in enumerate(widths))
    return "\n".join(f"| {line} |" for line in (lines[0], ruler, *lines[1:]))


def latex(table: Table) -> str:
    """A ``tabular`` that needs the package booktabs, with a rule where the first column changes, if it has groups."""
    columns = "l" * table.words + "r" * (len(table.header) - table.words)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _row(table.header), r"\midrule"]
    for n, row in enumerate(table.rows):
        if n and table.words > 1 and row[0] != table.rows[n - 1][0]:
            lines.append(r"\midrule")
        lines.append(_row(row))
    return "\n".join((*lines, r"\bottomrule", r"\end{tabular}"))


def reasons(measurements: Iterable[Measurement], most: int = 3) -> list[str]:
    """Why values are missing: for each metric how many, and the commonest reasons with their numbers."""
    lost: dict[str, Counter[str]] = {}
    for one in measurements:
        if one.reason is not None:
            lost.setdefault(one.metric, Counter())[one.reason] += 1
    return [
        f"{metric}: {counts.total()} missing; " + "; ".join(f"{n} x {why}" for why, n in counts.most_common(most))
        for metric, counts in lost.items()
    ]


def _short(figure: Figure | None) -> str:
    """``0.838 ± 0.115, 83%``."""
    if figure is None or figure.mean is None:
        return "-"
    spread = "" if figure.error is None else f" ± {figure.error:.3f}"
    return f"{figure.mean:.3f}{spread}" + ("" if figure.win_rate is None else f", {100 * figure.win_rate:.0f}%")


def _counts(by: Mapping[str, Figure]) -> tuple[str, str]:
    """Prompts with a value, and images without, of all metrics; where they differ, from the least to the most."""
    return _span(figure.prompts for figure in by.values()), _span(figure.missing for figure in by.values())


def _span(numbers: Iterable[int]) -> str:
    least, *_, most = sorted(found := list(numbers)) * 2
    return str(least) if len(set(found)) == 1 else f"{least}-{most}"


def _row(words: Iterable[str]) -> str:
    return " & ".join(map(_escaped, words)) + r" \\"


def _escaped(text: str) -> str:
    return re.sub(r"[\\~^&%$#_{}±]", lambda found: _SPECIAL[found.group()], text)
