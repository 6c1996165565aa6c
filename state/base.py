"""The base of every type of the state: immutable, strict about unknown fields."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Text that says something: not empty, no blanks around it."""


class Frozen(BaseModel):
    """An immutable record; an unknown field is an error, so a misspelt name never passes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
