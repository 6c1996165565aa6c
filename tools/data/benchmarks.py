"""Benchmarks that ship questions with their prompts: their files as published, read as prompts with ``questions``.

None of the files comes with this package; docs/metrics.md names where they are and under which licences.
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

_ASPECTS: tuple[tuple[str, Aspect], ...] = (
    ("count|number|quantity", "count"),
    ("relation|position|spatial|verb|activit|action|layout", "relation"),
    ("attribute|colou?r|shape|size|texture|material|expression", "attribute"),
    ("object|animal|human|food|entity|instance", "presence"),
)
"""Aspect by a word in the benchmark's name of the kind; any other kind is asked of the whole picture."""
_FRAME = gist("are there any is in the image picture does do contain one or more show this of") | gist("there")
"""What a question about presence says beside the name of the entity."""
_Part = tuple[str, str, str, str]
"""Question, answer, kind and, where the benchmark gives it, the name of the entity."""
_STORED: TypeAdapter[tuple[OwnQuestion, ...]] = TypeAdapter(tuple[OwnQuestion, ...])


def read_benchmark(name: BenchmarkName | str, source: str) -> Iterator[PromptRecord]:
    """The prompts of a benchmark with their questions, one by one; ``source`` is read as by ``read_rows``.

    ``SettingsError`` if it cannot be read, or is no file of this benchmark.
    """
    if name not in _READERS:
        raise no_such("benchmark", name, _READERS)
    yield from with_own_ids(_records(name, source))


def _records(name: str, source: str) -> Iterator[PromptRecord]:
    def key(row: PromptRow) -> object:
        return (row.others.get("id"), row.prompt) if name == "tifa" else row.number

    for number, (_, group) in enumerate(groupby(read_rows(source), key), 1):
        rows = list(group)
        said = rows[0].others
        try:
            read, scenario = _READERS[name]
            found = _questions(part for row in rows for part in read(row.others))
            own = next((str(said[field]) for field in ("id", "index") if said.get(field) is not None), None)
            yield PromptRecord(
                id=own or f"{name}-{number:05}",
                prompt=" ".join(rows[0].prompt.split()),
                scenario=str(scenario(said)) or None,
                extra={"benchmark": name, QUESTIONS: [one.model_dump(exclude_defaults=True) for one in found]},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            why = first_problem(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
            raise SettingsError(f"{rows[0].where} is no record of {name} as published ({why})") from error


def _questions(parts: Iterable[_Part]) -> list[OwnQuestion]:
    asked, names = list[OwnQuestion](), list[frozenset[str]]()
    for text, answer, kind, entity in parts:
        question = " ".join(text.split())
        fits: list[Aspect] = [one for words, one in _ASPECTS if re.search(words, kind, re.IGNORECASE)]
        aspect = fits[0] if fits else "scene"
        names.append(gist(entity or question) - (frozenset() if entity else _FRAME))
        asked.append(OwnQuestion(question=question, answer=answer.strip().lower(), kind=kind, aspect=aspect))
    for n, one in enumerate(asked):
        words = gist(one.question)
        parents = [p for p, other in enumerate(asked) if other.aspect == "presence" and names[p] and names[p] <= words]
        if one.aspect in ("relation", "attribute", "count"):
            asked[n] = one.model_copy(update={"depends_on": tuple(parents)})
    return asked


def _dimensions(said: Columns) -> Mapping[str, Any]:
    return json.loads(next(value for name, value in said.items() if name.startswith("sub_dims")))


def _unigenbench(said: Columns) -> Iterator[_Part]:
    found = _dimensions(said)
    for kind, words in zip(found["Testpoints"], found["Testpoint Description"], strict=True):
        yield f"Does the picture show this ({kind}): {words}?", "yes", kind, ""


def _conceptmix(said: Columns) -> Iterator[_Part]:
    for text, kind, skill in zip(said["question"], said["categories"], said["skills"], strict=True):
        yield text, "yes", kind, str(skill) if kind == "object" else ""


_READERS: dict[str, tuple[Callable[[Columns], Iterable[_Part]], Callable[[Columns], object]]] = {
    "geneval2": (
        lambda said: ((*pair, kind, "") for pair, kind in zip(said["vqa_list"], said["skills"], strict=True)),
        lambda said: f"{said['atom_count']} atoms",
    ),
    "unigenbench": (_unigenbench, lambda said: _dimensions(said)["Primary Categories"]),
    "corebench": (
        lambda said: ((one["question"], "yes", ", ".join(one.get("tags") or ()), "") for one in said["Checklist"]),
        lambda said: said["Sub Class"],
    ),
    "conceptmix": (_conceptmix, lambda said: f"k={len(said['categories']) - 1}"),
    "tifa": (
        lambda said: [(str(said["question"]), str(said["answer"]), str(said["element_type"]), str(said["element"]))],
        lambda said: str(said.get("id", "")).partition("_")[0],
    ),
}
"""Questions and scenario of each row; a prompt of TIFA has a row for each question."""


def questions_in(fields: Mapping[str, Any]) -> tuple[OwnQuestion, ...]:
    """The questions that a record or row keeps; none where it has none, or others than ours."""
    try:
        return _STORED.validate_python(fields.get(QUESTIONS) or ())
    except ValidationError:
        return ()


class OwnChecklist:
    """In the decomposer's place: the questions of a file of prompts are the checklist."""

    def __init__(self, source: str) -> None:
        found = {record.prompt: questions_in(record.extra) for record in read_prompts(source)}
        self._known = {prompt: questions for prompt, questions in found.items() if questions}
        if not self._known:
            raise SettingsError(f"no prompt of {shown(source)} has questions: convert it with `data benchmark`")
        self.model = f"own questions {content_hash(sorted((p, repr(q)) for p, q in self._known.items()))[:12]}"
        """With a hash of them all."""

    async def decompose(self, prompt: str) -> ConceptGraph:
        """The prompt's own questions; ``PromptError`` where the file has none for it."""
        questions = self._known.get(" ".join(prompt.split()))
        if questions is None:
            raise PromptError(f"the file of prompts has no questions for {prompt!r}")
        return own_concepts(prompt, questions)
