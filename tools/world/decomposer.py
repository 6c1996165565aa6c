"""The decomposer of the embedded world, and the way between its specs and concept graphs."""

import random

from ...prompts import counted, listed, render
from ...state import Check, ConceptGraph, Entity, Interaction
from ..errors import PromptError
from .grammar import EXAMPLES, parse
from .layout import lay_out
from .spec import Link, Spec, Wanted
from .vocabulary import COLOURS, NOUNS, PLACES, RELATIONS


class EmbeddedDecomposer:
    """Reads the closed language of the embedded world; needs no model."""

    model = "embedded-grammar"

    async def decompose(self, prompt: str) -> ConceptGraph:
        """The prompt's concepts with a full checklist.

        Raises:
            PromptError: words or forms that the world does not know, or a scene that it cannot show.
        """
        spec = parse(prompt)
        if lay_out(spec, random.Random(0)) is None:
            raise PromptError(
                f"no picture of the embedded world can show this: {prompt!r}; try for example: {' | '.join(EXAMPLES)}"
            )
        return concepts_of(spec, prompt)


def concepts_of(spec: Spec, prompt: str) -> ConceptGraph:
    """The spec as a concept graph with every question that can be asked of it."""
    entities = tuple(
        Entity(id=w.noun, name=w.noun, attributes=() if w.colour is None else (w.colour,)) for w in spec.things
    )
    interactions = tuple(_interaction(link, spec.things) for link in spec.links)
    scene = None if spec.place is None else PLACES[spec.place]
    checks = [check for entity in entities for check in _entity_checks(entity)]
    checks += [_relation_check(interaction) for interaction in interactions]
    if scene is not None:
        checks.append(Check(id="scene", question=render("check_scene", scene=scene), aspect="scene"))
    checks.append(Check(id="nothing_else", question=render("check_nothing_else"), aspect="nothing_else"))
    return ConceptGraph(prompt=prompt, entities=entities, interactions=interactions, scene=scene, checks=tuple(checks))


def spec_of(concepts: ConceptGraph) -> Spec:
    """The spec that a concept graph of the embedded world stands for.

    Raises:
        PromptError: the graph speaks of what the world does not know.
    """
    index = {entity.id: i for i, entity in enumerate(concepts.entities)}
    places = {phrase: place for place, phrase in PLACES.items()}
    strange = [i.relation for i in concepts.interactions if i.relation not in RELATIONS]
    strange += [e.name for e in concepts.entities if e.name not in NOUNS]
    strange += [a for e in concepts.entities for a in e.attributes if a not in COLOURS]
    if strange or (concepts.scene is not None and concepts.scene not in places):
        raise PromptError(f"the embedded world does not know {', '.join(strange) or repr(concepts.scene)}")
    return Spec(
        tuple(Wanted(e.name, next(iter(e.attributes), None)) for e in concepts.entities),
        tuple(Link(i.relation, tuple(index[id] for id in i.members())) for i in concepts.interactions),
        None if concepts.scene is None else places[concepts.scene],
    )


def _interaction(link: Link, things: tuple[Wanted, ...]) -> Interaction:
    nouns = [things[i].noun for i in link.members]
    subjects, target = (nouns, None) if link.relation == "in a row" else (nouns[:-1], nouns[-1])
    return Interaction(
        id=f"{'+'.join(subjects)} {link.relation}{'' if target is None else f' {target}'}",
        kind=RELATIONS[link.relation],
        subjects=tuple(subjects),
        relation=link.relation,
        object=target,
    )


def _entity_checks(entity: Entity) -> list[Check]:
    presence = f"presence:{entity.id}"
    checks = [
        Check(
            id=presence,
            question=render("check_presence", noun=entity.name),
            aspect="presence",
            about=entity.id,
        )
    ]
    checks += [
        Check(
            id=f"attribute:{entity.id}",
            question=render("check_attribute", noun=entity.name, attribute=colour),
            aspect="attribute",
            about=entity.id,
            depends_on=(presence,),
        )
        for colour in entity.attributes
    ]
    checks.append(
        Check(
            id=f"count:{entity.id}",
            question=render("check_count", counted=counted(entity.count, entity.name)),
            aspect="count",
            about=entity.id,
            depends_on=(presence,),
        )
    )
    return checks


def _relation_check(interaction: Interaction) -> Check:
    return Check(
        id=f"relation:{interaction.id}",
        question=_relation_question(interaction),
        aspect="relation",
        about=interaction.id,
        depends_on=tuple(f"presence:{id}" for id in interaction.members()),
    )


def _relation_question(interaction: Interaction) -> str:
    if interaction.object is None:
        return render("check_arranged", subjects=listed(interaction.subjects), relation=interaction.relation)
    if len(interaction.subjects) > 1:
        return render(
            "check_together",
            subjects=listed(interaction.subjects),
            relation=interaction.relation,
            object=interaction.object,
        )
    return render(
        "check_relation", subject=listed(interaction.subjects), relation=interaction.relation, object=interaction.object
    )
