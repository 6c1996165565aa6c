"""What each model of a run cost."""

from collections.abc import Iterable

from pydantic import Field

from .base import Frozen
from .exchange import Exchange
from .images import ImageRecord


class ModelSpend(Frozen):
    """The share of one model in a run's ``Spend``."""

    calls: int = Field(default=0, ge=0)
    """Questions put to it, failed ones too, or images drawn by it; without those answered from the disk cache."""
    cached: int = Field(default=0, ge=0)
    """Questions answered from the disk cache, for nothing."""
    tokens: int = Field(default=0, ge=0)
    """Both ways."""
    seconds: float = Field(default=0.0, ge=0)
    """Of model time, summed over calls."""
    money: float = Field(default=0.0, ge=0)
    """In US dollars, where a price is configured."""


def spend_by_model(images: Iterable[ImageRecord], exchanges: Iterable[Exchange]) -> dict[str, ModelSpend]:
    """By the model's name, in the order of first use, models that draw before those that answer."""
    shares: dict[str, list[ModelSpend]] = {}
    for image in images:
        shares.setdefault(image.model, []).append(ModelSpend(calls=1, seconds=image.seconds, money=image.money))
    for said in exchanges:
        shares.setdefault(said.model, []).append(
            ModelSpend(
                calls=not said.cached,
                cached=said.cached,
                tokens=said.prompt_tokens + said.reply_tokens,
                seconds=said.seconds,
                money=said.money,
            )
        )
    return {model: _total(own) for model, own in shares.items()}


def _total(shares: list[ModelSpend]) -> ModelSpend:
    return ModelSpend(**{name: sum(getattr(share, name) for share in shares) for name in ModelSpend.model_fields})
