"""What people are shown: which pictures with which questions, in an order that tells nothing."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, zip_longest

from ...state import ConceptGraph, Critique
from ...tools.errors import SettingsError
from ...tools.metrics.pictures import pixel_hash, read_pixels
from ..evaluation import Shot
from ..traces.reader import read_run
from .criteria import Criterion
from .key import AskedCheck, Key, KeyItem, Source


@dataclass(frozen=True)
class Item:
    """One picture of the page."""

    id: str
    """Follows from prompt and pixels; says nothing of where they came from."""
    prompt: str
    questions: tuple[str, ...]
    """Checks, to be answered with yes or no."""
    shot: Shot
    """Of its pixels."""


@dataclass(frozen=True)
class Survey:
    """A page to be, and its key."""

    items: tuple[Item, ...]
    """In the order in which they are shown."""
    criteria: tuple[Criterion, ...]
    seed: int
    """Of the order."""
    key: Key


def make_survey(
    shots: Sequence[Shot],
    criteria: Sequence[Criterion],
    *,
    seed: int = 0,
    checks: bool = False,
    prompts: int | None = None,
) -> Survey:
    """Every distinct picture of each prompt once, shuffled by ``seed``.

    What is asked, and so the survey's id, does not depend on the seed: raters may have pages in different orders.

    Args:
        shots: What the methods made.
        criteria: What is rated.
        seed: Of the order.
        checks: Whether each check of the prompt is asked too.
        prompts: At most so many, alike in every call, evenly from each scenario, those first that every method has.

    Raises:
        SettingsError: there is nothing to rate.
    """
    if not shots:
        raise SettingsError("there is no image to rate in these runs")
    chosen = _chosen(shots, prompts)
    grouped = _grouped([shot for shot in shots if shot.sample.prompt in chosen])
    asked = {prompt: _checklist(group) if checks else () for prompt, group in _by_prompt(shots).items()}
    items = [
        Item(id, group[0].sample.prompt, tuple(c.question for c in asked[group[0].sample.prompt]), group[0])
        for id, group in grouped.items()
    ]
    known = {id: _key_item(group, asked[group[0].sample.prompt]) for id, group in grouped.items()}
    key = Key(
        survey=_survey_id(items, criteria),
        criteria=tuple(c.id for c in criteria),
        methods=tuple(dict.fromkeys(shot.method for shot in shots)),
        items=known,
    )
    random.Random(seed).shuffle(items)
    return Survey(tuple(items), tuple(criteria), seed, key)


def _by_prompt(shots: Sequence[Shot]) -> dict[str, list[Shot]]:
    groups: dict[str, list[Shot]] = defaultdict(list)
    for shot in shots:
        groups[shot.sample.prompt].append(shot)
    return groups


def _chosen(shots: Sequence[Shot], most: int | None) -> set[str]:
    """The prompts that are shown: in turn from each scenario, in an order of their hashes."""
    groups = _by_prompt(shots)
    methods = {shot.method for shot in shots}

    def place(prompt: str) -> tuple[int, str]:
        return -len({shot.method for shot in groups[prompt]} & methods), sha256(prompt.encode()).hexdigest()

    scenarios: dict[str, list[str]] = defaultdict(list)
    for prompt in sorted(groups, key=place):
        scenarios[groups[prompt][0].scenario].append(prompt)
    in_turn = chain.from_iterable(zip_longest(*(scenarios[name] for name in sorted(scenarios))))
    return set([prompt for prompt in in_turn if prompt is not None][:most])


def _grouped(shots: Sequence[Shot]) -> dict[str, list[Shot]]:
    """Shots by item: those of one prompt with the same pixels together."""
    groups: dict[str, list[Shot]] = defaultdict(list)
    for shot in shots:
        pixels = pixel_hash(read_pixels(shot.sample))
        groups[_short(shot.sample.prompt, pixels)].append(shot)
    return groups


def _checklist(shots: Sequence[Shot]) -> tuple[AskedCheck, ...]:
    """The longest checklist that any run made of the prompt, so that all pictures of it are asked the same."""
    known = [shot.sample.concepts for shot in shots if shot.sample.concepts is not None]
    longest = max(known, key=lambda concepts: len(concepts.checks), default=None)
    if longest is None:
        return ()
    return tuple(AskedCheck(question=c.question, aspect=c.aspect) for c in longest.checks_in_order())


def _key_item(shots: Sequence[Shot], checks: tuple[AskedCheck, ...]) -> KeyItem:
    sources = tuple(_source(shot, checks) for shot in shots)
    return KeyItem(prompt=shots[0].sample.prompt, checks=checks, sources=sources)


def _source(shot: Shot, checks: tuple[AskedCheck, ...]) -> Source:
    sample = shot.sample
    look = read_run(sample.store.root).critiques.get(sample.image.id)
    about = Source(method=shot.method, scenario=shot.scenario, run=shot.run, image=sample.image.id)
    if look is None or sample.concepts is None or all(v.answer == "unknown" for v in look.verdicts):
        return about
    said = _by_question(sample.concepts, look)
    answers = {n: said[check.question] for n, check in enumerate(checks) if check.question in said}
    return about.model_copy(update={"score": look.score, "confidence": look.confidence, "answers": answers})


def _by_question(concepts: ConceptGraph, look: Critique) -> dict[str, str]:
    answers = look.answers()
    return {check.question: answers[check.id] for check in concepts.checks if check.id in answers}


def _survey_id(items: Sequence[Item], criteria: Sequence[Criterion]) -> str:
    parts = sorted("\0".join((item.id, *item.questions)) for item in items)
    return _short(*(criterion.model_dump_json() for criterion in criteria), *parts)


def _short(*parts: str) -> str:
    return sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:12]
