"""The plots of an experiment: curves of points with intervals, drawn by matplotlib where it is installed."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from ..evaluation.statistics import proportion_interval
from .load import Variant
from .measures import Frame, by_label, by_prompt, finished, frame
from .rows import ExperimentRow
from .summary import COSTS, by_round, mean_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NEEDS = "plots need matplotlib: pip install 'detailscribe[plots]'"
MOST_CURVES = 8
"""In one panel; with more, every group has its own panel."""
_MARKERS = "osD^vP*X"
_ACROSS = 3
"""Panels side by side."""
_LINE = 84
"""Characters of the legend in one line."""


@dataclass(frozen=True)
class Figure:
    """One plot of the share all correct."""

    name: str
    """Of its file, without a suffix."""
    title: str
    x_label: str
    points: Frame
    """One line a point: ``group`` and ``name`` of its curve, ``x``, and ``value``, ``low`` and ``high`` in [0, 1]."""
    is_cost: bool = False
    """Whether x is a cost, on a logarithmic axis; else curves are shifted a little, so that none hides another."""


def figures_of(rows: Sequence[ExperimentRow], variants: Sequence[Variant]) -> list[Figure]:
    """Every plot of an experiment."""
    return [*frontiers(rows, variants), *sweeps(rows, variants), *round_by_round(rows, variants)]


def frontiers(rows: Sequence[ExperimentRow], variants: Sequence[Variant]) -> list[Figure]:
    """Quality against each cost: a point for each variant, joined along a grid."""
    points, figures = _points(rows, variants, _family), list[Figure]()
    for cost in COSTS:
        words = cost.replace("_", " ")
        if points[cost].nunique() > 1:
            title, label = f"Quality against {words}", f"{words} a prompt"
            figures.append(Figure(f"frontier_{cost}", title, label, points.assign(x=points[cost]), is_cost=True))
    return figures


def sweeps(rows: Sequence[ExperimentRow], variants: Sequence[Variant]) -> list[Figure]:
    """Quality against each number that a grid varies, while the other values of the grid are fixed."""
    figures = list[Figure]()
    for name in dict.fromkeys(name for variant in variants for name in variant.numbers):
        varied = [variant for variant in variants if name in variant.numbers]
        points = _points(rows, varied, lambda v, name=name: v.with_values(v.group, lambda key: key != name))
        if points["name"].duplicated().any():
            side, _, parameter = name.partition(".")
            points["x"] = [variant.numbers[name] for variant in points["variant"]]
            title = f"Quality against {parameter} of the {side}"
            figures.append(Figure(f"sweep_{side}_{parameter}", title, parameter, points))
    return figures


def round_by_round(rows: Sequence[ExperimentRow], variants: Sequence[Variant] = ()) -> list[Figure]:
    """Quality after each round: of the image that would be chosen, and of the newest one; ``variants`` group curves."""
    from pandas import DataFrame

    last = max((image.round for row in finished(rows) for image in row.images), default=0)
    if last == 0:
        return []
    curves = {v.label: {"group": _family(v), "name": v.with_values("", v.numbers.__contains__)} for v in variants}
    points: dict[str, list[dict[str, Any]]] = {"chosen": [], "newest": []}
    for label, group in by_label(finished(rows)).items():
        curve = curves.get(label, {"group": "", "name": label})
        for kind, after in by_round(group, last).items():
            points[kind] += [curve | {"x": round} | vars(y) for round, y in enumerate(after) if y is not None]
    return [
        Figure(f"rounds_{kind}", f"The {kind} image after each round", "round", DataFrame(lines))
        for kind, lines in points.items()
    ]


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(figure: Figure, format: Literal["svg", "png"] = "svg") -> bytes:
    """The plot as a file, the same for the same figure; labels are shown as they are, dollar signs too."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    settings: Any = {"text.parse_math": False, "font.family": "sans-serif"}
    settings |= {"svg.hashsalt": "detailscribe", "svg.fonttype": "none"}
    with rc_context(settings):
        canvas = Canvas(layout="constrained", dpi=70)
        _panels(canvas, figure)
        canvas.suptitle(figure.title)
        out = io.BytesIO()
        canvas.savefig(out, format=format, metadata={"Date": None} if format == "svg" else None)
    return out.getvalue()


def _points(rows: Sequence[ExperimentRow], variants: Sequence[Variant], curve: Callable[[Variant], str]) -> Frame:
    """The quality and mean costs of each variant with finished runs; those of the same ``curve`` are joined."""
    from pandas import DataFrame

    groups, points = by_label(finished(rows)), list[dict[str, Any]]()
    for variant in variants:
        if variant.label in groups:
            runs = frame(groups[variant.label])
            quality = proportion_interval(by_prompt(runs, "all_correct"))
            costs = {cost: mean_of(by_prompt(runs, cost)) for cost in COSTS}
            points.append({"variant": variant, "group": "", "name": curve(variant)} | costs | vars(quality))
    return DataFrame(points, columns=["variant", "group", "name", "value", "low", "high", *COSTS])


def _family(variant: Variant) -> str:
    """The curve of a variant, which joins those that differ only by numbers."""
    return variant.with_values(variant.group, lambda name: name not in variant.numbers)


def _panels(canvas: "Canvas", figure: Figure) -> None:
    """All curves in one panel, or a panel for each group; a name has the same colour in all of them."""
    points = figure.points
    many = points.groupby(["group", "name"]).ngroups > MOST_CURVES
    if not many:
        points = points.assign(name=(points["group"] + " " + points["name"]).str.strip(), group="")
    groups, names = list(points["group"].unique()), list(points["name"].unique())
    across = min(_ACROSS, len(groups))
    down = -(-len(groups) // across)
    canvas.set_size_inches((9, 1.2 + 2.4 * down) if many else (8, 5))
    panels = list(canvas.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)
    width = 0.0 if figure.is_cost else float(points["x"].max() - points["x"].min())
    for axes, group in zip(panels, groups, strict=False):
        for name, line in points[points["group"] == group].groupby("name", sort=False):
            place = names.index(name)
            _draw(axes, line.sort_values("x"), str(name), place, 0.008 * width * (place - (len(names) - 1) / 2))
        axes.set_title(group, fontsize="medium")
        _finish(axes, figure)
    for axes in panels[len(groups) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(groups) - across) : len(groups)]:
        axes.set_xlabel(figure.x_label)
        axes.tick_params(labelbottom=True)
    canvas.supylabel("all correct, %", fontsize="medium")
    handles = {label: h for axes in panels for h, label in zip(*axes.get_legend_handles_labels(), strict=True) if label}
    if handles:
        columns = max(1, _LINE // (max(map(len, handles)) + 5))
        canvas.legend(handles.values(), handles, loc="outside lower center", ncols=columns, frameon=False)


def _draw(axes: "Axes", line: Frame, label: str, place: int, beside: float) -> None:
    """One curve, with the colour and marker of its place, shifted by ``beside``."""
    from matplotlib import color_sequences

    colours = color_sequences["petroff10"]  # readable by colour-blind people
    ends = [100 * (line["value"] - line["low"]).clip(lower=0), 100 * (line["high"] - line["value"]).clip(lower=0)]
    style: dict[str, Any] = {"color": colours[place % len(colours)], "marker": _MARKERS[place % len(_MARKERS)]}
    style |= {"markersize": 5, "capsize": 3, "linewidth": 1.4}
    axes.errorbar(line["x"] + beside, 100 * line["value"], ends, label=label, **style)


def _finish(axes: "Axes", figure: Figure) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if figure.x_label == "round":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if figure.is_cost and (figure.points["x"] > 0).all():
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=2, subs=(1, 1.5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
