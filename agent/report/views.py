"""What the page shows, prepared so that the template only has to place it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ...state import (
    Advice,
    Change,
    Check,
    ConceptGraph,
    Critique,
    Decision,
    ImageRecord,
    Verdict,
    change,
    spend_of,
)
from ...tools.store import Store
from ..policies.rules import RULES
from .lineage import TILE, Place, Tree, lay_out
from .pictures import Picture, picture
from .story import Story
from .timeline import Timeline, timeline
from .words import (
    Piece,
    Relation,
    counted,
    differences,
    duration,
    forked,
    phrase,
    relations,
    shares,
    spend_rows,
    verdict,
)

State = Literal["pass", "fail", "unknown", "settled", "missing"]
"""settled: a failed parent check decided it; missing: the critic left it out."""

SYMBOLS: dict[State, str] = {"pass": "✓", "fail": "✕", "unknown": "?", "settled": "↳", "missing": "·"}


@dataclass(frozen=True)
class Mark:
    """One check on one image."""

    check: Check
    state: State
    symbol: str
    words: str
    """The state for those who do not see the symbol, with what became of it."""
    became: Literal["", "fixed", "broken"]
    """Against the image's parent."""
    percent: int | None
    """P(yes), 0 to 100."""
    note: str
    """What the critic saw, why it could not tell, or why it was not asked."""


@dataclass(frozen=True)
class Link:
    """An image, as another part of the page refers to it."""

    id: str
    anchor: str


@dataclass(frozen=True)
class Card:
    """One image with everything that is known of it."""

    image: ImageRecord
    link: Link
    picture: Picture
    before: Picture | None
    """The parent's."""
    place: Place
    best: bool
    origin: str
    """How it came to be, in words."""
    parent: Link | None
    children: tuple[Link, ...]
    prompt: tuple[Piece, ...]
    marks: tuple[Mark, ...]
    critique: Critique
    looked: bool
    """Whether the critic saw it; if not, the critique says nothing."""
    change: Change | None
    """Against the parent; None for a first drawing."""
    decision: Decision | None
    """None where it waits for one."""
    source: Link | None
    """Where the decided refinement starts."""
    time: str


@dataclass(frozen=True)
class Round:
    """The images that were drawn and judged together."""

    number: int
    title: str
    summary: str
    cards: tuple[Card, ...]
    advice: tuple[Advice, ...]
    """What a model was asked after it."""


@dataclass(frozen=True)
class Page:
    """The whole report."""

    story: Story
    headline: str
    """The outcome in one line."""
    reason: str
    """Of the stop that ended the best image's work, or that of the last image where it was worked on further."""
    shown: Card
    """The best image; the first one where none was looked at."""
    entities: tuple[str, ...]
    relations: tuple[Relation, ...]
    forked: str
    """Where it comes from, in words; empty where it began with its prompt."""
    costs: tuple[tuple[str, str], ...]
    shares: tuple[tuple[str, str], ...]
    """Each model and what it cost."""
    rules: dict[str, str]
    """What a rule means, where it is one of the policies that ship."""
    cards: tuple[Card, ...]
    rounds: tuple[Round, ...]
    tree: Tree
    tile: int
    """Side of a thumbnail in pixels."""
    timeline: Timeline | None
    """None where there is no trace."""
    links: dict[str, Link]
    """By image id."""


def page(story: Story, store: Store) -> Page:
    """Everything the template needs; reads the pictures from the store."""
    tree = lay_out(story.images)
    links = {i.id: Link(i.id, f"image-{number}") for number, i in enumerate(story.images, 1)}
    pictures = {i.id: picture(i, store) for i in story.images}
    cards = tuple(_card(story, image, links, tree, pictures) for image in story.images)
    look = story.critiques.get(story.best.id) if story.best else None
    return Page(
        story=story,
        headline=verdict(look, len(story.images)) if look else "No image was looked at yet",
        reason=_reason(story),
        shown=next((c for c in cards if c.best), cards[0]),
        entities=tuple(phrase(e) for e in story.concepts.entities),
        relations=relations(story.concepts),
        forked=forked(story.parent) if story.parent else "",
        costs=spend_rows(story.spend),
        shares=shares(story.spend_by_model, story.images),
        rules=RULES,
        cards=cards,
        rounds=tuple(
            _round(number, [c for c in cards if c.image.round == number], story.advice) for number, _ in tree.columns
        ),
        tree=tree,
        tile=TILE,
        timeline=timeline(story.events, story.images),
        links=links,
    )


def _reason(story: Story) -> str:
    stops = [d for _, d in sorted(story.decisions.items()) if d.rule == story.stop]
    best = [d for d in stops if story.best is not None and d.image == story.best.id]
    return (best or stops)[-1].reason if stops else ""


def _card(story: Story, image: ImageRecord, links: dict[str, Link], tree: Tree, pictures: dict[str, Picture]) -> Card:
    parent = next((i for i in story.images if i.id == image.parent), None)
    critique = story.critiques.get(image.id, Critique(image=image.id, verdicts=()))
    decision = story.decisions.get(image.id)
    changed = change(story.critiques[parent.id], critique) if parent and image.id in story.critiques else None
    return Card(
        image=image,
        link=links[image.id],
        picture=pictures[image.id],
        before=pictures[parent.id] if parent else None,
        place=tree.places[image.id],
        best=story.best is not None and image.id == story.best.id,
        origin=_origin(image),
        parent=links[parent.id] if parent else None,
        children=tuple(links[i.id] for i in story.images if i.parent == image.id),
        prompt=differences(parent.prompt, image.prompt) if parent else (Piece("same", image.prompt),),
        marks=_marks(story.concepts, critique, changed),
        critique=critique,
        looked=image.id in story.critiques,
        change=changed,
        decision=decision,
        source=links.get(decision.source) if decision and decision.source else None,
        time=duration(image.seconds),
    )


def _origin(image: ImageRecord) -> str:
    words = _full_origin(image)
    return words if image.stop_step is None else f"{words}, a preview at step {image.stop_step}"


def _full_origin(image: ImageRecord) -> str:
    if image.origin == "refine":
        return f"refined from step {image.start_step}"
    return "drawn anew" if image.origin == "reseed" else "first drawing"


def _marks(concepts: ConceptGraph, critique: Critique, changed: Change | None) -> tuple[Mark, ...]:
    verdicts = {v.check: v for v in critique.verdicts}
    return tuple(_mark(check, verdicts.get(check.id), concepts, changed) for check in concepts.checks)


def _mark(check: Check, said: Verdict | None, concepts: ConceptGraph, changed: Change | None) -> Mark:
    state = _state(said)
    became = _became(check, changed)
    return Mark(
        check=check,
        state=state,
        symbol=SYMBOLS[state],
        words=", ".join(filter(None, ({"settled": "not asked", "missing": "not answered"}.get(state, state), became))),
        became=became,
        percent=None if said is None or said.probability is None else round(100 * said.probability),
        note=_note(said, concepts),
    )


def _state(said: Verdict | None) -> State:
    if said is None:
        return "missing"
    return "settled" if said.settled_by is not None else said.answer


def _became(check: Check, changed: Change | None) -> Literal["", "fixed", "broken"]:
    if changed is None:
        return ""
    return "fixed" if check.id in changed.fixed else "broken" if check.id in changed.broken else ""


def _note(said: Verdict | None, concepts: ConceptGraph) -> str:
    if said is None:
        return "The critic gave no answer."
    if said.settled_by is not None:
        questions = {c.id: c.question for c in concepts.checks}
        return f"Not asked: settled by “{questions.get(said.settled_by, said.settled_by)}”"
    return " · ".join(filter(None, (said.reason, said.evidence)))


def _round(number: int, cards: list[Card], advice: tuple[Advice, ...]) -> Round:
    return Round(
        number=number,
        title="First drawings" if number == 0 else f"Round {number}",
        summary=" · ".join(_summary(cards)),
        cards=tuple(cards),
        advice=tuple(a for a in advice if a.round == number),
    )


def _summary(cards: list[Card]) -> Iterable[str]:
    """What a round drew, what that changed, and what it cost."""
    yield counted(len(cards), "image")
    changes = [c.change for c in cards if c.change]
    if changes:
        yield f"{counted(sum(len(c.fixed) for c in changes), 'check')} fixed"
        yield f"{sum(len(c.broken) for c in changes)} broken"
        yield f"{sum(len(c.unchanged) for c in changes)} unchanged"
    spend = spend_of(None, {c.image.id: c.image for c in cards}, {c.image.id: c.critique for c in cards})
    yield counted(spend.evaluations, "evaluation")
    yield duration(spend.seconds)
