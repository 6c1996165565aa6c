"""Measures recorded runs with metrics, and tells methods apart: tables of means, deviations, errors and win rates."""

from .collect import Collected, Pick, Shot, collect
from .measure import Measurement, measure
from .statistics import Figure, summarize
from .tables import as_latex, as_markdown

__all__ = [
    "Collected",
    "Figure",
    "Measurement",
    "Pick",
    "Shot",
    "as_latex",
    "as_markdown",
    "collect",
    "measure",
    "summarize",
]
