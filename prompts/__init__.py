"""What is asked of models: one template a file, and their loader."""

from .loader import Template, TemplateError, load, names, render
from .words import counted, listed, noun_phrases, plural, spellings, with_article

__all__ = ["Template", "TemplateError", "counted", "listed", "load", "names", "noun_phrases", "plural", "render"]
__all__ += ["spellings", "with_article"]
