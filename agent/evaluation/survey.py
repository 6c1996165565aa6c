"""A blind rating page for people, and its key, which says who made which picture.

The page is one HTML file with shuffled pictures of one size and format, without metadata.
"""

import os
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, zip_longest
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from PIL import Image
from pydantic import Field, TypeAdapter, ValidationError

from ...state import Answer, Aspect, ConceptGraph, Frozen, ImageRecord
from ...tools.errors import SettingsError
from ...tools.files import picture_file, require_writable, write_whole
from ...tools.metrics.metric import Sample, pixel_hash
from ..views.pages import SMALL, data_url, filled
from .collect import Shot

LARGEST = 768
"""Longest side in pixels, so that a page of 300 pictures stays below 100 MB."""


class Criterion(Frozen):
    """One question with a scale from 1 to 5."""

    id: str
    title: str
    question: str
    scale: tuple[str, str, str, str, str]
    """What 1, 2, 3, 4 and 5 mean."""


CRITERIA: dict[str, Criterion] = {
    one.id: one
    for one in TypeAdapter(list[Criterion]).validate_json(Path(__file__).with_name("criteria.json").read_bytes())
}
"""By id, in the order of the page: the criteria of "Generating Fine Details of Entity Interactions" (arXiv 2504.08714)
in this project's own words, with the meaning of the chat model's rubrics, so that both can be compared."""


def criteria_named(names: Sequence[str]) -> tuple[Criterion, ...]:
    """The criteria with these ids; ``SettingsError`` for an unknown one, or none at all."""
    unknown = [name for name in names if name not in CRITERIA]
    if unknown or not names:
        raise SettingsError(f"{', '.join(unknown) or 'no name'!r} is no criterion; known are {', '.join(CRITERIA)}")
    return tuple(criterion for id, criterion in CRITERIA.items() if id in names)


class Source(Frozen):
    """An image of a run that the page shows."""

    method: str
    scenario: str
    """Empty where unknown."""
    run: str
    """Id of its run."""
    image: str
    """Its id in the run."""
    score: float | None = None
    """Share of checks that the run's critic passed, in [0, 1]; None where it answered none, as without a critic, or
    with a metric in its place."""
    confidence: float | None = None
    """The critic's mean certainty, in [0, 1]; None where it gave none."""
    answers: dict[int, Answer] = Field(default_factory=dict)
    """The critic's answer by number of the item's check, without checks that it was not asked."""


class AskedCheck(Frozen):
    """A yes/no question as raters see it."""

    question: str
    aspect: Aspect


class KeyItem(Frozen):
    """A picture of the page."""

    prompt: str
    checks: tuple[AskedCheck, ...] = ()
    """By number; the same for every picture of a prompt."""
    sources: tuple[Source, ...] = Field(min_length=1)
    """Several where runs made the same picture, which is rated once."""


class Key(Frozen):
    """The file beside the page that raters must not see."""

    kind: Literal["detailscribe-rating-key"] = "detailscribe-rating-key"
    version: Literal[1] = 1
    survey: str
    """Id of the survey, a hash of what is asked, in any order."""
    criteria: tuple[str, ...]
    """Ids of the criteria."""
    methods: tuple[str, ...] = Field(min_length=1)
    """In the order in which they were named."""
    items: dict[str, KeyItem]
    """By id in the page."""


def read_key(path: Path) -> Key:
    """The key in a file; ``SettingsError`` if it is no key of this version."""
    try:
        return Key.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"cannot read the key {path}: {error.strerror}") from error
    except ValidationError as error:
        raise SettingsError(f"{path} is no key of a rating page: `detailscribe rate` writes one") from error


@dataclass(frozen=True)
class Survey:
    """What the page shows, and its key."""

    shots: Mapping[str, Shot]
    """One shot of each picture by the id of its item, in the order of the page."""
    criteria: tuple[Criterion, ...]
    seed: int
    """Of the order."""
    key: Key

    @property
    def prompts(self) -> int:
        """Number of prompts that are shown."""
        return len({item.prompt for item in self.key.items.values()})


def make_survey(
    shots: Sequence[Shot],
    criteria: Sequence[Criterion],
    *,
    seed: int = 0,
    checks: bool = False,
    prompts: int | None = None,
) -> Survey:
    """Every distinct picture of each prompt once, shuffled by ``seed``; ``SettingsError`` if there is no picture.

    The survey's id does not depend on the seed: raters may have pages in different orders. With ``checks``, raters are
    also asked each check of the prompt. At most ``prompts`` prompts are shown, the same ones in every call, evenly from
    each scenario, those first for which every method has an image.
    """
    if not shots:
        raise SettingsError("there is no image to rate in these runs")
    by_prompt = defaultdict[str, list[Shot]](list)
    for shot in shots:
        by_prompt[shot.sample.prompt].append(shot)
    chosen, groups = _chosen(by_prompt, prompts), defaultdict[str, list[Shot]](list)
    for shot in shots:
        if shot.sample.prompt in chosen:
            groups[_short_hash(shot.sample.prompt, pixel_hash(pixels_of(shot)))].append(shot)
    items = dict[str, KeyItem]()
    for id, group in groups.items():
        prompt = group[0].sample.prompt
        longest = longest_checklist(shot.sample for shot in by_prompt[prompt]) if checks else None
        ordered = longest.checks_in_order() if longest else ()
        asked = tuple(AskedCheck(question=check.question, aspect=check.aspect) for check in ordered)
        items[id] = KeyItem(prompt=prompt, checks=asked, sources=tuple(_source(shot, asked) for shot in group))
    parts = sorted("\0".join((id, *(check.question for check in item.checks))) for id, item in items.items())
    key = Key(
        survey=_short_hash(*(criterion.model_dump_json() for criterion in criteria), *parts),
        criteria=tuple(c.id for c in criteria),
        methods=tuple(dict.fromkeys(shot.method for shot in shots)),
        items=items,
    )
    order = list(items)
    random.Random(seed).shuffle(order)
    return Survey({id: groups[id][0] for id in order}, tuple(criteria), seed, key)


def pixels_of(shot: Shot) -> Image.Image:
    """The picture of a shot, RGB; ``SettingsError`` if it cannot be read."""
    try:
        return shot.sample.pixels()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"cannot read the picture {shot.sample.image.id} of {shot.sample.store.root}: {error}"
        ) from error


def _chosen(by_prompt: dict[str, list[Shot]], most: int | None) -> set[str]:
    """At most ``most`` prompts, taken in turn from each scenario, in the order of their hashes."""

    def rank(prompt: str) -> tuple[int, str]:
        return -len({shot.method for shot in by_prompt[prompt]}), sha256(prompt.encode()).hexdigest()

    scenarios = defaultdict[str, list[str]](list)
    for prompt in sorted(by_prompt, key=rank):
        scenarios[by_prompt[prompt][0].scenario].append(prompt)
    in_turn = chain.from_iterable(zip_longest(*(scenarios[name] for name in sorted(scenarios))))
    return set([prompt for prompt in in_turn if prompt is not None][:most])


def longest_checklist(samples: Iterable[Sample]) -> ConceptGraph | None:
    """The concepts with the most checks, so that all pictures of a prompt get the same questions."""
    decomposed = (sample.concepts for sample in samples if sample.concepts is not None)
    return max(decomposed, key=lambda concepts: len(concepts.checks), default=None)


def _source(shot: Shot, checks: tuple[AskedCheck, ...]) -> Source:
    concepts, critique = shot.sample.concepts, shot.critique
    about = Source(method=shot.method, scenario=shot.scenario, run=shot.run, image=shot.sample.image.id)
    if critique is None or concepts is None or all(v.answer == "unknown" for v in critique.verdicts):
        return about
    by_id = critique.answers()
    by_question = {check.question: by_id[check.id] for check in concepts.checks if check.id in by_id}
    answers = {n: by_question[check.question] for n, check in enumerate(checks) if check.question in by_question}
    return about.model_copy(update={"score": critique.score, "confidence": critique.confidence, "answers": answers})


def _short_hash(*parts: str) -> str:
    return sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:12]


def write_survey(survey: Survey, page: Path, key: Path, *, beside: bool = False) -> Path | None:
    """Write page and key; ``SettingsError`` if they are one file, or cannot be written.

    Returns the folder of the pictures if they are ``beside`` the page; None if the page holds them.
    """
    folder = page.with_name(f"{page.stem}-pictures") if beside else None
    if os.path.realpath(page) == os.path.realpath(key):
        raise SettingsError(f"--key {key} is the page itself: it needs a file of its own, apart from what raters see")
    require_writable(page, key)
    side = common_side(shot.sample.image for shot in survey.shots.values())
    suffix = "png" if side <= SMALL else "jpeg"
    try:
        items = list[dict[str, object]]()
        for id, shot in survey.shots.items():
            data = _bare(pixels_of(shot), side, suffix)
            source = data_url(f"image/{suffix}", data)
            if folder is not None:
                write_whole(folder / f"{id}.{suffix}", data)
                source = f"{quote(folder.name)}/{id}.{suffix}"
            checks = [check.question for check in survey.key.items[id].checks]
            items.append({"id": id, "prompt": shot.sample.prompt, "checks": checks, "picture": source})
        criteria = [criterion.model_dump(mode="json") for criterion in survey.criteria]
        html = filled(
            "rating",
            data={"survey": survey.key.survey, "seed": survey.seed, "criteria": criteria, "items": items},
            criteria=survey.criteria,
            count=len(items),
            prompts=survey.prompts,
            checks=any(item["checks"] for item in items),
            crisp=side <= SMALL,
        )
        write_whole(page, html.encode())
        write_whole(key, survey.key.model_dump_json(indent=1).encode())
    except OSError as error:
        raise SettingsError(f"cannot write the survey: {error}") from error
    return folder


def common_side(images: Iterable[ImageRecord]) -> int:
    """Longer side in pixels of all pictures of a page: that of the smallest one, since a size can reveal a model."""
    return min(LARGEST, *(max(image.width, image.height) for image in images), LARGEST)


def _bare(picture: Image.Image, side: int, suffix: str) -> bytes:
    """The file of a picture scaled to ``side``, without metadata."""
    bare = Image.frombytes("RGB", picture.size, picture.tobytes())
    scale = side / max(bare.size)
    if scale != 1:
        bare = bare.resize((max(round(bare.width * scale), 1), max(round(bare.height * scale), 1)))
    return picture_file(bare, suffix.upper(), quality=85)
