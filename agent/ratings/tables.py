"""What the ratings say, as tables for a terminal or a page of Markdown."""

from dataclasses import dataclass

from ..experiments.statistics import Interval
from .results import Results


@dataclass(frozen=True)
class Table:
    """Words in cells."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


def tables(found: Results) -> list[Table]:
    """One table for each of methods, raters, metrics and critic that there is something to tell of."""
    every = [_methods(found), _raters(found), _metrics(found), _critic(found)]
    return [table for table in every if table.rows]


def as_markdown(found: Results) -> str:
    """All tables, each under its title."""
    return "\n\n".join(_markdown(table) for table in tables(found))


def _markdown(table: Table) -> str:
    lines = [table.header, tuple("---" for _ in table.header), *table.rows]
    body = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    return f"## {table.title}\n\n{body}\n\n{table.note}"


def _methods(found: Results) -> Table:
    header = ("scenario", "criterion", "method", "mean", "gain", "win rate", "prompts", "ratings")
    rows = tuple(
        (
            f.scenario,
            f.criterion,
            f.method,
            _range(f.mean, alone=f.prompts == 1),
            _range(f.gain, signed=True, alone=f.prompts == 1),
            "-" if f.win_rate is None else f"{f.win_rate:.0%}",
            str(f.prompts),
            str(f.ratings),
        )
        for f in found.methods
    )
    return Table(
        "Ratings by method",
        header,
        rows,
        "Means over prompts from 1 to 5, and the gain over the baseline on the prompts of both, with 95% bootstrap"
        " intervals, which a single prompt has none of; a tie counts half in the win rate.",
    )


def _raters(found: Results) -> Table:
    rows = tuple(
        (f.question, f.level, _range(f.alpha, digits=3), str(f.raters), str(f.pictures)) for f in found.agreement
    )
    return Table(
        "Agreement among raters",
        ("question", "level", "Krippendorff's alpha", "raters", "answered by two"),
        rows,
        "1 is perfect agreement, 0 what chance would give; 95% intervals by bootstrap over what two or more answered.",
    )


def _metrics(found: Results) -> Table:
    rows = tuple(
        (
            f.metric,
            f.criterion,
            _range(f.spearman, digits=3, signed=True),
            _number(f.kendall, signed=True),
            "-" if f.within is None else f"{f.within:.0%} of {f.pairs}",
            str(f.pictures),
        )
        for f in found.metrics
    )
    return Table(
        "Metrics against people",
        ("metric", "criterion", "Spearman", "Kendall", "same order within a prompt", "pictures"),
        rows,
        "Rank correlation with the mean rating of each picture, with a 95% interval by bootstrap over prompts; and the"
        " share of pairs of one prompt, rated apart by people, that the metric orders alike, where chance is 50%.",
    )


def _critic(found: Results) -> Table:
    rows = tuple(
        (
            f.aspect,
            "-" if f.balanced_accuracy is None else f"{f.balanced_accuracy:.1%}",
            _number(f.kappa),
            str(f.answers),
            str(f.unknown),
            str(f.undecided),
        )
        for f in found.critic
    )
    return Table(
        "The critic against people, check by check",
        ("aspect", "balanced accuracy", "Cohen's kappa", "answers", "critic unknown", "people undecided"),
        rows,
        "Against the majority of raters; chance is 50% and 0.",
    )


def _range(interval: Interval | None, digits: int = 2, signed: bool = False, alone: bool = False) -> str:
    """``3.50 (3.00 to 4.00)``; the value without the rest where it stands alone."""
    if interval is None:
        return "-"
    value, low, high = (f"{v:{'+' if signed else ''}.{digits}f}" for v in (interval.value, interval.low, interval.high))
    return value if alone else f"{value} ({low} to {high})"


def _number(value: float | None, signed: bool = False) -> str:
    return "-" if value is None else f"{value:{'+' if signed else ''}.3f}"
