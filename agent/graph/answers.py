"""What models answered in a run, kept as soon as it came, so that a run that goes on asks nothing twice."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

ANSWERS = "answers.jsonl"
"""One JSON object a line: ``key`` and ``answer``."""

M = TypeVar("M", bound=BaseModel)


class Answers:
    """An append-only file of answers by the hash of what was asked; each line reaches it whole, in one write.

    A last line that a kill left without its end is cut off first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        if path.exists():
            *whole, torn = path.read_bytes().split(b"\n")
            self._known = {line["key"]: line["answer"] for line in map(json.loads, whole)}
            if torn:
                with path.open("r+b") as file:
                    file.truncate(path.stat().st_size - len(torn))

    async def get(self, key: str, kind: type[M], ask: Callable[[], Awaitable[M]]) -> M:
        """The answer that is kept under the key; else what ``ask`` brings, kept from now on."""
        if key in self._known:
            return kind.model_validate(self._known[key])
        answer = await ask()
        self._keep(key, answer.model_dump(mode="json"))
        return answer

    def _keep(self, key: str, answer: Any) -> None:
        self._known[key] = answer
        with self._path.open("ab", buffering=0) as file:
            file.write(json.dumps({"key": key, "answer": answer}, ensure_ascii=False).encode() + b"\n")


def key_of(kind: str, model: str, *asked: str | BaseModel) -> str:
    """Hash of everything that an answer depends on, in hexadecimal."""
    parts = [one if isinstance(one, str) else one.model_dump_json() for one in asked]
    return hashlib.sha256(json.dumps([kind, model, *parts]).encode()).hexdigest()
