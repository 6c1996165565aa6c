"""The decomposer's answer on the wire: plain, capped and without references, so that small models end."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ...state import InteractionKind

Id = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40)]
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


class _Wire(BaseModel):
    # Fields that nobody asked for are left out: in JSON mode a model may add a comment.
    model_config = ConfigDict(frozen=True, extra="ignore")


class EntityAnswer(_Wire):
    """A thing that the picture must show."""

    id: Id
    name: Phrase
    attributes: list[Phrase] = Field(max_length=8)
    count: int = Field(ge=1, le=99)


class InteractionAnswer(_Wire):
    """A relation between entities, by their ids."""

    id: Id
    kind: InteractionKind
    subjects: list[Id] = Field(min_length=1, max_length=8)
    relation: Phrase
    object: Id | None


class ConceptAnswer(_Wire):
    """A prompt taken apart."""

    entities: list[EntityAnswer] = Field(min_length=1, max_length=24)
    interactions: list[InteractionAnswer] = Field(max_length=32)
    scene: Annotated[str, StringConstraints(strip_whitespace=True, max_length=160)] | None
