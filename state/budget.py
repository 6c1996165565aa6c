"""What a run may spend, and what it spent."""

from __future__ import annotations

from pydantic import Field, field_validator

from .base import Frozen

BUDGET_LIMIT = 10**12
"""Greatest value of a bound, so that numbers stay within 64 bits."""


class Spend(Frozen):
    """The cost of a run, or of a part of it."""

    evaluations: int = Field(default=0, ge=0)
    """Forward passes of the denoiser; a guided step counts two."""
    images: int = Field(default=0, ge=0)
    critic_calls: int = Field(default=0, ge=0)
    """A vote of three critics is three."""
    tokens: int = Field(default=0, ge=0)
    """Of language and vision models, both ways."""
    seconds: float = Field(default=0.0, ge=0)
    """Of model time, summed over calls."""
    money: float = Field(default=0.0, ge=0)
    """In US dollars, where a price is configured."""

    def __add__(self, other: Spend) -> Spend:
        return Spend(**{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields})


class Budget(Frozen):
    """Upper bounds of a run; None is no bound. Rounds and images are always bounded, so that every run ends."""

    rounds: int = Field(default=6, ge=0, le=BUDGET_LIMIT)
    """Rounds after the first drawings."""
    images: int = Field(default=16, ge=1, le=BUDGET_LIMIT)
    evaluations: int | None = Field(default=None, ge=1, le=BUDGET_LIMIT)
    critic_calls: int | None = Field(default=None, ge=1, le=BUDGET_LIMIT)
    tokens: int | None = Field(default=None, ge=1, le=BUDGET_LIMIT)
    seconds: float | None = Field(default=None, gt=0)
    money: float | None = Field(default=None, gt=0)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_switch(cls, bound: object) -> object:
        if isinstance(bound, bool):
            raise ValueError("a bound should be a number, not true or false")
        return bound

    def lowered(self, asked: Budget) -> Budget:
        """With the bounds of ``asked`` that are set and lower."""
        bounds = asked.model_dump(exclude_unset=True, exclude_none=True).items()
        own = self.model_dump(exclude_none=True)
        return self.model_copy(update={name: min(bound, own.get(name, bound)) for name, bound in bounds})

    def exceeded_by(self, spend: Spend) -> str | None:
        """Name of the first bound that ``spend`` exceeds, if any."""
        for name in ("images", "evaluations", "critic_calls", "tokens", "seconds", "money"):
            bound = getattr(self, name)
            if bound is not None and getattr(spend, name) > bound:
                return name
        return None
