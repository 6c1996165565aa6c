"""The answers of raters, from the files that the page exports, and what cannot be counted of them."""

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
    """One rater's answers about one picture; what was left open is absent."""

    scores: dict[str, Annotated[int, Field(ge=1, le=5)]] = Field(default_factory=dict)
    """By criterion."""
    checks: dict[int, Literal["yes", "no", "unclear"]] = Field(default_factory=dict)
    """By number of the check."""


class Export(Frozen):
    """A file as the page writes it."""

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
    """All that counts, as two pandas frames with the columns ``rater`` (as the name was first spelled), ``item``,
    ``question`` and ``value``."""

    scores: Any
    """On criteria, whose ids are the questions; values are 1 to 5."""
    checks: Any
    """On checks, whose numbers are the questions; values are ``yes``, ``no`` and ``unclear``."""
    problems: tuple[str, ...]
    """What does not count, and why; one line each."""


def read_answers(paths: Iterable[Path], key: Key) -> Answers:
    """The answers in these files, incomplete ones too; ``SettingsError`` if there is none.

    What does not belong to the survey, and what one rater answered differently in two files, is left out and named.
    Names that differ in case and blanks alone are one rater.
    """
    from pandas import DataFrame

    problems, spelled = list[str](), dict[str, str]()
    votes: dict[tuple[str, str, str], dict[str, int | str]] = defaultdict(dict)
    for path in paths:
        if (export := _export(path, key, problems)) is not None:
            rater = spelled.setdefault(" ".join(export.rater.casefold().split()), export.rater)
            for item, question, value in _asked(path, export, key, problems):
                votes[rater, item, question][path.name] = value
    agreed = {asked: set(by_file.values()) for asked, by_file in votes.items()}
    differing = Counter((asked[0], " and ".join(sorted(votes[asked]))) for asked in votes if len(agreed[asked]) > 1)
    problems += [f"{who} answers {n} question(s) differently in {of}: left out" for (who, of), n in differing.items()]
    said: Any = DataFrame(
        [(*asked, *values) for asked, values in agreed.items() if len(values) == 1],
        columns=["rater", "item", "question", "value"],
    )
    if said.empty:
        raise SettingsError("; ".join(["there is no rating of this survey in these files", *problems]))
    is_score = np.array([isinstance(value, int) for value in said["value"]])
    return Answers(said[is_score].astype({"value": float}), said[~is_score], tuple(problems))


def _export(path: Path, key: Key, problems: list[str]) -> Export | None:
    """The export in a file, if it is of the survey; a key among the files, as ``*.json`` brings it, is no problem."""
    data = b""
    try:
        data = path.read_bytes()
        export = Export.model_validate_json(data)
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
    except ValidationError as error:
        if b'"detailscribe-rating-key"' in data:
            return None
        why = f"is no export of a rating page: {first_problem(error)}"
    else:
        if export.survey == key.survey:
            return export
        why = f"is of another survey ({export.survey}, not {key.survey}): left out"
    problems.append(f"{path} {why}")
    return None


def _asked(path: Path, export: Export, key: Key, problems: list[str]) -> list[tuple[str, str, int | str]]:
    """Item, question and value of each answer to what the key knows."""
    found: list[tuple[str, str, int | str]] = []
    strange: list[str] = []
    for id, rating in export.ratings.items():
        if (item := key.items.get(id)) is None:
            strange.append(f"picture {id}")
            continue
        numbers = range(len(item.checks))
        found += [(id, name, value) for name, value in rating.scores.items() if name in key.criteria]
        found += [(id, str(n), value) for n, value in rating.checks.items() if n in numbers]
        strange += [f"criterion {name}" for name in rating.scores if name not in key.criteria]
        strange += [f"check {n} of picture {id}" for n in rating.checks if n not in numbers]
    if strange:
        names = ", ".join(strange[:3]) + (f" and {len(strange) - 3} more" if len(strange) > 3 else "")
        problems.append(f"{path} answers what was not asked ({names}): left out")
    return found
