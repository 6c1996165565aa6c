"""One run as a single HTML page that needs nothing else: pictures, checks, decisions, cost."""

from .write import render, write_report

__all__ = ["render", "write_report"]
