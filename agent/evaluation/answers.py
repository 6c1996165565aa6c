"""Reads the answers of raters from the files that the rating page exports."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from ...state import Frozen, Words
from ...tools.errors import SettingsError, first_problem
from .survey import Key


class Rating(Frozen):
    """One rater's answers about one picture, without questions that were left open."""

    scores: dict[str, Annotated[int, Field(ge=1, le=5)]] = Field(default_factory=dict)
    """By criterion."""
    checks: dict[int, Literal["yes", "no", "unclear"]] = Field(default_factory=dict)
    """By number of the check."""


class Export(Frozen):
    """A file that the rating page exports."""

    kind: Literal["detailscribe-ratings"]
    version: Literal[1]
    survey: str
    seed: int
    """Of the order that the rater saw."""
    rater: Words
    time: datetime
    """Of the export."""
    ratings: dict[str, Rating]
    """By item."""


@dataclass(frozen=True)
class Answers:
    """Two pandas frames with the columns ``rater`` (as first spelled), ``item``, ``question`` and ``value``."""

    scores: Any
    """Ratings from 1 to 5; questions are ids of criteria."""
    checks: Any
    """Values are ``yes``, ``no`` and ``unclear``; questions are numbers of checks."""
    problems: tuple[str, ...]
    """A line about everything that was left out, with the reason."""

    @property
    def rated(self) -> Any:
        """A frame with a row for each rater and picture that they rated."""
        from pandas import concat

        return concat([self.scores, self.checks]).drop_duplicates(["rater", "item"])


def read_answers(paths: Iterable[Path], key: Key) -> Answers:
    """The answers in these files, incomplete ones too; ``SettingsError`` if there is none.

    Answers to other questions than the survey's, and a rater's answers that differ between two files, are left out.
    Names that differ only in case and spaces are one rater.
    """
    from pandas import DataFrame

    problems, spelling = list[str](), dict[str, str]()
    by_question = defaultdict[tuple[str, str, str], dict[str, int | str]](dict)
    for path in paths:
        export = _read_export(path, key)
        if not isinstance(export, Export):
            problems += [export] if export else []
            continue
        rater, strange = spelling.setdefault(" ".join(export.rater.casefold().split()), export.rater), list[str]()
        for id, rating in export.ratings.items():
            if (item := key.items.get(id)) is None:
                strange.append(f"picture {id}")
                continue
            for name, score in rating.scores.items():
                if name in key.criteria:
                    by_question[rater, id, name][path.name] = score
                else:
                    strange.append(f"criterion {name}")
            for number, answer in rating.checks.items():
                if 0 <= number < len(item.checks):
                    by_question[rater, id, str(number)][path.name] = answer
                else:
                    strange.append(f"check {number} of picture {id}")
        if strange:
            names = ", ".join(strange[:3]) + (f" and {len(strange) - 3} more" if len(strange) > 3 else "")
            problems.append(f"{path} answers what was not asked ({names}): left out")
    distinct = {question: set(by_file.values()) for question, by_file in by_question.items()}
    differing = Counter((q[0], " and ".join(sorted(by_question[q]))) for q in by_question if len(distinct[q]) > 1)
    problems += [f"{who} answers {n} question(s) differently in {of}: left out" for (who, of), n in differing.items()]
    answers: Any = DataFrame(
        [(*question, *values) for question, values in distinct.items() if len(values) == 1],
        columns=["rater", "item", "question", "value"],
    )
    if answers.empty:
        raise SettingsError("; ".join(["there is no rating of this survey in these files", *problems]))
    is_score = np.array([isinstance(value, int) for value in answers["value"]])
    return Answers(answers[is_score].astype({"value": float}), answers[~is_score], tuple(problems))


def _read_export(path: Path, key: Key) -> Export | str | None:
    """The export in a file, or why it is left out; None for a key, which ``*.json`` may match."""
    data = b""
    try:
        data = path.read_bytes()
        export = Export.model_validate_json(data)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    except ValidationError as error:
        is_key = b'"detailscribe-rating-key"' in data
        return None if is_key else f"{path} is no export of a rating page: {first_problem(error)}"
    if export.survey != key.survey:
        return f"{path} is of another survey ({export.survey}, not {key.survey}): left out"
    return export
