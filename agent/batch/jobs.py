"""The jobs of a batch: the user's prompts, checked, and kept on disk until they run."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from ...state import Budget, Seed
from ...tools.data import read_rows
from ...tools.errors import SettingsError, first_problem, no_such
from ..policies import POLICIES, Policy, policy_name, resolve_policy
from ..records.rows import digest, key_of
from ..runs.folder import slug
from ..runs.steering import budget_with
from ..settings.settings import Settings

_PLAIN = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?")
"""Names that every file system accepts unchanged and keeps distinct."""
_TAGS: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])

Prompts = Path | str | Iterable[str | Mapping[str, Any]]
"""A file, a URL or ``-``; or prompts, each a text or a mapping with ``prompt`` and other keys of ``JobRequest``."""


@dataclass(frozen=True)
class Job:
    """One prompt under one policy."""

    id: str
    """Unique among the jobs of a folder; any text."""
    prompt: str
    seed: int
    """In [0, 2**32)."""
    policy: Policy
    budget: Budget = field(default_factory=Budget)
    tags: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """Further data about the prompt, copied into its row."""

    @cached_property
    def folder(self) -> str:
        """Name of its run folder."""
        return folder_name(self.id)

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides its outcome, except the models."""
        return key_of(self.prompt, self.seed, policy_name(self.policy), self.budget)


def folder_name(id: str) -> str:
    """The id itself if every file system accepts it, else its readable part and a hash."""
    return id if _PLAIN.fullmatch(id) else f"{slug(id) or 'run'}-{digest(id)}"


class JobRequest(BaseModel):
    """One prompt as the user wrote it; unknown keys are copied into its row."""

    model_config = ConfigDict(frozen=True, extra="allow")

    prompt: str
    """Read when its run starts; one that cannot be read becomes a failed row."""
    id: Annotated[str, Field(min_length=1, coerce_numbers_to_str=True)] | None = None
    """Unique in the file; by default made from the prompt."""
    seed: Seed | None = None
    """By default that of the batch."""
    policy: str | None = None
    """The name of a known policy; by default that of the batch."""
    policy_args: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Parameters of its class."""
    budget: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Limits that differ from those of the batch."""


def read_requests(prompts: Prompts) -> Iterator[tuple[JobRequest, str]]:
    """The prompts one by one, each with its place for error messages; see ``tools.data`` for sources."""
    if isinstance(prompts, Mapping):
        raise SettingsError("the prompts are one table: give a list of them")
    rows: Iterable[tuple[Any, str]]
    if isinstance(prompts, (str, Path)):
        rows = (
            ({"prompt": row.prompt} | {k: v for k, v in row.others.items() if v not in (None, "")}, row.where)
            for row in read_rows(prompts)
        )
    else:
        rows = (({"prompt": p} if isinstance(p, str) else p, f"prompt {n}") for n, p in enumerate(prompts, 1))
    for given, where in rows:
        try:
            yield JobRequest.model_validate(_TAGS.validate_python(given)), where
        except ValidationError as error:
            raise SettingsError(f"{where}: {first_problem(error)}") from error


def job_of(request: JobRequest, policy: Policy, settings: Settings) -> Job:
    """The job of a prompt, with this policy and these settings as defaults; ``SettingsError`` if it is invalid."""
    chosen, name = settings.run, request.policy
    if name is None and request.policy_args:
        raise SettingsError("policy_args belong to a policy: name it too")
    if name is not None:
        if name not in POLICIES:  # a file of prompts from anywhere must not import code
            raise no_such("policy", name, sorted(POLICIES))
        policy = resolve_policy(name, **settings.policy_parameters(name, request.policy_args))
    seed = chosen.seed if request.seed is None else request.seed
    budget = budget_with(chosen.budget, request.budget) if request.budget else chosen.budget
    return Job(request.id or "", request.prompt, seed, policy, budget, dict(request.model_extra or {}))


class Spool:
    """All jobs of a batch, checked; can be iterated repeatedly. Prompts are kept in ``file``; in memory are only the
    names of their run folders."""

    def __init__(
        self, file: IO[bytes], requests: Iterable[tuple[JobRequest, str]], policy: Policy, settings: Settings
    ) -> None:
        self._file, self._policy, self._settings = file, policy, settings
        self._copies: dict[str, int] = defaultdict(lambda: 1)
        self._places: dict[str, str] = {}
        """Where each prompt came from, by the name of its run folder."""
        for request, where in requests:
            try:
                job = job_of(request, policy, settings)
                if request.id is None:
                    job = replace(job, id=self._free(f"{slug(request.prompt) or 'prompt'}-{digest(job.key)}"))
                line = request.model_copy(update={"id": job.id}).model_dump_json()
            except (SettingsError, ValueError) as error:
                raise SettingsError(f"{where}: {error}") from error
            if job.folder in self._places:
                raise SettingsError(f"{where} has the id {job.id!r}, which {self._places[job.folder]} has already")
            self._places[job.folder] = where
            file.write(line.encode() + b"\n")
        if not self._places:
            raise SettingsError("there is no prompt")

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Job]:
        """The jobs, in the order of their prompts; only one iteration at a time."""
        self._file.seek(0)
        return (job_of(JobRequest.model_validate_json(line), self._policy, self._settings) for line in self._file)

    def _free(self, id: str) -> str:
        """The id, with a number appended if it is taken."""
        candidate = id
        while candidate in self._places:
            self._copies[id] += 1
            candidate = f"{id}-{self._copies[id]}"
        return candidate
