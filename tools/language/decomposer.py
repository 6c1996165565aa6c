"""The decomposer of full-size runs: a chat model decomposes the prompt.

The schema is plain, without references, and capped: the largest answer within the caps fits into one reply of
``ChatSettings.max_tokens``, so that a small model ends in time, and they allow twice what a prompt of 60 words needs.
Slips whose meaning is clear are repaired, with a note where something was left out; any other is shown to the model.
"""

import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationInfo

from ...prompts import render
from ...state import Check, ConceptGraph, Entity, Interaction, InteractionKind, default_checks, parse_concepts
from ..errors import PromptError
from .chat import ChatModel
from .question import Question, Wording, with_templates
from .structured import portable_schema, read_last, validated, without_thoughts

LONGEST_ID = 28
"""Characters of an id; longer ones are cut."""
MOST_COUNTED = 99
"""The largest count that a check asks for."""
_NOTATION = re.compile(r"\(\s*concept\s*:")
_NOTHING = frozenset({"", "none", "null", "n/a", "any", "unspecified", "not specified"})
_ARTICLES = ("a ", "an ", "the ")


def _note(info: ValidationInfo, note: str) -> None:
    if isinstance(info.context, list):
        cast("list[str]", info.context).append(note)


def _capped(most: int) -> BeforeValidator:
    """Makes a list of what should be one, without duplicate texts, and cuts it to the cap, with a note."""

    def cut(value: Any, info: ValidationInfo) -> Any:
        value = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(value, list):
            return value
        items = cast("list[Any]", value)
        items = list(dict.fromkeys(items)) if all(isinstance(item, str) for item in items) else items
        if len(items) > most:
            _note(info, f"{info.field_name}: {len(items)} were given, and those after the first {most} left out")
        return items[:most]

    return BeforeValidator(cut)


def _count(value: Any, info: ValidationInfo) -> Any:
    """A count that a check can ask for; None for any other."""
    if value is None:
        return None
    with suppress(ValueError):
        if 1 <= (count := int(str(value))) <= MOST_COUNTED:
            return count
    _note(info, f"count: {value!r} is no number from 1 to {MOST_COUNTED}, so that the number is left open")
    return None


def _id(value: Any) -> Any:
    value = str(value) if isinstance(value, int) else value
    return value.strip()[:LONGEST_ID] if isinstance(value, str) else value


def _kind(value: Any) -> Any:
    return "_".join(re.split(r"[\s_-]+", value.strip().lower())) if isinstance(value, str) else value


def _or(name: str, other: str) -> Any:
    """The field's value, which a model may give in another field."""
    return Field(validation_alias=AliasChoices(name, other))


Id = Annotated[str, BeforeValidator(_id), StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_ID)]
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=48)]
Adjective = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=32)]


class _Answer(BaseModel):  # The docstrings of answers are sent in their schemas.
    # In JSON mode a model may add fields, such as a comment.
    model_config = ConfigDict(frozen=True, extra="ignore")


class EntityAnswer(_Answer):
    """A thing that the picture must show."""

    id: Annotated[Id, _or("id", "name")]
    name: Annotated[Phrase, _or("name", "id")]
    attributes: Annotated[list[Adjective], _capped(4), Field(max_length=4)] = Field(default_factory=list[Adjective])
    count: Annotated[Annotated[int, Field(ge=1, le=MOST_COUNTED)] | None, BeforeValidator(_count)] = None
    """None where the number is open, or it cannot be counted."""


class InteractionAnswer(_Answer):
    """A relation between entities, by their ids."""

    id: Annotated[Id, _or("id", "relation")]
    kind: Annotated[InteractionKind, BeforeValidator(_kind)]
    subjects: Annotated[list[Id], _capped(5), Field(min_length=1, max_length=5), _or("subjects", "subject")]
    relation: Phrase
    object: Id | None = None


_NamedEntity = Annotated[EntityAnswer, BeforeValidator(lambda v: {"name": v} if isinstance(v, str) else v)]


class ConceptAnswer(_Answer):
    """A prompt taken apart."""

    entities: Annotated[list[_NamedEntity], _capped(16), Field(min_length=1, max_length=16)]
    interactions: Annotated[list[InteractionAnswer], _capped(16), Field(max_length=16)] = Field(
        default_factory=list[InteractionAnswer]
    )
    scene: Annotated[str, StringConstraints(strip_whitespace=True, max_length=120)] | None = None


class ChatDecomposer:
    """Asks a chat model for the concepts of a prompt, which may be any but an empty one."""

    def __init__(self, chat: ChatModel, templates: Path | None = None) -> None:
        """The user's ``templates`` override those that ship; raises as ``Wording.load`` does."""
        self._chat, self._wording = chat, Wording.load("decompose", "decompose_system", templates)
        self.model = with_templates(chat.name, templates, "decompose", "decompose_system")

    async def decompose(self, prompt: str) -> ConceptGraph:
        """The concepts with the default checklist, and the exchanges; ``PromptError`` for an empty prompt, else as
        ``ChatModel.ask_for``."""
        notes: list[str] = []

        def read(text: str) -> ConceptGraph:
            notes.clear()
            return read_concepts(text, prompt, notes)

        schema = portable_schema(ConceptAnswer, strict=self._chat.is_openai)
        reply = await self._chat.ask_for(self.question(prompt), schema, read)
        *others, last = reply.exchanges
        noted = last.model_copy(update={"note": "; ".join(filter(None, (last.note, *notes)))})
        return reply.value.model_copy(update={"exchanges": (*others, noted)})

    def question(self, prompt: str) -> Question:
        """The question about a prompt; ``PromptError`` for an empty one."""
        if not prompt.strip():
            raise PromptError("the prompt is empty; say what the picture should show")
        return self._wording.question("concept_graph", prompt=prompt)


def read_concepts(text: str, prompt: str, notes: list[str] | None = None) -> ConceptGraph:
    """The concept graph in a reply, which is JSON or the paper's flat notation; ``ValueError`` with what is wrong.
    Appends to ``notes`` what was left out."""
    plain = without_thoughts(text)
    if (start := _NOTATION.search(plain)) is not None:
        flat = plain[start.start() : plain.rfind(")") + 1]
        if flat and "{" not in flat:
            concepts = parse_concepts(flat)
            return _graph(prompt, concepts.entities, concepts.interactions)

    def read(value: Any) -> ConceptGraph:
        new: list[str] = []
        graph = _repaired(prompt, validated(value, ConceptAnswer, context=new), new)
        (notes if notes is not None else []).extend(new)
        return graph

    return read_last(text, read)


def _repaired(prompt: str, answer: ConceptAnswer, notes: list[str]) -> ConceptGraph:
    """The graph of an answer: with ids in one spelling, references by name resolved, duplicates removed, ids of
    interactions made unique, and without interactions of entities that were cut off."""
    ids, by_name = {_plain(e.id) for e in answer.entities}, dict[str, set[str]]()
    for entity in answer.entities:
        for name in (entity.name, " ".join((*entity.attributes, entity.name))):
            by_name.setdefault(_plain(name), set()).add(_plain(entity.id))

    def id_of(reference: str) -> str:
        """The entity's id, for its id or for a name that only it has; else the reference as it is."""
        plain, lower = _plain(reference), reference.strip().casefold()
        if plain in ids:
            return plain
        bare = _plain(next((lower.removeprefix(a) for a in _ARTICLES if lower.startswith(a)), lower))
        named = by_name.get(plain) or by_name.get(bare) or ({bare} & ids)
        return next(iter(named)) if len(named) == 1 else plain

    def interaction_of(answer: InteractionAnswer) -> Interaction:
        object = None if answer.object is None else id_of(answer.object)
        return Interaction(
            id=_plain(answer.id),
            kind=answer.kind,
            subjects=tuple(dict.fromkeys(map(id_of, answer.subjects))),
            relation=answer.relation,
            object=object if object in ids else _unless_nothing(object),
        )

    entities = tuple(
        Entity(
            id=_plain(e.id),
            name=e.name,
            attributes=tuple(a for a in dict.fromkeys(e.attributes) if a.casefold() not in _NOTHING),
            count=e.count or 1,
        )
        for e in answer.entities
    )
    interactions = list(dict.fromkeys(map(interaction_of, answer.interactions)))
    if any(note.startswith("entities:") for note in notes):
        whole = [i for i in interactions if ids.issuperset(i.members())]
        if len(whole) < len(interactions):
            notes.append(f"interactions: {len(interactions) - len(whole)} with entities that were left out")
        interactions = whole
    taken = set(ids)
    for n, interaction in enumerate(interactions):
        id, number = interaction.id, 2
        while id in taken:
            id, number = f"{interaction.id}_{number}", number + 1
        taken.add(id)
        interactions[n] = interaction.model_copy(update={"id": id})
    counted = frozenset(_plain(e.id) for e in answer.entities if e.count is not None)
    return _graph(prompt, tuple(dict.fromkeys(entities)), tuple(interactions), _unless_nothing(answer.scene), counted)


def _graph(
    prompt: str,
    entities: tuple[Entity, ...],
    interactions: tuple[Interaction, ...],
    scene: str | None = None,
    counted: frozenset[str] = frozenset(),
) -> ConceptGraph:
    """The graph with its checks; ``counted`` are ids of the entities whose number the answer gives."""
    # Validated first: no check can be made of a dangling reference.
    bare = ConceptGraph(prompt=prompt, entities=entities, interactions=interactions, scene=scene)
    checks = default_checks(entities, interactions, counted)
    if scene is not None:
        checks += (Check(id="scene", question=render("check_scene", scene=scene), aspect="scene"),)
    return ConceptGraph.model_validate({**dict(bare), "checks": checks})


def _unless_nothing(text: str | None) -> str | None:
    return None if text is None or text.strip().casefold() in _NOTHING else text.strip()


def _plain(id: str) -> str:
    return "_".join(id.casefold().replace("-", " ").replace("_", " ").split())
