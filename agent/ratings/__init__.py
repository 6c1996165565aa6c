"""Ratings by people: one blinded page to rate on, and what the answers of several raters say of methods and metrics."""

from .answers import Answers, read_answers
from .key import Key, read_key
from .results import Results, results
from .survey import Survey, make_survey
from .write import write_survey

__all__ = [
    "Answers",
    "Key",
    "Results",
    "Survey",
    "make_survey",
    "read_answers",
    "read_key",
    "results",
    "write_survey",
]
