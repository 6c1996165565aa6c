"""A plain checklist for concepts that come without one."""

from collections.abc import Iterable, Sequence

from .concepts import Check, Entity, Interaction


def default_checks(entities: Sequence[Entity], interactions: Iterable[Interaction]) -> tuple[Check, ...]:
    """Ask for every entity, its attributes, its count where more than one is wanted, and every interaction.

    What is asked of an entity depends on its presence; an interaction depends on the presence of
    its members.
    """
    phrases = {e.id: " ".join((*e.attributes, e.name)) for e in entities}
    of_entities = [check for entity in entities for check in _entity_checks(entity)]
    return (*of_entities, *(_interaction_check(i, phrases) for i in interactions))


def _entity_checks(entity: Entity) -> list[Check]:
    presence = Check(
        id=f"presence:{entity.id}",
        question=f"Is there any {entity.name} in the picture?",
        aspect="presence",
        about=entity.id,
    )
    attributes = [
        Check(
            id=f"attribute:{entity.id}:{n}",
            question=f"Is the {entity.name} {attribute}?",
            aspect="attribute",
            about=entity.id,
            depends_on=(presence.id,),
        )
        for n, attribute in enumerate(entity.attributes, 1)
    ]
    count = Check(
        id=f"count:{entity.id}",
        question=f"Does the picture show {entity.name} exactly {entity.count} times?",
        aspect="count",
        about=entity.id,
        depends_on=(presence.id,),
    )
    return [presence, *attributes, *([count] if entity.count > 1 else [])]


def _interaction_check(interaction: Interaction, phrases: dict[str, str]) -> Check:
    subjects = " and ".join(phrases[id] for id in interaction.subjects)
    parts = (subjects, interaction.relation, "" if interaction.object is None else phrases[interaction.object])
    return Check(
        id=f"relation:{interaction.id}",
        question=f"Does the picture show this: {' '.join(parts).strip()}?",
        aspect="relation",
        about=interaction.id,
        depends_on=tuple(f"presence:{id}" for id in dict.fromkeys(interaction.members())),
    )
