"""Who may call next: a limiter of this process, or one that several processes share."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from .settings import ChatSettings

_LONGEST_POLL = 0.1
"""Seconds between two looks at the rate limiter."""


class Limiter(Protocol):
    """Makes callers wait; those of LangChain are some."""

    async def aacquire(self) -> object:
        """Return when the caller may go."""
        ...


def own_limiter(settings: ChatSettings) -> Limiter | None:
    """One for this process alone; None where no rate is set."""
    if settings.requests_per_minute is None:
        return None
    from langchain_core.rate_limiters import InMemoryRateLimiter

    rate = settings.requests_per_minute / 60
    limiter = InMemoryRateLimiter(
        requests_per_second=rate, check_every_n_seconds=min(_LONGEST_POLL, 0.25 / rate), max_bucket_size=1
    )
    limiter.available_tokens = 1  # The first call need not wait.
    return limiter


LimiterOf = Callable[[ChatSettings], Limiter | None]
_LIMITER_OF: ContextVar[LimiterOf] = ContextVar("limiter_of", default=own_limiter)


def limiter_of(settings: ChatSettings) -> Limiter | None:
    """The limiter for a model that is made now."""
    return _LIMITER_OF.get()(settings)


@contextmanager
def limited_by(choose: LimiterOf) -> Generator[None]:
    """Models that are made inside take their limiters from ``choose``."""
    token = _LIMITER_OF.set(choose)
    try:
        yield
    finally:
        _LIMITER_OF.reset(token)
