"""The plots of an experiment, by matplotlib where it is installed."""

import io
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .curves import Curve, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS = "plots need matplotlib: pip install 'detailscribe[plots]'"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
"""Told apart by colour-blind readers too; after Okabe and Ito."""
_SPREAD = 0.008
"""Of the width, from one curve to the next where they may be drawn beside each other."""
_MARKS = "osD^vP*X"


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def svg(figure: Figure) -> str:
    """The drawing as SVG, the same for the same figures."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import MaxNLocator

    with rc_context({"svg.hashsalt": "detailscribe", "svg.fonttype": "none", "font.family": "sans-serif"}):
        canvas = Canvas(figsize=(7, 4.2), layout="constrained")
        axes = canvas.add_subplot()
        shift = _SPREAD * _width(figure) if figure.spread else 0.0
        for number, curve in enumerate(figure.curves):
            _draw(axes, curve, number, shift * (number - (len(figure.curves) - 1) / 2))
        axes.set(title=figure.title, xlabel=figure.x_label, ylabel=figure.y_label)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if figure.x_label == "round":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        canvas.legend(loc="outside right upper", fontsize="small", frameon=False)
        out = io.StringIO()
        canvas.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _width(figure: Figure) -> float:
    """From the smallest x to the largest."""
    places = [x for curve in figure.curves for x in curve.x]
    return max(places, default=0.0) - min(places, default=0.0)


def _draw(axes: "Axes", curve: Curve, number: int, shift: float) -> None:
    values = [100 * y.value for y in curve.y]
    below = [100 * max(0.0, y.value - y.low) for y in curve.y]
    above = [100 * max(0.0, y.high - y.value) for y in curve.y]
    axes.errorbar(
        [x + shift for x in curve.x],
        values,
        yerr=[below, above],
        label=curve.name,
        marker=_MARKS[number % len(_MARKS)],
        color=_COLOURS[number % len(_COLOURS)],
        linestyle="-" if number < len(_COLOURS) else "--",
        capsize=3,
        linewidth=1.4,
    )
