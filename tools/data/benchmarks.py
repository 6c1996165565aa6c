"""Reads the published files of benchmarks that have questions for their prompts.

The files are not part of this package; docs/metrics.md lists them with their licences.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from ...state import Aspect, ConceptGraph, OwnQuestion, own_concepts
from ..errors import PromptError, SettingsError, first_problem, no_such
from ..files import content_hash
from ..sentences import gist
from .reader import Columns, PromptRow, read_prompts, read_rows, shown
from .records import PromptRecord, with_own_ids

BenchmarkName = Literal["geneval2", "unigenbench", "corebench", "conceptmix", "tifa"]
"""geneval2: ``geneval2_data.jsonl`` (arXiv 2512.16853); unigenbench: ``test_prompts_en.csv`` and its siblings (arXiv
2510.18701), whose test points become questions; corebench: a file of ``data/`` such as ``C-MI.json`` (T2I-CoReBench,
arXiv 2509.03516); conceptmix: ``300_sentences_k=2.json`` and its siblings (arXiv 2408.14339); tifa: a file of
questions and answers such as ``tifa_v1.0_question_answers.json`` (arXiv 2303.11897)."""
QUESTIONS = "questions"
"""The field of a record that holds its questions."""

_ASPECTS: dict[str, Aspect] = {
    "count|number|quantity": "count",
    "relation|position|spatial|verb|activit|action|layout": "relation",
    "attribute|colou?r|shape|size|texture|material|expression": "attribute",
    "object|animal|human|food|entity|instance": "presence",
    "": "scene",
}
"""Aspect by a word in the kind of a question; any other kind is about the whole scene."""
_FRAME = gist("are there any is in the image picture does do contain one or more show this of") | gist("there")
"""The words of a question about presence, except for the name of the entity."""
_Part = tuple[str, str, str, str]
"""Question, answer, kind and the name of the entity, or an empty one if the benchmark does not give it."""
_STORED: TypeAdapter[tuple[OwnQuestion, ...]] = TypeAdapter(tuple[OwnQuestion, ...])


def read_benchmark(name: BenchmarkName | str, source: str) -> Iterator[PromptRecord]:
    """The prompts of a benchmark with their questions, one by one, from a ``source`` of ``read_rows``;
    ``SettingsError`` if it cannot be read, or is no file of this benchmark."""
    if name not in _READERS:
        raise no_such("benchmark", name, _READERS)
    yield from with_own_ids(_records(name, source))


def _records(name: str, source: str) -> Iterator[PromptRecord]:
    def key(row: PromptRow) -> object:
        return (row.others.get("id"), row.prompt) if name == "tifa" else row.number

    for number, (_, group) in enumerate(groupby(read_rows(source), key), 1):
        rows = list(group)
        first = rows[0].others
        try:
            read, scenario = _READERS[name]
            questions = _questions(part for row in rows for part in read(row.others))
            own = next((str(first[field]) for field in ("id", "index") if first.get(field) is not None), None)
            yield PromptRecord(
                id=own or f"{name}-{number:05}",
                prompt=" ".join(rows[0].prompt.split()),
                scenario=str(scenario(first)) or None,
                extra={"benchmark": name, QUESTIONS: [q.model_dump(exclude_defaults=True) for q in questions]},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            why = first_problem(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
            raise SettingsError(f"{rows[0].where} is no record of {name} as published ({why})") from error


def _questions(parts: Iterable[_Part]) -> list[OwnQuestion]:
    asked, names = list[OwnQuestion](), list[frozenset[str]]()
    for text, answer, kind, entity in parts:
        question = " ".join(text.split())
        aspect: Aspect = next(a for words, a in _ASPECTS.items() if re.search(words, kind, re.IGNORECASE))
        names.append(gist(entity or question) - (frozenset() if entity else _FRAME))
        asked.append(OwnQuestion(question=question, answer=answer.strip().lower(), kind=kind, aspect=aspect))
    for n, question in enumerate(asked):
        if question.aspect in ("relation", "attribute", "count"):
            words = gist(question.question)
            parents = (p for p, q in enumerate(asked) if q.aspect == "presence" and names[p] and names[p] <= words)
            asked[n] = question.model_copy(update={"depends_on": tuple(parents)})
    return asked


def _dimensions(row: Columns) -> Mapping[str, Any]:
    return json.loads(next(value for name, value in row.items() if name.startswith("sub_dims")))


def _unigenbench(row: Columns) -> Iterator[_Part]:
    points = _dimensions(row)
    for kind, words in zip(points["Testpoints"], points["Testpoint Description"], strict=True):
        yield f"Does the picture show this ({kind}): {words}?", "yes", kind, ""


def _conceptmix(row: Columns) -> Iterator[_Part]:
    for text, kind, skill in zip(row["question"], row["categories"], row["skills"], strict=True):
        yield text, "yes", kind, str(skill) if kind == "object" else ""


_READERS: dict[str, tuple[Callable[[Columns], Iterable[_Part]], Callable[[Columns], object]]] = {
    "geneval2": (
        lambda row: ((*pair, kind, "") for pair, kind in zip(row["vqa_list"], row["skills"], strict=True)),
        lambda row: f"{row['atom_count']} atoms",
    ),
    "unigenbench": (_unigenbench, lambda row: _dimensions(row)["Primary Categories"]),
    "corebench": (
        lambda row: ((one["question"], "yes", ", ".join(one.get("tags") or ()), "") for one in row["Checklist"]),
        lambda row: row["Sub Class"],
    ),
    "conceptmix": (_conceptmix, lambda row: f"k={len(row['categories']) - 1}"),
    "tifa": (
        lambda row: [(str(row["question"]), str(row["answer"]), str(row["element_type"]), str(row["element"]))],
        lambda row: str(row.get("id", "")).partition("_")[0],
    ),
}
"""Questions and scenario of each row; a prompt of TIFA has a row for each question."""


def questions_in(fields: Mapping[str, Any]) -> tuple[OwnQuestion, ...]:
    """The questions in a record or row; none if it has none, or questions of another form."""
    try:
        return _STORED.validate_python(fields.get(QUESTIONS) or ())
    except ValidationError:
        return ()


class OwnChecklist:
    """A decomposer whose checklists are the questions of a file of prompts."""

    def __init__(self, source: str) -> None:
        by_prompt = {record.prompt: questions_in(record.extra) for record in read_prompts(source)}
        self._questions = {prompt: questions for prompt, questions in by_prompt.items() if questions}
        if not self._questions:
            raise SettingsError(f"no prompt of {shown(source)} has questions: convert it with `data benchmark`")
        self.model = f"own questions {content_hash(sorted((p, repr(q)) for p, q in self._questions.items()))[:12]}"
        """With a hash of all questions."""

    async def decompose(self, prompt: str) -> ConceptGraph:
        """The prompt's own questions; ``PromptError`` if the file has none for it."""
        questions = self._questions.get(" ".join(prompt.split()))
        if questions is None:
            raise PromptError(f"the file of prompts has no questions for {prompt!r}")
        return own_concepts(prompt, questions)
