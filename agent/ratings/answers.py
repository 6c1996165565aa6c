"""The answers of raters, from the files that the page exports, and what cannot be counted of them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from ...state import Frozen, Words
from ...tools.errors import SettingsError
from .key import Key

Score = Annotated[int, Field(ge=1, le=5)]
YesNo = Literal["yes", "no", "unclear"]
Value = TypeVar("Value", int, str)


class Rating(Frozen):
    """One rater's answers about one picture; what was left open is absent."""

    scores: dict[str, Score] = Field(default_factory=dict)
    """By criterion."""
    checks: dict[int, YesNo] = Field(default_factory=dict)
    """By number of the check."""


class Export(Frozen):
    """A file as the page leaves it."""

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
class Answer:
    """One answer that counts."""

    rater: str
    item: str
    question: str
    """Criterion, or the number of a check."""
    value: int | str
    """1 to 5; for a check ``yes``, ``no`` or ``unclear``."""


@dataclass(frozen=True)
class Answers:
    """All that counts."""

    scores: tuple[Answer, ...]
    """On criteria."""
    checks: tuple[Answer, ...]
    """On checks."""
    problems: tuple[str, ...]
    """What does not count, and why; one line each."""

    @property
    def raters(self) -> tuple[str, ...]:
        """Names, each as it was first spelled."""
        return tuple(dict.fromkeys(answer.rater for answer in (*self.scores, *self.checks)))


def read_answers(paths: Iterable[Path], key: Key) -> Answers:
    """The answers in these files; incomplete ones are fine.

    What does not belong to the survey, and what one rater answered differently in two files, is left out and named.
    Names that differ in case and blanks alone are one rater.

    Raises:
        SettingsError: nothing is left to count.
    """
    problems: list[str] = []
    exports = list(_exports(paths, key, problems))
    given = [answer for path, export in exports for answer in _known(path, export, key, problems)]
    counted = _agreed(given, problems)
    if not counted:
        raise SettingsError("\n".join(["there is no rating of this survey in these files", *problems]))
    return Answers(
        scores=tuple(answer for answer in counted if isinstance(answer.value, int)),
        checks=tuple(answer for answer in counted if isinstance(answer.value, str)),
        problems=tuple(problems),
    )


def _exports(paths: Iterable[Path], key: Key, problems: list[str]) -> Iterator[tuple[Path, Export]]:
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror}")
            continue
        try:
            export = Export.model_validate_json(data)
        except ValidationError as error:
            if not _is_key(data):
                detail = error.errors(include_url=False)[0]
                place = ".".join(map(str, detail["loc"]))
                problems.append(f"{path} is no export of a rating page: {place}: {detail['msg']}")
        else:
            if export.survey == key.survey:
                yield path, export
            else:
                problems.append(f"{path} is of another survey ({export.survey}, not {key.survey}): left out")


def _is_key(data: bytes) -> bool:
    """A key among the files, as ``*.json`` brings it, is no mistake."""
    try:
        Key.model_validate_json(data)
    except ValidationError:
        return False
    return True


def _known(path: Path, export: Export, key: Key, problems: list[str]) -> list[tuple[Path, Answer]]:
    """The answers to what the key knows."""
    found: list[Answer] = []
    strange: list[str] = []
    for id, rating in export.ratings.items():
        item = key.items.get(id)
        if item is None:
            strange.append(f"picture {id}")
            continue
        found += [Answer(export.rater, id, name, value) for name, value in rating.scores.items()]
        found += [Answer(export.rater, id, str(number), value) for number, value in rating.checks.items()]
        strange += [f"criterion {name}" for name in rating.scores if name not in key.criteria]
        strange += [f"check {number} of picture {id}" for number in rating.checks if number >= len(item.checks)]
    if strange:
        problems.append(f"{path} answers what was not asked ({_listed(strange)}): left out")
    return [(path, answer) for answer in found if _is_asked(answer, key)]


def _is_asked(answer: Answer, key: Key) -> bool:
    if isinstance(answer.value, int):
        return answer.question in key.criteria
    return 0 <= int(answer.question) < len(key.items[answer.item].checks)


def _agreed(given: list[tuple[Path, Answer]], problems: list[str]) -> list[Answer]:
    """Each rater's one answer to each question; where files of one rater differ, none."""
    spelled: dict[str, str] = {}
    votes: dict[tuple[str, str, str], dict[Path, Answer]] = {}
    for path, answer in given:
        rater = " ".join(answer.rater.casefold().split())
        spelled.setdefault(rater, answer.rater)
        votes.setdefault((rater, answer.item, answer.question), {})[path] = answer
    counted: list[Answer] = []
    differing: Counter[tuple[str, str]] = Counter()
    for (rater, item, question), by_path in votes.items():
        values = {answer.value for answer in by_path.values()}
        if len(values) == 1:
            counted.append(Answer(spelled[rater], item, question, values.pop()))
        else:
            differing[spelled[rater], " and ".join(sorted(path.name for path in by_path))] += 1
    problems += [
        f"{rater} answers {n} question(s) differently in {names}: left out" for (rater, names), n in differing.items()
    ]
    return counted


def _listed(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
