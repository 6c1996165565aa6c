"""What is said to models: one template a file, and their loader."""

from .loader import Template, TemplateError, load, names, render
from .words import counted, listed, plural, spellings

__all__ = ["Template", "TemplateError", "counted", "listed", "load", "names", "plural", "render", "spellings"]
