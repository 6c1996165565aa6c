"""The plots of an experiment, by matplotlib where it is installed."""

import io
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .curves import Curve, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NEEDS = "plots need matplotlib: pip install 'detailscribe[plots]'"
MOST_CURVES = 8
"""In one panel; of more, every group has a panel of its own."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
"""Told apart by colour-blind readers too; after Okabe and Ito."""
_MARKS = "osD^vP*X"
_SPREAD = 0.008
"""Of the width, from one curve to the next where they may be drawn beside each other."""
_ACROSS = 3
"""Panels side by side."""
_LINE = 84
"""Characters of the legend that go in one line."""


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def svg(figure: Figure) -> str:
    """The drawing as SVG, the same for the same figures."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    with rc_context({"svg.hashsalt": "detailscribe", "svg.fonttype": "none", "font.family": "sans-serif"}):
        canvas = Canvas(layout="constrained")
        if len(figure.curves) <= MOST_CURVES:
            _one_panel(canvas, figure)
        else:
            _panels(canvas, figure)
        canvas.suptitle(figure.title)
        out = io.StringIO()
        canvas.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _one_panel(canvas: "Canvas", figure: Figure) -> None:
    """All curves in one, each told by the legend below."""
    canvas.set_size_inches(8, 5)
    axes = canvas.add_subplot()
    shift = _SPREAD * _width(figure) if figure.spread else 0.0
    for number, curve in enumerate(figure.curves):
        beside = shift * (number - (len(figure.curves) - 1) / 2)
        _draw(axes, curve, curve.label, _COLOURS[number], _MARKS[number], beside)
    axes.set(xlabel=figure.x_label, ylabel=figure.y_label)
    _finish(axes, figure)
    _legend(canvas, axes)


def _panels(canvas: "Canvas", figure: Figure) -> None:
    """A panel for each group; what has the same name has the same colour in all of them."""
    groups = list(dict.fromkeys(curve.group for curve in figure.curves))
    names = list(dict.fromkeys(curve.name for curve in figure.curves))
    across = min(_ACROSS, len(groups))
    down = -(-len(groups) // across)
    canvas.set_size_inches(9, 1.2 + 2.4 * down)
    panels = list(canvas.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)
    shift = _SPREAD * _width(figure) if figure.spread else 0.0
    told: dict[str, Axes] = {}
    for axes, group in zip(panels, groups, strict=False):
        for curve in (curve for curve in figure.curves if curve.group == group):
            place = names.index(curve.name)
            label = "_" if curve.name in told or not curve.name else curve.name
            told.setdefault(curve.name, axes)
            beside = shift * (place - (len(names) - 1) / 2)
            _draw(axes, curve, label, _colour(place, len(names)), _MARKS[place % len(_MARKS)], beside)
        axes.set_title(group, fontsize="medium")
        _finish(axes, figure)
    for axes in panels[len(groups) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(groups) - across) : len(groups)]:
        axes.set_xlabel(figure.x_label)
        axes.tick_params(labelbottom=True)
    canvas.supylabel(figure.y_label, fontsize="medium")
    _legend(canvas, *dict.fromkeys(told.values()))


def _colour(place: int, count: int) -> object:
    """One of the few, or where they do not suffice, a place on a scale."""
    from matplotlib import colormaps

    return _COLOURS[place] if count <= len(_COLOURS) else colormaps["viridis"](place / (count - 1) * 0.9)


def _finish(axes: "Axes", figure: Figure) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if figure.x_label == "round":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not figure.spread and all(x > 0 for curve in figure.curves for x in curve.x):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=2, subs=(1, 1.5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(canvas: "Canvas", *of: "Axes") -> None:
    """Below everything, in as many columns as its texts leave room for; none where nothing has a name."""
    handles, labels = list[Any](), list[str]()
    for axes in of:
        more, names = axes.get_legend_handles_labels()
        handles += more
        labels += names
    if labels:
        columns = max(1, _LINE // (max(map(len, labels)) + 5))
        canvas.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def _width(figure: Figure) -> float:
    """From the smallest x to the largest."""
    places = [x for curve in figure.curves for x in curve.x]
    return max(places, default=0.0) - min(places, default=0.0)


def _draw(axes: "Axes", curve: Curve, label: str, colour: object, mark: str, shift: float) -> None:
    values = [100 * y.value for y in curve.y]
    below = [100 * max(0.0, y.value - y.low) for y in curve.y]
    above = [100 * max(0.0, y.high - y.value) for y in curve.y]
    axes.errorbar(
        [x + shift for x in curve.x],
        values,
        yerr=[below, above],
        label=label,
        marker=mark,
        markersize=5,
        color=colour,
        capsize=3,
        linewidth=1.4,
    )
