"""Answers on disk, so that what was paid once is not paid again."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ...state import Frozen
from ..errors import SettingsError
from .question import Question
from .settings import ChatSettings

_VERSION = 1
"""Raised whenever kept answers no longer mean what they did."""


class Kept(Frozen):
    """A usable answer."""

    reply: str
    """As it came."""
    probability: float | None = Field(default=None, ge=0, le=1)
    """P(yes), for a question of yes or no."""


class AnswerCache:
    """One small file for each answer; processes may share the folder, since files appear whole.

    Raises:
        SettingsError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._make(folder)

    def get(self, key: str) -> Kept | None:
        """What is kept under the key; None if nothing that can be read is."""
        try:
            return Kept.model_validate_json(self._path(key).read_bytes())
        except (OSError, ValidationError):
            return None

    def put(self, key: str, kept: Kept) -> None:
        """Keep an answer; ``SettingsError`` if the folder cannot be written to."""
        path = self._path(key)
        self._make(path.parent)
        try:
            with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as partial:
                partial.write(kept.model_dump_json().encode())
            os.replace(partial.name, path)
        except OSError as error:
            raise self._unusable(error) from error

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> SettingsError:
        return SettingsError(f"the cache of answers in {self._folder} cannot be written: {error}")

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"


def cache_key(
    settings: ChatSettings, question: Question, *, schema: dict[str, Any] | None = None, logprobs: bool = False
) -> str:
    """Hash of everything that an answer depends on, in hexadecimal; no secret goes into it."""
    asked = {
        "version": _VERSION,
        "model": settings.model,
        "host": settings.host,
        "temperature": settings.temperature,
        "schema": schema,
        "system": question.system,
        "text": question.text,
        "pictures": [picture.sha256 for picture in question.pictures],
        "vote": question.vote,
        "logprobs": logprobs,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
