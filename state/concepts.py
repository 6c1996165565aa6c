"""What a prompt asks for: a graph of entities, interactions and checkable questions."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Literal, Self

from pydantic import Field, model_validator

from .base import Exchange, Frozen, Words

InteractionKind = Literal["functional", "contact", "spatial", "multi_subject"]
"""functional: a tool or vehicle in use; contact: bodies touch; spatial: a place relative to
another entity; multi_subject: several subjects act together."""

Aspect = Literal["presence", "attribute", "count", "relation", "scene", "nothing_else"]
"""presence: the entity is there; attribute: it has its colour or other attribute; count: there
are exactly as many as asked; relation: the interaction is shown; scene: the place or backdrop;
nothing_else: no duplicate, fragment or stranger is in the picture."""


class Entity(Frozen):
    """A thing the prompt names."""

    id: Words
    """Unique among entities and interactions."""
    name: Words
    """The noun, singular, as a model should read it."""
    attributes: tuple[Words, ...] = ()
    """Adjectives such as a colour, in the order of the prompt."""
    count: int = Field(default=1, ge=1)
    """How many of it the picture should show."""


class Interaction(Frozen):
    """A relation between entities: one or more subjects, and an object unless there is none."""

    id: Words
    """Unique among entities and interactions."""
    kind: InteractionKind
    subjects: tuple[Words, ...] = Field(min_length=1)
    """Entity ids, each once, in the order of the prompt."""
    relation: Words
    """The verb or preposition, such as ``riding`` or ``left of``."""
    object: Words | None = None
    """Entity id; None where the subjects relate to each other alone (``in a row``)."""

    @model_validator(mode="after")
    def _subjects_differ(self) -> Self:
        _require_unique("subject", list(self.subjects))
        return self

    def members(self) -> tuple[str, ...]:
        return self.subjects if self.object is None else (*self.subjects, self.object)


class Check(Frozen):
    """One yes/no question about the picture, of which yes is what the prompt wants."""

    id: Words
    """Unique among checks."""
    question: Words
    """As a critic is asked it."""
    aspect: Aspect
    about: Words | None = None
    """Id of the entity (presence, attribute, count) or interaction (relation) asked about; None for
    the whole picture (scene, nothing_else)."""
    depends_on: tuple[Words, ...] = ()
    """Checks that must pass for this one to mean anything: a missing cat holds nothing."""


OWN = "own:"
"""Begins the ids of checks that are a benchmark's own questions."""


class OwnQuestion(Frozen):
    """One question that a benchmark asks about the pictures of a prompt."""

    question: Words
    """As the benchmark puts it."""
    answer: Words = "yes"
    """The expected one, lower case: ``yes``, ``no``, or another word or number."""
    kind: str = ""
    """The benchmark's own name of what is asked for; empty where it has none."""
    aspect: Aspect = "scene"
    """What ``kind`` comes to here."""
    depends_on: tuple[int, ...] = ()
    """Places in the list of the questions about the entities that this one speaks of."""

    @property
    def as_check(self) -> str:
        """As a question whose expected answer is yes."""
        return self.question if self.answer == "yes" else f'{self.question} Is the answer "{self.answer}"?'


class ConceptGraph(Frozen):
    """The checkable meaning of one prompt, as a directed acyclic graph.

    ``pydantic.ValidationError`` if an id is used twice, a reference dangles, a check is about what its aspect cannot be
    asked of, or checks depend on each other in a circle.
    """

    prompt: str = Field(min_length=1)
    """The user's own words."""
    entities: tuple[Entity, ...] = Field(min_length=1)
    interactions: tuple[Interaction, ...] = ()
    scene: str | None = None
    """The place or backdrop asked for, as a critic should read it; None where any will do."""
    checks: tuple[Check, ...] = ()
    drawn_from: str | None = Field(default=None, min_length=1)
    """The words of the first drawings, where the prompt was rewritten before anything was seen; None for its own."""
    exchanges: tuple[Exchange, ...] = ()
    """Exactly what was asked and answered to make it; empty where no model was asked."""

    @model_validator(mode="after")
    def _is_a_graph(self) -> Self:
        concepts = [e.id for e in self.entities] + [i.id for i in self.interactions]
        _require_unique("concept", concepts)
        _require_unique("check", [c.id for c in self.checks])
        entity_ids = {e.id for e in self.entities}
        for interaction in self.interactions:
            _require_known(f"interaction {interaction.id!r}", interaction.members(), entity_ids)
        check_ids = {c.id for c in self.checks}
        relations, whole = {i.id for i in self.interactions}, {None}
        for check in self.checks:
            is_whole = check.aspect in ("scene", "nothing_else")
            if check.about not in (whole if is_whole else relations if check.aspect == "relation" else entity_ids):
                raise ValueError(f"check {check.id!r} asks for the {check.aspect} of {check.about!r}, which has none")
            _require_known(f"check {check.id!r}", check.depends_on, check_ids)
        self._check_order()
        return self

    def _check_order(self) -> tuple[str, ...]:
        try:
            return tuple(TopologicalSorter({c.id: c.depends_on for c in self.checks}).static_order())
        except CycleError as error:
            raise ValueError(f"checks depend on each other in a circle: {' -> '.join(error.args[1])}") from error

    def checks_in_order(self) -> tuple[Check, ...]:
        """Checks with every parent before its children."""
        by_id = {check.id: check for check in self.checks}
        return tuple(by_id[id] for id in self._check_order())

    def check(self, id: str) -> Check:
        """The check of that id; ``KeyError`` if there is none."""
        return {check.id: check for check in self.checks}[id]

    def entity(self, id: str) -> Entity:
        """The entity of that id; ``KeyError`` if there is none."""
        return {entity.id: entity for entity in self.entities}[id]

    def interaction(self, id: str) -> Interaction:
        """The interaction of that id; ``KeyError`` if there is none."""
        return {interaction.id: interaction for interaction in self.interactions}[id]


def _require_unique(what: str, ids: list[str]) -> None:
    twice = sorted(id for id, times in Counter(ids).items() if times > 1)
    if twice:
        raise ValueError(f"{what} ids must be unique; used twice: {', '.join(twice)}")


def _require_known(who: str, references: Iterable[str], known: set[str]) -> None:
    unknown = sorted(set(references) - known)
    if unknown:
        raise ValueError(f"{who} refers to what does not exist: {', '.join(unknown)}")


def own_concepts(prompt: str, questions: Sequence[OwnQuestion]) -> ConceptGraph:
    """A benchmark's questions as the checklist of its prompt; of entities it knows the picture alone."""
    about: dict[Aspect, str | None] = {"scene": None, "nothing_else": None, "relation": "shown"}
    checks = tuple(
        Check(
            id=f"{OWN}{n}",
            question=one.as_check,
            aspect=one.aspect,
            about=about.get(one.aspect, "picture"),
            depends_on=tuple(f"{OWN}{parent + 1}" for parent in one.depends_on),
        )
        for n, one in enumerate(questions, 1)
    )
    shown = Interaction(id="shown", kind="spatial", subjects=("picture",), relation="shows what is asked for")
    picture = Entity(id="picture", name="picture")
    return ConceptGraph(prompt=prompt, entities=(picture,), interactions=(shown,), checks=checks)


def default_checks(
    entities: Sequence[Entity], interactions: Iterable[Interaction], counted: Collection[str] = ()
) -> tuple[Check, ...]:
    """Ask for every entity, its attributes, its number where that matters, and every interaction. What is asked of an
    entity depends on its presence, an interaction on that of its members. That nothing else is in the picture is not
    asked: a free prompt leaves its backdrop open. An entity of which several are wanted is counted, and one that is
    ``counted`` even where it is one: "exactly one" means nothing for water, and is wrong for a paw."""
    names = Counter(e.name for e in entities)
    phrases = {e.id: " ".join((*e.attributes, e.name)) for e in entities}
    found: list[Check] = []

    def ask(aspect: Aspect, about: str, question: str, *parents: str, place: str = "") -> None:
        id = f"{aspect}:{about}{place}"
        found.append(Check(id=id, question=question, aspect=aspect, about=about, depends_on=parents))

    for e in entities:
        # Where another entity has its name, the questions say which one is meant.
        is_shared, presence = names[e.name] > 1, f"presence:{e.id}"
        ask("presence", e.id, f"Is there any {e.name} in the picture?")
        for n, attribute in enumerate(e.attributes, 1):
            which = f"Is there any {e.name} that is {attribute}?" if is_shared else f"Is the {e.name} {attribute}?"
            ask("attribute", e.id, which, presence, place=f":{n}")
        noun = phrases[e.id] if is_shared else e.name
        if e.count > 1:
            ask("count", e.id, f"Counting every {noun} in the picture, are there exactly {e.count}?", presence)
        elif e.id in counted:
            ask("count", e.id, f"Is there exactly one {noun} in the picture?", presence)
    for i in interactions:
        words = (" and ".join(phrases[id] for id in i.subjects), i.relation, phrases.get(i.object or "", ""))
        parents = (f"presence:{id}" for id in dict.fromkeys(i.members()))
        ask("relation", i.id, f"Does the picture show this: {' '.join(words).strip()}?", *parents)
    return tuple(found)
