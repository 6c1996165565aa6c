"""Where the prompts of an experiment come from."""

import csv
import io
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from ...state import Frozen, InteractionKind, Words
from ...tools.errors import SettingsError
from ...tools.world.captions import short_caption
from ...tools.world.layout import lay_out
from ...tools.world.spec import Spec, random_spec
from ...tools.world.vocabulary import RELATIONS


@dataclass(frozen=True)
class ExperimentPrompt:
    """A prompt, and the group that it is reported in."""

    text: str
    scenario: str = ""
    """Empty where nothing is known of it."""


class PromptSource(Frozen):
    """One source of prompts."""

    embedded: int | None = Field(default=None, ge=1)
    """How many held-out prompts of the embedded world to make up; every second one combines a relation with
    things that training never combined so. Their scenario is the kind of their first interaction."""
    seed: int = 2026
    """Of the made-up ones."""
    kinds: tuple[InteractionKind, ...] = ()
    """Of the made-up ones, those whose first interaction is of these kinds; none for all."""
    files: tuple[Path, ...] = ()
    """JSONL, CSV with a header, or plain text with a prompt a line; relative to the experiment file."""
    column: str = "prompt"
    """Where a table holds the prompt."""
    scenario: str | None = None
    """Where a table holds the scenario; None for the name of the file."""
    texts: tuple[Words, ...] = ()
    """The prompts themselves."""
    limit: int | None = Field(default=None, ge=1)
    """Prompts of each file at most, spread evenly over it; None for all."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("embedded", "files", "texts") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"give one of embedded, files and texts, not {' and '.join(given) or 'none'}")
        return self

    def prompts(self, folder: Path) -> list[ExperimentPrompt]:
        """All of them, none twice; ``SettingsError`` if a file cannot be read or lacks the column."""
        if self.embedded:
            return held_out(self.embedded, self.seed, self.kinds)
        if self.texts:
            return _distinct(ExperimentPrompt(text) for text in self.texts)
        return _distinct(prompt for path in self.files for prompt in self._spread(list(self._read(folder / path))))

    def _spread(self, found: list[ExperimentPrompt]) -> list[ExperimentPrompt]:
        if self.limit is None or len(found) <= self.limit:
            return found
        return [found[index * len(found) // self.limit] for index in range(self.limit)]

    def _read(self, path: Path) -> Iterator[ExperimentPrompt]:
        for number, record in enumerate(_records(path, self.column), 1):
            text = record.get(self.column)
            if not isinstance(text, str) or not text.strip():
                raise SettingsError(f"{path}: record {number} holds no text in {self.column!r}")
            yield ExperimentPrompt(text.strip(), str(record.get(self.scenario, "")) if self.scenario else path.stem)


def held_out(count: int, seed: int, kinds: Sequence[InteractionKind] = ()) -> list[ExperimentPrompt]:
    """Prompts of the embedded world that training never saw; the first ones are the same for any count."""
    rng, found = random.Random(seed), dict[str, ExperimentPrompt]()
    while len(found) < count:
        spec = random_spec(rng)
        if not spec.held_out or spec.unseen != (len(found) % 2 == 1) or lay_out(spec, rng) is None:
            continue
        if not kinds or _kind(spec) in kinds:
            text = short_caption(spec)
            found.setdefault(text, ExperimentPrompt(text, _kind(spec)))
    return list(found.values())


def _kind(spec: Spec) -> str:
    return RELATIONS[spec.links[0].relation] if spec.links else ""


def _records(path: Path, column: str) -> Iterable[dict[str, Any]]:
    """The lines of a file as tables; a plain text has one column."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        if path.suffix == ".csv":
            return list(csv.DictReader(io.StringIO(text, newline="")))
        return [{column: line} for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise SettingsError(f"cannot read the prompts {path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"the prompts {path} are no {path.suffix[1:]}: {error}") from error


def _distinct(prompts: Iterable[ExperimentPrompt]) -> list[ExperimentPrompt]:
    return list({prompt.text: prompt for prompt in prompts}.values())
