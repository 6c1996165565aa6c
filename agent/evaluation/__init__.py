"""Measures recorded runs with metrics and by people, and compares methods."""

from .answers import Answers, read_answers
from .collect import Collected, Pick, Shot, collect
from .figures import Figure, summarize
from .measure import Measurement, measure, read_measurements, write_measurements
from .ratings import Results, results
from .survey import CRITERIA, Key, Survey, make_survey, read_key
from .survey_page import write_survey

__all__ = [
    "CRITERIA",
    "Answers",
    "Collected",
    "Figure",
    "Key",
    "Measurement",
    "Pick",
    "Results",
    "Shot",
    "Survey",
    "collect",
    "make_survey",
    "measure",
    "read_answers",
    "read_key",
    "read_measurements",
    "results",
    "summarize",
    "write_measurements",
    "write_survey",
]
