"""The decomposer's answer on the wire: plain, without references, and capped.

The largest answer that keeps to the caps fits into one reply of ``ChatSettings.max_tokens``, so that a
small model ends in time; they leave room for twice what a prompt of 60 words holds.
"""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from ...state import InteractionKind

LONGEST_ID = 28
"""Characters; longer ones are cut, alike wherever they stand."""


def _cut(value: object) -> object:
    return value.strip()[:LONGEST_ID] if isinstance(value, str) else value


Id = Annotated[
    str, BeforeValidator(_cut), StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_ID)
]
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=48)]
Adjective = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=32)]


class _Wire(BaseModel):
    # Fields that nobody asked for are left out: in JSON mode a model may add a comment.
    model_config = ConfigDict(frozen=True, extra="ignore")


class EntityAnswer(_Wire):
    """A thing that the picture must show."""

    id: Id
    name: Phrase
    attributes: list[Adjective] = Field(max_length=4)
    count: Annotated[int, Field(ge=1, le=99)] | None
    """None where the number is open, or it cannot be counted."""


class InteractionAnswer(_Wire):
    """A relation between entities, by their ids."""

    id: Id
    kind: InteractionKind
    subjects: list[Id] = Field(min_length=1, max_length=5)
    relation: Phrase
    object: Id | None


class ConceptAnswer(_Wire):
    """A prompt taken apart."""

    entities: list[EntityAnswer] = Field(min_length=1, max_length=16)
    interactions: list[InteractionAnswer] = Field(max_length=16)
    scene: Annotated[str, StringConstraints(strip_whitespace=True, max_length=120)] | None
