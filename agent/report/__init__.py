"""Runs as pages that need nothing else: pictures, checks, decisions, cost."""

from .collection import runs_in, write_collection
from .write import write_report

__all__ = ["runs_in", "write_collection", "write_report"]
