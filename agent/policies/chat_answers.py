"""What a chat model answers on the wire when it is asked for decisions."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

MOST_DECISIONS = 64
"""In one reply; a small model that repeats itself ends here."""


class ChatDecision(BaseModel):
    """What to do with one image; the reason comes first, so that it is thought of first."""

    reason: Annotated[str, Field(max_length=600)] = ""
    image: Annotated[str, Field(max_length=40)]
    """Its id."""
    action: Literal["refine", "redraw", "stop"]
    strength: Literal["light", "strong"] = "light"
    """Of a refinement."""


class ChatDecisions(BaseModel):
    """One decision for each image that waits."""

    decisions: Annotated[list[ChatDecision], Field(max_length=MOST_DECISIONS)]
