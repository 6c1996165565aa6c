"""A plain checklist for concepts that come without one."""

from collections.abc import Collection, Iterable, Sequence

from .concepts import Check, Entity, Interaction


def default_checks(
    entities: Sequence[Entity], interactions: Iterable[Interaction], counted: Collection[str] = ()
) -> tuple[Check, ...]:
    """Ask for every entity, its attributes, its number where that matters, and every interaction.

    What is asked of an entity depends on its presence; an interaction depends on the presence of
    its members. That nothing else is in the picture is not asked: a free prompt leaves its
    backdrop open.

    Args:
        entities: In the order of asking.
        interactions: After the entities.
        counted: Ids of entities of which there must be so many even where it is one, since
            doubles are a common failure. Others are counted where several are wanted: "exactly
            one" means nothing for water, and is wrong for a paw.
    """
    names = [e.name for e in entities]
    shared = {name for name in names if names.count(name) > 1}
    phrases = {e.id: _phrase(e) for e in entities}
    of_entities = [check for e in entities for check in _entity_checks(e, e.name in shared, e.id in counted)]
    return (*of_entities, *(_interaction_check(i, phrases) for i in interactions))


def _phrase(entity: Entity) -> str:
    return " ".join((*entity.attributes, entity.name))


def _entity_checks(entity: Entity, is_shared: bool, is_counted: bool) -> list[Check]:
    """Of one entity; the questions are worded otherwise where another one has its name."""
    which = "Is there any {} that is {}?" if is_shared else "Is the {} {}?"
    presence = Check(
        id=f"presence:{entity.id}",
        question=f"Is there any {entity.name} in the picture?",
        aspect="presence",
        about=entity.id,
    )
    attributes = [
        Check(
            id=f"attribute:{entity.id}:{n}",
            question=which.format(entity.name, attribute),
            aspect="attribute",
            about=entity.id,
            depends_on=(presence.id,),
        )
        for n, attribute in enumerate(entity.attributes, 1)
    ]
    count = Check(
        id=f"count:{entity.id}",
        question=_count_question(_phrase(entity) if is_shared else entity.name, entity.count),
        aspect="count",
        about=entity.id,
        depends_on=(presence.id,),
    )
    return [presence, *attributes, *([count] if is_counted or entity.count > 1 else [])]


def _count_question(noun: str, count: int) -> str:
    if count == 1:
        return f"Is there exactly one {noun} in the picture?"
    return f"Counting every {noun} in the picture, are there exactly {count}?"


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
