"""What DetailScribe is compared with, as roles around those of any preset: ``--preset sd35-large+rewrite``."""

from .catalogue import BASELINES, Baseline, baseline_named
from .metric_critic import MetricCritic
from .rewriting import RewritingDecomposer
from .whole import NoCritic, WholeDecomposer

__all__ = [
    "BASELINES",
    "Baseline",
    "MetricCritic",
    "NoCritic",
    "RewritingDecomposer",
    "WholeDecomposer",
    "baseline_named",
]
