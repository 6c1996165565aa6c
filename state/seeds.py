"""Seeds as data: every image's seed follows from the run's seed and the image's id."""

import hashlib
from typing import Annotated

from pydantic import Field

SEED_LIMIT = 2**32
"""Seeds are in [0, SEED_LIMIT)."""

Seed = Annotated[int, Field(ge=0, lt=SEED_LIMIT)]
"""A seed of a CPU generator."""


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed in [0, SEED_LIMIT) that depends on ``seed`` and ``names`` alone, alike on every machine.

    A number and its decimal text are the same name; a name with a slash is not two names.
    """
    text = "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
