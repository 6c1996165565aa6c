"""The decomposer and the rewriter of the embedded world; its specs as concept graphs, and back."""

import random
from collections import Counter

from ...prompts import counted, listed, render
from ...state import Aspect, Check, ConceptGraph, Entity, Interaction, derive_seed
from ..errors import PromptError
from ..roles import Rewritten
from .grammar import EXAMPLES, parse
from .language import detailed_caption
from .layout import lay_out
from .relations import RELATIONS
from .spec import Link, Spec, Wanted
from .vocabulary import COLOURS, NOUNS, PLACES


class EmbeddedDecomposer:
    """Parses the language of the embedded world; needs no model."""

    model = "embedded-grammar"

    async def decompose(self, prompt: str) -> ConceptGraph:
        """The prompt's concepts with a full checklist; ``PromptError`` for what the world cannot read or show."""
        spec = parse(prompt)
        if lay_out(spec, random.Random(0)) is None:
            raise PromptError(
                f"no picture of the embedded world can show this: {prompt!r}; try for example: {' | '.join(EXAMPLES)}"
            )
        return concepts_of(spec, prompt)


class EmbeddedRewriter:
    """Adds one of the layouts that a prompt allows; needs no model."""

    model = "embedded-grammar"

    async def rewrite(self, prompt: str) -> Rewritten:
        """The prompt and where each thing stands; ``PromptError`` for what the world cannot read or show."""
        return Rewritten(laid_out(prompt))


def laid_out(prompt: str) -> str:
    """The prompt with a layout, the same one each time."""
    scene = lay_out(parse(prompt), random.Random(derive_seed(0, "rewrite", prompt)))
    if scene is None:
        raise PromptError(f"no picture of the embedded world can show this: {prompt!r}")
    return detailed_caption(prompt, scene)


def concepts_of(spec: Spec, prompt: str) -> ConceptGraph:
    """The spec as a concept graph with every question that can be asked of it."""
    entities = entities_of(spec)
    interactions: list[Interaction] = []
    for link in spec.links:
        relation, ids = RELATIONS[link.relation], [entities[i].id for i in link.members]
        interactions.append(
            Interaction(
                id=" ".join(("+".join(ids[: relation.before]), relation.name, *ids[relation.before :])),
                kind=relation.kind,
                subjects=tuple(ids[: relation.subjects]),
                relation=relation.name,
                object=ids[-1] if len(ids) > relation.subjects else None,
            )
        )
    checks: list[Check] = []

    def ask(aspect: Aspect, about: str, question: str, *parents: str) -> None:
        id = f"{aspect}:{about}"
        checks.append(Check(id=id, question=question, aspect=aspect, about=about, depends_on=parents))

    for entity in entities:
        noun, presence = entity.id, f"presence:{entity.id}"
        ask("presence", entity.id, render("check_presence", noun=noun))
        for colour in entity.attributes if noun == entity.name else ():
            ask("attribute", entity.id, render("check_attribute", noun=noun, attribute=colour), presence)
        ask("count", entity.id, render("check_count", counted=counted(entity.count, noun)), presence)
    for interaction in interactions:
        parents = (f"presence:{id}" for id in interaction.members())
        ask("relation", interaction.id, _relation_question(interaction), *parents)
    scene = None if spec.place is None else PLACES[spec.place].phrase
    if scene is not None:
        checks.append(Check(id="scene", question=render("check_scene", scene=scene), aspect="scene"))
    checks.append(Check(id="nothing_else", question=render("check_nothing_else"), aspect="nothing_else"))
    return ConceptGraph(
        prompt=prompt, entities=entities, interactions=tuple(interactions), scene=scene, checks=tuple(checks)
    )


def entities_of(spec: Spec) -> tuple[Entity, ...]:
    """An entity for each thing, in order. Its id is its noun, with its colour if another thing has the same noun."""
    nouns = Counter(thing.noun for thing in spec.things)
    return tuple(
        Entity(
            id=f"{w.colour} {w.noun}" if nouns[w.noun] > 1 else w.noun,
            name=w.noun,
            attributes=() if w.colour is None else (w.colour,),
        )
        for w in spec.things
    )


def spec_of(concepts: ConceptGraph) -> Spec:
    """The spec of a concept graph of the embedded world; ``PromptError`` for what the world does not know."""
    index = {entity.id: i for i, entity in enumerate(concepts.entities)}
    places = {place.phrase: name for name, place in PLACES.items()}
    unknown = [i.relation for i in concepts.interactions if i.relation not in RELATIONS]
    unknown += [e.name for e in concepts.entities if e.name not in NOUNS]
    unknown += [a for e in concepts.entities for a in e.attributes if a not in COLOURS]
    if unknown or (concepts.scene is not None and concepts.scene not in places):
        raise PromptError(f"the embedded world does not know {', '.join(unknown) or repr(concepts.scene)}")
    return Spec(
        tuple(Wanted(e.name, next(iter(e.attributes), None)) for e in concepts.entities),
        tuple(Link(i.relation, tuple(index[id] for id in i.members())) for i in concepts.interactions),
        None if concepts.scene is None else places[concepts.scene],
    )


def _relation_question(interaction: Interaction) -> str:
    subjects, relation, target = listed(interaction.subjects), interaction.relation, interaction.object
    if joint := RELATIONS[relation].joint:
        first, second, target = interaction.subjects
        return render("check_relation", subject=first, relation=f"{relation} the {second} {joint}", object=target)
    if target is None:
        return render("check_arranged", subjects=subjects, relation=relation)
    if len(interaction.subjects) > 1:
        return render("check_together", subjects=subjects, relation=relation, object=target)
    return render("check_relation", subject=subjects, relation=relation, object=target)
