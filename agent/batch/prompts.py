"""The prompts of a batch: read from a file, a URL or the caller, checked, and kept on the disk until their turn."""

import csv
import json
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import TextIOWrapper
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from ...state import Budget, Seed
from ...tools.errors import SettingsError, first_problem
from ..policies import POLICIES, Policy, resolve_policy
from ..records.rows import digest
from ..runs.folder import slug
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


def ask_of(given: Mapping[str, Any]) -> Ask:
    """The ask that a table stands for; ``ValueError`` says what is wrong with it."""
    try:
        return Ask.model_validate(_TAGS.validate_python(given))
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error


@dataclass(frozen=True)
class Defaults:
    """What holds for a prompt that says nothing else."""

    seed: int
    policy: Policy
    budget: Budget

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
            return resolve_policy(ask.policy, **ask.policy_args)
        except SettingsError as error:
            raise ValueError(str(error)) from error

    def _budget(self, ask: Ask) -> Budget:
        try:
            return Budget.model_validate(self.budget.model_dump() | ask.budget) if ask.budget else self.budget
        except ValidationError as error:
            raise ValueError(f"budget.{first_problem(error)}") from error


STDIN = "-"
Format = Literal["jsonl", "csv", "tsv", "text"]
"""jsonl: an object a line; csv, tsv: a column ``prompt``; text: a prompt a line."""
_FORMATS: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".txt": "text"}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")

Located = tuple[Ask, str]
"""An ask, and where it was read."""


def read_asks(source: Path | str) -> Iterator[Located]:
    """The asks of a file, a URL, or ``-`` for standard input, one by one.

    Raises:
        SettingsError: it cannot be read, or a line of it is no prompt; the message names the line.
    """
    name = str(source)
    with _opened(name) as file:
        text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
        try:
            yield from _asks(text, name)
        except UnicodeDecodeError as error:
            raise SettingsError(f"{display(name)} is not UTF-8 text: {error.reason}") from error
        finally:
            text.detach()


def given_asks(prompts: Iterable[str | Mapping[str, Any]]) -> Iterator[Located]:
    """The asks that a caller hands over: prompts, or tables with the keys of ``Ask``."""
    for number, given in enumerate(prompts, 1):
        yield _located({"prompt": given} if isinstance(given, str) else given, f"prompt {number}")


def display(source: str) -> str:
    """A source as messages and files may name it: without user, password and query, which can be secret."""
    parts = urlsplit(source)
    if source == STDIN:
        return "standard input"
    if not (parts.scheme and parts.netloc):
        return source
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def stem(source: str) -> str:
    """Name of a source without folder and suffixes."""
    return PurePosixPath(_path(source)).name.partition(".")[0]


def _path(source: str) -> str:
    parts = urlsplit(source)
    return parts.path if parts.scheme and parts.netloc else Path(source).as_posix()


@contextmanager
def _opened(source: str) -> Generator[IO[bytes]]:
    if source == STDIN:
        yield sys.stdin.buffer
        return
    with tempfile.TemporaryFile() as copy:
        _fetch(source, copy)
        copy.seek(0)
        yield copy


def _fetch(source: str, into: IO[bytes]) -> None:
    import fsspec  # pyright: ignore[reportMissingTypeStubs]

    remote: Any = fsspec.open
    try:
        with remote(source, "rb", compression="infer") as file:
            shutil.copyfileobj(file, into)
    except ImportError as error:
        raise SettingsError(f"to read {display(source)}: {error} (with pip install)") from error
    except OSError as error:
        raise SettingsError(f"cannot read {display(source)}: {error.strerror or error}") from error
    except Exception as error:  # each of its file systems raises errors of its own
        raise SettingsError(f"cannot read {display(source)}: {error}") from error


def _asks(text: TextIOWrapper, source: str) -> Iterator[Located]:
    lines = enumerate(text, 1)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        raise SettingsError(f"there is no prompt in {display(source)}")
    lines = chain([first], lines)
    match _format(source, first[1]):
        case "jsonl":
            yield from _of_json(lines, display(source))
        case "text":
            yield from _of_text(lines, display(source))
        case "csv":
            yield from _of_table(lines, display(source), ",")
        case "tsv":
            yield from _of_table(lines, display(source), "\t")


def _format(source: str, first: str) -> Format:
    """By the suffix, where it is known; else by the first line that is not blank."""
    suffixes = [suffix for suffix in PurePosixPath(_path(source)).suffixes if suffix.lower() not in _COMPRESSED]
    known = _FORMATS.get(suffixes[-1].lower()) if suffixes else None
    return known or ("jsonl" if first.lstrip().startswith("{") else "text")


def _of_json(lines: Iterable[tuple[int, str]], source: str) -> Iterator[Located]:
    for number, line in lines:
        if line.strip():
            where = f"line {number} of {source}"
            yield _located(_object(line, where), where)


def _object(line: str, where: str) -> Mapping[str, Any]:
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{where} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{where} is no JSON object with a prompt")
    return {str(name): value for name, value in found.items() if value is not None}


def _of_text(lines: Iterable[tuple[int, str]], source: str) -> Iterator[Located]:
    for number, line in lines:
        if line.strip():
            yield Ask(prompt=line.strip()), f"line {number} of {source}"


def _of_table(lines: Iterable[tuple[int, str]], source: str, delimiter: str) -> Iterator[Located]:
    reader = csv.DictReader((line for _, line in lines), delimiter=delimiter, restkey="", strict=True)
    try:
        if "prompt" not in (names := reader.fieldnames or ()):
            raise SettingsError(f"{source} has no column 'prompt', but {', '.join(names)}")
        for number, row in enumerate(reader, 1):
            where = f"row {number} of {source}"
            if "" in row:
                raise SettingsError(f"{where} has more cells than the first line has names")
            yield _located({name: cell for name, cell in row.items() if cell or name == "prompt"}, where)
    except csv.Error as error:
        raise SettingsError(f"{source} is no CSV after line {reader.line_num}: {error}") from error


def _located(given: Mapping[str, Any], where: str) -> Located:
    try:
        return ask_of(given), where
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error


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
        while (candidate := self._numbered(id)) in self._places:
            self._again[id] = self._again.get(id, 1) + 1
        return candidate

    def _numbered(self, id: str) -> str:
        number = self._again.get(id)
        return id if number is None else f"{id}-{number}"


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
