"""Slips of a decomposition whose meaning is clear, mended; what is unclear is left for the model to answer for."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from ...state import Entity, Interaction
from .concept_answer import ConceptAnswer, EntityAnswer, InteractionAnswer

T = TypeVar("T")

_NOTHING = frozenset({"", "none", "null", "n/a", "any", "unspecified", "not specified"})
_ARTICLES = ("a ", "an ", "the ")


class Concepts(NamedTuple):
    """What a prompt asks for, before it is known to fit together."""

    entities: tuple[Entity, ...]
    interactions: tuple[Interaction, ...]
    scene: str | None = None
    counted: frozenset[str] = frozenset()
    """Ids of the entities whose number the answer gives, be it one."""


def mended(answer: ConceptAnswer) -> Concepts:
    """The concepts of an answer.

    Ids are written alike, an interaction that names an entity in place of its id finds it, what is
    said twice is said once, and interactions that share an id are told apart.
    """
    entities = _once(_entity(entity) for entity in answer.entities)
    found = _Finder(answer.entities)
    interactions = _once(_interaction(interaction, found) for interaction in answer.interactions)
    return Concepts(
        entities,
        _with_own_ids(interactions, {e.id for e in entities}),
        _something(answer.scene),
        frozenset(_plain(e.id) for e in answer.entities if e.count is not None),
    )


def _entity(answer: EntityAnswer) -> Entity:
    attributes = [a for a in dict.fromkeys(answer.attributes) if a.casefold() not in _NOTHING]
    return Entity(id=_plain(answer.id), name=answer.name, attributes=tuple(attributes), count=answer.count or 1)


def _interaction(answer: InteractionAnswer, found: "_Finder") -> Interaction:
    object = None if answer.object is None else found.id_of(answer.object)
    return Interaction(
        id=_plain(answer.id),
        kind=answer.kind,
        subjects=tuple(dict.fromkeys(found.id_of(subject) for subject in answer.subjects)),
        relation=answer.relation,
        object=object if found.knows(object) else _something(object),
    )


class _Finder:
    """Entities by whatever an interaction may call them."""

    def __init__(self, entities: Sequence[EntityAnswer]) -> None:
        self._ids = {_plain(e.id) for e in entities}
        self._called: dict[str, set[str]] = {}
        for entity in entities:
            for name in (entity.name, " ".join((*entity.attributes, entity.name))):
                self._called.setdefault(_plain(name), set()).add(_plain(entity.id))

    def knows(self, id: str | None) -> bool:
        return id in self._ids

    def id_of(self, reference: str) -> str:
        """The entity's id, for its id or for a name that only it has; else the reference as it is."""
        plain = _plain(reference)
        if plain in self._ids:
            return plain
        bare = _plain(_without_article(reference))
        named = self._called.get(plain) or self._called.get(bare) or ({bare} & self._ids)
        return next(iter(named)) if len(named) == 1 else plain


def _with_own_ids(interactions: Iterable[Interaction], taken: set[str]) -> tuple[Interaction, ...]:
    """The same interactions, each under an id of its own; nothing refers to them by it yet."""
    kept: list[Interaction] = []
    for interaction in interactions:
        id, number = interaction.id, 2
        while id in taken:
            id, number = f"{interaction.id}_{number}", number + 1
        taken = taken | {id}
        kept.append(interaction.model_copy(update={"id": id}))
    return tuple(kept)


def _once(items: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(items))


def _something(text: str | None) -> str | None:
    return None if text is None or text.strip().casefold() in _NOTHING else text.strip()


def _plain(id: str) -> str:
    return "_".join(id.casefold().replace("-", " ").replace("_", " ").split())


def _without_article(reference: str) -> str:
    lower = reference.strip().casefold()
    return next((lower.removeprefix(article) for article in _ARTICLES if lower.startswith(article)), lower)
