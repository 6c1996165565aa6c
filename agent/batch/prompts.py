"""The prompts of a batch: read from a file, a URL or the caller, checked, and kept on the disk until their turn."""

import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from ...state import Budget, Seed
from ...tools.data import read_rows
from ...tools.errors import SettingsError, first_problem
from ..policies import POLICIES, Policy, resolve_policy
from ..records.rows import digest
from ..runs.folder import slug
from ..settings.settings import Settings
from .jobs import Job

_TAGS: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) else value


class Ask(BaseModel):
    """One prompt as a user gives it; keys that are not named here are handed on to its row."""

    model_config = ConfigDict(frozen=True, extra="allow")

    prompt: str
    """Read when its turn comes: one that cannot be read is a failed row."""
    id: Annotated[str | None, BeforeValidator(_text), Field(min_length=1)] = None
    """Unique in the file; made from the prompt unless given."""
    seed: Seed | None = None
    """That of all unless given."""
    policy: str | None = None
    """A known name; that of all unless given."""
    policy_args: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Parameters of its class."""
    budget: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Bounds that are other than those of all."""


@dataclass(frozen=True)
class Defaults:
    """What holds for a prompt that says nothing else."""

    seed: int
    policy: Policy
    budget: Budget
    settings: Settings = field(default_factory=Settings)
    """Say whether a model edits."""

    def job(self, ask: Ask, id: str) -> Job:
        """What the ask comes to; ``ValueError`` says what is wrong with it."""
        return Job(
            id=id,
            prompt=ask.prompt,
            seed=self.seed if ask.seed is None else ask.seed,
            policy=self._policy(ask),
            budget=self._budget(ask),
            tags=dict(ask.model_extra or {}),
        )

    def _policy(self, ask: Ask) -> Policy:
        if ask.policy is None and ask.policy_args:
            raise ValueError("policy_args belong to a policy: name it too")
        if ask.policy is None:
            return self.policy
        if ask.policy not in POLICIES:  # a file of prompts, which may come from anywhere, must not import code
            raise ValueError(f"no policy {ask.policy!r}: known are {', '.join(sorted(POLICIES))}")
        try:
            return resolve_policy(ask.policy, **self.settings.policy_parameters(ask.policy, ask.policy_args))
        except SettingsError as error:
            raise ValueError(str(error)) from error

    def _budget(self, ask: Ask) -> Budget:
        try:
            return Budget.model_validate(self.budget.model_dump() | ask.budget) if ask.budget else self.budget
        except ValidationError as error:
            raise ValueError(f"budget.{first_problem(error)}") from error


Located = tuple[Ask, str]
"""An ask, and where it was read."""


def read_asks(source: Path | str) -> Iterator[Located]:
    """The asks of a file, a URL, or ``-`` for standard input, one by one; see ``tools.data``.

    Raises:
        SettingsError: it cannot be read, or a line of it is no prompt; the message names the line.
    """
    for row in read_rows(source):
        others = {name: value for name, value in row.others.items() if value not in (None, "")}
        yield _located({"prompt": row.prompt, **others}, row.where)


def given_asks(prompts: Iterable[str | Mapping[str, Any]]) -> Iterator[Located]:
    """The asks that a caller hands over: prompts, or tables with the keys of ``Ask``."""
    if isinstance(prompts, Mapping):
        raise SettingsError("the prompts are one table: give a list of them")
    for number, given in enumerate(prompts, 1):
        yield _located({"prompt": given} if isinstance(given, str) else given, f"prompt {number}")


def _located(given: Mapping[str, Any], where: str) -> Located:
    try:
        return Ask.model_validate(_TAGS.validate_python(given)), where
    except ValidationError as error:
        raise SettingsError(f"{where}: {first_problem(error)}") from error


class Spool:
    """Checked asks in a file of this process; they can be gone through again and again.

    What is held for each is the name of its run folder.
    """

    def __init__(self, file: IO[bytes], defaults: Defaults) -> None:
        self._file, self._defaults = file, defaults
        self._places: dict[str, str] = {}
        self._again: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Job]:
        """The jobs, in the order of their prompts; only one pass at a time."""
        self._file.seek(0)
        for line in self._file:
            ask = Ask.model_validate_json(line)
            yield self._defaults.job(ask, ask.id or "")

    def add(self, ask: Ask, where: str) -> None:
        """Check one more.

        Raises:
            SettingsError: what it asks for cannot be, or another has its id.
        """
        try:
            job = self._defaults.job(ask, ask.id or "")
            if ask.id is None:
                job = replace(job, id=self._free(f"{slug(ask.prompt) or 'prompt'}-{digest(job.key)}"))
            line = ask.model_copy(update={"id": job.id}).model_dump_json()
        except ValueError as error:
            raise SettingsError(f"{where}: {error}") from error
        if job.folder in self._places:
            raise SettingsError(f"{where} has the id {job.id!r}, which {self._places[job.folder]} has already")
        self._places[job.folder] = where
        self._file.write(line.encode() + b"\n")

    def _free(self, id: str) -> str:
        """The id, or with a number behind it where the same is asked for again."""
        while (candidate := f"{id}-{self._again[id]}" if id in self._again else id) in self._places:
            self._again[id] = self._again.get(id, 1) + 1
        return candidate


@contextmanager
def spooled(asks: Iterable[Located], defaults: Defaults) -> Generator[Spool]:
    """All of them, read to the end.

    Raises:
        SettingsError: one of them cannot be, or there is none.
    """
    with tempfile.TemporaryFile() as file:
        spool = Spool(file, defaults)
        for ask, where in asks:
            spool.add(ask, where)
        if not len(spool):
            raise SettingsError("there is no prompt")
        yield spool
