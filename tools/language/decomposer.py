"""The decomposer of full-size runs: a chat model takes the prompt apart.

What the model answers is plain, without references, and capped: the largest answer that keeps to the caps fits into
one reply of ``ChatSettings.max_tokens``, so that a small model ends in time, and the caps leave room for twice what a
prompt of 60 words holds. Slips whose meaning is clear are mended, with a note where something was left out; anything
else is an error that the model is shown.
"""

import re
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationInfo, model_validator

from ...prompts import render
from ...state import Check, ConceptGraph, Entity, Interaction, InteractionKind, default_checks, parse_concepts
from ..errors import PromptError
from .chat import ChatModel
from .question import Question, Wording, with_templates
from .structured import portable_schema, read_last, validated, without_thoughts

LONGEST_ID = 28
"""Characters of an id; longer ones are cut, alike wherever they stand."""
MOST_COUNTED = 99
"""The largest number of a thing that a check asks for."""
_NOTATION = re.compile(r"\(\s*concept\s*:")
_NOTHING = frozenset({"", "none", "null", "n/a", "any", "unspecified", "not specified"})
_ARTICLES = ("a ", "an ", "the ")


def _note(info: ValidationInfo, note: str) -> None:
    if isinstance(info.context, list):
        cast("list[str]", info.context).append(note)


def _capped(most: int) -> BeforeValidator:
    """Makes a list of what should be one, and cuts what is over the cap, with a note."""

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
    """A number that a check can ask for; None for any other."""
    if value is None:
        return None
    try:
        count = int(str(value))
    except ValueError:
        count = 0
    if 1 <= count <= MOST_COUNTED:
        return count
    _note(info, f"count: {value!r} is no number from 1 to {MOST_COUNTED}, so that the number is left open")
    return None


def _id(value: Any) -> Any:
    value = str(value) if isinstance(value, int) else value
    return value.strip()[:LONGEST_ID] if isinstance(value, str) else value


def _kind(value: Any) -> Any:
    return "_".join(re.split(r"[\s_-]+", value.strip().lower())) if isinstance(value, str) else value


Id = Annotated[str, BeforeValidator(_id), StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_ID)]
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=48)]
Adjective = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=32)]


class _Wire(BaseModel):
    # Fields that nobody asked for are left out: in JSON mode a model may add a comment.
    model_config = ConfigDict(frozen=True, extra="ignore")


class EntityAnswer(_Wire):
    """A thing that the picture must show."""

    id: Id
    name: Phrase
    attributes: Annotated[list[Adjective], _capped(4), Field(max_length=4)] = Field(default_factory=list[Adjective])
    count: Annotated[Annotated[int, Field(ge=1, le=MOST_COUNTED)] | None, BeforeValidator(_count)] = None
    """None where the number is open, or it cannot be counted."""

    @model_validator(mode="before")
    @classmethod
    def _named_once(cls, value: Any) -> Any:
        value = {"name": value} if isinstance(value, str) else value
        if not isinstance(value, dict):
            return value
        given = cast("dict[str, Any]", value)
        return {"id": given.get("name"), "name": given.get("id")} | given


class InteractionAnswer(_Wire):
    """A relation between entities, by their ids."""

    id: Id
    kind: Annotated[InteractionKind, BeforeValidator(_kind)]
    subjects: Annotated[list[Id], _capped(5), Field(min_length=1, max_length=5)]
    relation: Phrase
    object: Id | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_an_id(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = cast("dict[str, Any]", value)
        return {"id": given.get("relation"), "subjects": given.get("subject")} | given


class ConceptAnswer(_Wire):
    """A prompt taken apart."""

    entities: Annotated[list[EntityAnswer], _capped(16), Field(min_length=1, max_length=16)]
    interactions: Annotated[list[InteractionAnswer], _capped(16), Field(max_length=16)] = Field(
        default_factory=list[InteractionAnswer]
    )
    scene: Annotated[str, StringConstraints(strip_whitespace=True, max_length=120)] | None = None


class ChatDecomposer:
    """Asks a chat model for the concepts of a prompt; any prompt that says something can be read."""

    def __init__(self, chat: ChatModel, templates: Path | None = None) -> None:
        """``templates`` is a folder of templates that replace those that ship; raises as ``Wording.load`` does."""
        self._chat, self._wording = chat, Wording.load("decompose", "decompose_system", templates)
        self.model = with_templates(chat.name, templates, "decompose", "decompose_system")

    async def decompose(self, prompt: str) -> ConceptGraph:
        """The prompt's concepts with the default checklist, and what was asked to get them; ``PromptError`` for an
        empty prompt, else it raises as ``ChatModel.ask_for`` does."""
        notes: list[str] = []

        def read(text: str) -> ConceptGraph:
            notes.clear()
            return read_concepts(text, prompt, notes)

        schema = portable_schema(ConceptAnswer, strict=self._chat.is_openai)
        reply = await self._chat.ask_for(self.question(prompt), schema, read)
        *before, last = reply.exchanges
        noted = last.model_copy(update={"note": "; ".join(filter(None, (last.note, *notes)))})
        return reply.value.model_copy(update={"exchanges": (*before, noted)})

    def question(self, prompt: str) -> Question:
        """What is asked about a prompt; ``PromptError`` for an empty one."""
        if not prompt.strip():
            raise PromptError("the prompt is empty; say what the picture should show")
        return self._wording.question("concept_graph", prompt=prompt)


def read_concepts(text: str, prompt: str, notes: list[str] | None = None) -> ConceptGraph:
    """The concept graph that a reply stands for: JSON, or the flat notation of the paper; ``ValueError`` with what is
    wrong. What was left out is added to ``notes``, in words."""
    plain = without_thoughts(text)
    if (start := _NOTATION.search(plain)) is not None:
        flat = plain[start.start() : plain.rfind(")") + 1]
        if flat and "{" not in flat:
            concepts = parse_concepts(flat)
            return _graph(prompt, concepts.entities, concepts.interactions)

    def read(value: Any) -> ConceptGraph:
        found: list[str] = []
        graph = _mended(prompt, validated(value, ConceptAnswer, context=found), found)
        (notes if notes is not None else []).extend(found)
        return graph

    return read_last(text, read)


def _mended(prompt: str, answer: ConceptAnswer, notes: list[str]) -> ConceptGraph:
    """The graph of an answer.

    Ids are written alike, an interaction that names an entity in place of its id finds it, what is said twice is
    said once, interactions that share an id are told apart, and those with an entity that was over the cap are
    left out.
    """
    ids, called = {_plain(e.id) for e in answer.entities}, dict[str, set[str]]()
    for entity in answer.entities:
        for name in (entity.name, " ".join((*entity.attributes, entity.name))):
            called.setdefault(_plain(name), set()).add(_plain(entity.id))

    def id_of(reference: str) -> str:
        """The entity's id, for its id or for a name that only it has; else the reference as it is."""
        plain, lower = _plain(reference), reference.strip().casefold()
        if plain in ids:
            return plain
        bare = _plain(next((lower.removeprefix(a) for a in _ARTICLES if lower.startswith(a)), lower))
        named = called.get(plain) or called.get(bare) or ({bare} & ids)
        return next(iter(named)) if len(named) == 1 else plain

    def interaction_of(said: InteractionAnswer) -> Interaction:
        object = None if said.object is None else id_of(said.object)
        return Interaction(
            id=_plain(said.id),
            kind=said.kind,
            subjects=tuple(dict.fromkeys(map(id_of, said.subjects))),
            relation=said.relation,
            object=object if object in ids else _something(object),
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
    return _graph(prompt, tuple(dict.fromkeys(entities)), tuple(interactions), _something(answer.scene), counted)


def _graph(
    prompt: str,
    entities: tuple[Entity, ...],
    interactions: tuple[Interaction, ...],
    scene: str | None = None,
    counted: frozenset[str] = frozenset(),
) -> ConceptGraph:
    """The validated graph; a reference that dangles is found before a check is made of it.

    ``counted`` are ids of the entities whose number the answer gives, be it one.
    """
    bare = ConceptGraph(prompt=prompt, entities=entities, interactions=interactions, scene=scene)
    checks = default_checks(entities, interactions, counted)
    if scene is not None:
        checks += (Check(id="scene", question=render("check_scene", scene=scene), aspect="scene"),)
    return ConceptGraph.model_validate({**dict(bare), "checks": checks})


def _something(text: str | None) -> str | None:
    return None if text is None or text.strip().casefold() in _NOTHING else text.strip()


def _plain(id: str) -> str:
    return "_".join(id.casefold().replace("-", " ").replace("_", " ").split())
