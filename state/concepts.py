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
"""presence: the entity is there; attribute: it has its colour or other attribute; count: there are exactly as many as
asked; relation: the interaction is shown; scene: the place or backdrop; nothing_else: no duplicate, fragment or other
thing is in the picture."""


class Entity(Frozen):
    """A thing that the prompt names."""

    id: Words
    """Unique among entities and interactions."""
    name: Words
    """The noun, singular."""
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
    """One yes/no question about the picture; yes is what the prompt asks for."""

    id: Words
    """Unique among checks."""
    question: Words
    """As the critic gets it."""
    aspect: Aspect
    about: Words | None = None
    """Id of the entity (presence, attribute, count) or interaction (relation) asked about; None for
    the whole picture (scene, nothing_else)."""
    depends_on: tuple[Words, ...] = ()
    """Ids of checks without which this one fails: a missing cat holds nothing."""


OWN = "own:"
"""Prefix of the ids of checks that are a benchmark's own questions."""


class OwnQuestion(Frozen):
    """A question of a benchmark about the pictures of a prompt."""

    question: Words
    """In the benchmark's wording."""
    answer: Words = "yes"
    """The expected one, lower case: ``yes``, ``no``, or another word or number."""
    kind: str = ""
    """The benchmark's category, if any."""
    aspect: Aspect = "scene"
    """The aspect that matches ``kind``."""
    depends_on: tuple[int, ...] = ()
    """Indices of the questions about the entities of this one."""

    @property
    def as_check(self) -> str:
        """The question in a form whose expected answer is yes."""
        return self.question if self.answer == "yes" else f'{self.question} Is the answer "{self.answer}"?'


class ConceptGraph(Frozen):
    """The checkable meaning of one prompt, as a directed acyclic graph.

    ``pydantic.ValidationError`` if an id is used twice or does not exist, the aspect of a check does not fit what it is
    about, or checks depend on each other in a circle.
    """

    prompt: str = Field(min_length=1)
    """The user's own words."""
    entities: tuple[Entity, ...] = Field(min_length=1)
    interactions: tuple[Interaction, ...] = ()
    scene: str | None = None
    """The place or backdrop that is asked for; None: any."""
    checks: tuple[Check, ...] = ()
    drawn_from: str | None = Field(default=None, min_length=1)
    """The prompt of the first drawings, if the user's was rewritten for them; None: the user's."""
    exchanges: tuple[Exchange, ...] = ()
    """What models were asked and answered to make it."""

    @model_validator(mode="after")
    def _is_a_graph(self) -> Self:
        entities, relations = [e.id for e in self.entities], [i.id for i in self.interactions]
        checks = [c.id for c in self.checks]
        _require_unique("concept", [*entities, *relations])
        _require_unique("check", checks)
        for interaction in self.interactions:
            _require_known(f"interaction {interaction.id!r}", interaction.members(), entities)
        subjects = {"scene": [None], "nothing_else": [None], "relation": relations}
        for check in self.checks:
            if check.about not in subjects.get(check.aspect, entities):
                raise ValueError(f"check {check.id!r} asks for the {check.aspect} of {check.about!r}, which has none")
            _require_known(f"check {check.id!r}", check.depends_on, checks)
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
    if twice := sorted(id for id, times in Counter(ids).items() if times > 1):
        raise ValueError(f"{what} ids must be unique; used twice: {', '.join(twice)}")


def _require_known(who: str, references: Iterable[str], known: Iterable[str]) -> None:
    if unknown := sorted({*references} - {*known}):
        raise ValueError(f"{who} refers to what does not exist: {', '.join(unknown)}")


def own_concepts(prompt: str, questions: Sequence[OwnQuestion]) -> ConceptGraph:
    """A benchmark's questions as the checklist of its prompt; the only entity is the picture."""
    about: dict[Aspect, str | None] = {"scene": None, "nothing_else": None, "relation": "shown"}
    checks = tuple(
        Check(
            id=f"{OWN}{n}",
            question=question.as_check,
            aspect=question.aspect,
            about=about.get(question.aspect, "picture"),
            depends_on=tuple(f"{OWN}{parent + 1}" for parent in question.depends_on),
        )
        for n, question in enumerate(questions, 1)
    )
    shown = Interaction(id="shown", kind="spatial", subjects=("picture",), relation="shows what is asked for")
    picture = Entity(id="picture", name="picture")
    return ConceptGraph(prompt=prompt, entities=(picture,), interactions=(shown,), checks=checks)


def default_checks(
    entities: Sequence[Entity], interactions: Iterable[Interaction], counted: Collection[str] = ()
) -> tuple[Check, ...]:
    """Checks for every entity, its attributes, its count and every interaction; those after the presence checks depend
    on them. A count of one is checked only for ids in ``counted``: "exactly one" means nothing for water, and is wrong
    for a paw. There is no nothing_else check, since a free prompt leaves its backdrop open."""
    names = Counter(e.name for e in entities)
    phrases = {e.id: " ".join((*e.attributes, e.name)) for e in entities}
    checks: list[Check] = []

    def ask(aspect: Aspect, about: str, question: str, *parents: str, place: str = "") -> None:
        id = f"{aspect}:{about}{place}"
        checks.append(Check(id=id, question=question, aspect=aspect, about=about, depends_on=parents))

    for e in entities:
        # If another entity has the same name, the questions say which one is meant.
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
    return tuple(checks)
