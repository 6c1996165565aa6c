"""What the page does not say: which method made which picture, and what the critic said of it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from ...state import Answer, Aspect, Frozen
from ...tools.errors import SettingsError

KEY_VERSION = 1


class Source(Frozen):
    """One image that a picture of the page stands for."""

    method: str
    scenario: str
    """Empty where nothing is known of it."""
    run: str
    """Id of its run."""
    image: str
    """Its id in the run."""
    score: float | None = None
    """Share of the run's own checks that the run's critic passed, in [0, 1]; None where it answered none, as without a
    critic, or with a metric in its place."""
    confidence: float | None = None
    """The critic's mean certainty, in [0, 1]; None where it told nothing."""
    answers: dict[int, Answer] = Field(default_factory=dict)
    """The critic's answer by number of the item's check; checks that the critic was not asked are left out."""


class AskedCheck(Frozen):
    """A yes/no question as raters see it."""

    question: str
    aspect: Aspect


class KeyItem(Frozen):
    """One picture of the page."""

    prompt: str
    checks: tuple[AskedCheck, ...] = ()
    """By number; the same for every picture of a prompt."""
    sources: tuple[Source, ...] = Field(min_length=1)
    """Several where runs made the same picture, which is rated once for all of them."""


class Key(Frozen):
    """Written beside the page as JSON, and to be kept from raters."""

    kind: Literal["detailscribe-rating-key"] = "detailscribe-rating-key"
    version: Literal[1] = KEY_VERSION
    survey: str
    """Id of the survey; it follows from what is asked, whatever the order."""
    criteria: tuple[str, ...]
    """Ids of what is rated."""
    methods: tuple[str, ...]
    """In the order in which they were named."""
    items: dict[str, KeyItem]
    """By the id that the page knows."""


def read_key(path: Path) -> Key:
    """The key in a file.

    Raises:
        SettingsError: there is no such file, or it is no key of this version.
    """
    try:
        return Key.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"cannot read the key {path}: {error.strerror}") from error
    except ValidationError as error:
        raise SettingsError(f"{path} is no key of a rating page: `detailscribe rate` leaves one") from error
