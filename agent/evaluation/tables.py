"""Figures as tables for people, for Markdown and for LaTeX."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from .measure import Measurement
from .statistics import Figure

HEADER = ("scenario", "metric", "method", "mean", "std. error", "deviation", "win rate", "prompts", "missing")

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def cells(figure: Figure) -> tuple[str, ...]:
    """A figure as one row under ``HEADER``; a dash where there is no number."""
    win = "-" if figure.win_rate is None else f"{100 * figure.win_rate:.1f}% of {figure.pairs}"
    numbers = (figure.mean, figure.error, figure.deviation)
    told = ("-" if n is None else f"{n:.3f}" for n in numbers)
    about = (figure.scenario, figure.metric, figure.method)
    return (*about, *told, win, str(figure.prompts), str(figure.missing))


def as_markdown(figures: Sequence[Figure]) -> str:
    """A table that reads well as text too."""
    rows = [HEADER, *(tuple(cell.replace("|", r"\|") for cell in cells(figure)) for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    ruler = " | ".join("-" * (w - 1) + ":" if i > 2 else "-" * w for i, w in enumerate(widths))
    return "\n".join(f"| {line} |" for line in (lines[0], ruler, *lines[1:]))


def as_latex(figures: Sequence[Figure]) -> str:
    """A ``tabular`` that needs the package booktabs, with a rule between scenarios."""
    lines = [r"\begin{tabular}{lllrrrrrr}", r"\toprule", _row(HEADER), r"\midrule"]
    for n, figure in enumerate(figures):
        if n and figure.scenario != figures[n - 1].scenario:
            lines.append(r"\midrule")
        lines.append(_row(cells(figure)))
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


def _row(words: Iterable[str]) -> str:
    return " & ".join(map(_escaped, words)) + r" \\"


def _escaped(text: str) -> str:
    return re.sub(r"[\\~^&%$#_{}]", lambda found: _SPECIAL[found.group()], text)
