"""All prompts of a batch, checked before anything is spent, and kept on the disk until their turn comes."""

import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO

from ...tools.errors import SettingsError
from .asks import Ask, Defaults
from .jobs import Job, digest, slug
from .sources import Located


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
