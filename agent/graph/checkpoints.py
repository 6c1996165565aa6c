"""Where the state of a run is kept: SQLite in its folder, or a Postgres server."""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from langgraph.cache.base import FullKey
from langgraph.cache.sqlite import SqliteCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random

from ...state import (
    STATE_VERSION,
    Advice,
    Attempt,
    Comparison,
    ConceptGraph,
    Critique,
    Decision,
    ImageRecord,
    Population,
    Ruling,
)
from ...tools.errors import SettingsError, disk_is_full
from ...tools.files import Store, set_aside

R = TypeVar("R")

_log = logging.getLogger(__name__)

Checkpointer = BaseCheckpointSaver[Any] | None
"""Where a run's state is kept, so that it can be resumed, rewound and forked."""

FILE = "checkpoints.sqlite"
"""In the run folder."""
COLUMNS = "SELECT thread_id, checkpoint_ns, checkpoint_id, checkpoint, metadata FROM checkpoints"
"""Of ``FILE``, those without which it is of no use."""
CACHE = "cache.sqlite"
"""Results of tasks: what models answered, and the images that were drawn."""
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, sqlite3.DatabaseError)
"""What langgraph raises for a checkpoint or a result of noise."""

STATE_TYPES = (Advice, Attempt, Comparison, ConceptGraph, Critique, Decision, ImageRecord, Population, Ruling)
"""Everything that a checkpoint or a cache of ours holds beside plain data. Nothing else is made from one, so that a
file of unknown origin cannot run code."""


class _Strict(JsonPlusSerializer):
    """Reads nothing in the older encoding, which can name classes of LangChain and secrets of the environment."""

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        if data[0] == "json":
            raise SettingsError("the checkpoints or the cache of this run were not written by DetailScribe")
        return super().loads_typed(data)


def serializer() -> JsonPlusSerializer:
    """Strict both ways: what is read becomes only ``STATE_TYPES``, and what cannot be written is an error."""
    return _Strict(allowed_msgpack_modules=STATE_TYPES)


class TaskCache(SqliteCache[Any]):
    """Results of tasks in a file; several runs of a process may share it."""

    def __init__(self, path: Path, *about: str) -> None:
        """``about``: on what the results depend beside their keys."""
        mend_database(path, "SELECT ns, key, expiry, encoding, val FROM cache")
        try:
            super().__init__(path=str(path), serde=serializer())
            # In the write-ahead log a kill loses nothing; a power cut may lose the last results.
            self._conn.execute("PRAGMA synchronous=NORMAL")
        except sqlite3.Error as error:
            raise SettingsError(f"{path} cannot be used: {error}") from error
        self._asked: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._namespace = ("results", *about)

    async def once(self, key: str, work: Callable[[], Awaitable[R]]) -> R:
        """What ``work`` gives, or gave before for the same key, to whichever run; callers that come meanwhile wait. It
        is recorded before anything else on the event loop goes on, so that hardly a kill comes between a result and its
        record."""
        place: FullKey = (self._namespace, key)
        async with self._asked.setdefault(key, asyncio.Lock()):
            try:
                known = self.get([place])
            except UNREADABLE as error:
                if disk_is_full(error):
                    raise
                _log.warning("a result in %s cannot be read, and is made anew: %s", CACHE, error)
                known = {}
            if place not in known:
                known[place] = await work()
                try:
                    self.set({place: (known[place], None)})
                except sqlite3.OperationalError as error:
                    raise SettingsError(f"{CACHE} cannot be written: {error}") from error
            return known[place]

    def close(self) -> None:
        """Close the file."""
        self._conn.close()


def problem_of(path: Path, query: str) -> str | None:
    """What is wrong with a database that is there, if anything; ``query`` reads the columns that it should have. One
    that cannot be opened for another reason than that it is damaged is a ``SettingsError``."""
    if not path.is_file():
        return f"{path} is no file" if os.path.lexists(path) else None
    try:
        with closing(sqlite3.connect(path)) as connection:
            [(found,)] = connection.execute("PRAGMA quick_check(1)")
            if found == "ok":
                connection.execute(f"{query} LIMIT 1").fetchall()
                return None
    except UnicodeDecodeError as error:  # of SQLite's words about what it found
        found = str(error)
    except sqlite3.DatabaseError as error:
        damage = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        if getattr(error, "sqlite_errorcode", 1) not in damage:
            raise SettingsError(f"{path} cannot be used: {error}") from error
        found = None if "no such table" in str(error) else str(error)
    return found and f"{path} is damaged ({found})"


def mend_database(path: Path, query: str) -> None:
    """Set a damaged database aside, with its log."""
    if problem := problem_of(path, query):
        set_aside(path, problem)
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)


@asynccontextmanager
async def checkpoints_of(where: str, store: Store) -> AsyncGenerator[Checkpointer]:
    """The checkpointer that a setting names: ``sqlite``, ``off``, or the URL of a Postgres server."""
    if where == "off":
        yield None
        return
    if where != "sqlite":
        async with _postgres(where) as saver:
            yield saver
        return
    import aiosqlite
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    mend_database(store.path(FILE), COLUMNS)
    try:
        async with aiosqlite.connect(store.path(FILE)) as connection:
            yield AsyncSqliteSaver(connection, serde=serializer())
    except sqlite3.OperationalError as error:
        raise SettingsError(f"the databases in {store.root} cannot be used: {error}") from error


@asynccontextmanager
async def _postgres(url: str) -> AsyncGenerator[Checkpointer]:
    try:
        postgres: Any = import_module("langgraph.checkpoint.postgres.aio")
        driver: Any = import_module("psycopg")
    except ImportError as error:
        raise SettingsError('checkpoints on a Postgres server need pip install "detailscribe[postgres]"') from error
    try:
        async with postgres.AsyncPostgresSaver.from_conn_string(url, serde=serializer()) as saver:
            # Of two processes that make the tables at once, one fails, and finds them made when it tries again.
            retried, some = retry_if_exception_type(driver.Error), stop_after_attempt(5)
            await AsyncRetrying(retry=retried, stop=some, wait=wait_random(0, 0.5), reraise=True)(saver.setup)
            yield saver
    except driver.OperationalError as error:
        raise SettingsError(f"the checkpoints on {url} cannot be used: {error}") from error


def check_version(found: int, what: str) -> None:
    """Refuse the state of another version; ``what`` says whose it is."""
    if found != STATE_VERSION:
        raise SettingsError(
            f"{what} was made by another version of DetailScribe (state {found}, this one reads {STATE_VERSION}):"
            " resume it with the version that its manifest.json names"
        )
