"""Numbers for images and their prompts; higher is better, and what cannot be told is missing, with the reason."""

from .by_name import METRICS, Parts, PhrasesName
from .metric import AskingMetric, BatchMetric, LocalMetric, Sample, Score, batched, missing

__all__ = [
    "METRICS",
    "AskingMetric",
    "BatchMetric",
    "LocalMetric",
    "Parts",
    "PhrasesName",
    "Sample",
    "Score",
    "batched",
    "missing",
]
