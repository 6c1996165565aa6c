"""Checkpoints, in SQLite in the run folder or on a Postgres server, and the cache of tasks' results."""

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
"""Saves a run's state, so that it can be resumed, rewound and forked."""

FILE = "checkpoints.sqlite"
"""In the run folder."""
COLUMNS = "SELECT thread_id, checkpoint_ns, checkpoint_id, checkpoint, metadata FROM checkpoints"
"""A query of ``FILE`` that fails if it is not usable."""
CACHE = "cache.sqlite"
"""Results of tasks: answers of models, and records of images."""
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, sqlite3.DatabaseError)
"""Errors of langgraph for damaged checkpoints and results."""

STATE_TYPES = (Advice, Attempt, Comparison, ConceptGraph, Critique, Decision, ImageRecord, Population, Ruling)
"""The only types, beside plain data, that are read from a checkpoint or a cache, so that no file can run code."""


class _Strict(JsonPlusSerializer):
    """Refuses the older encoding, which can name classes of LangChain and secrets of the environment."""

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        if data[0] == "json":
            raise SettingsError("the checkpoints or the cache of this run were not written by DetailScribe")
        return super().loads_typed(data)


def serializer() -> JsonPlusSerializer:
    """Reads only ``STATE_TYPES``; other types that it writes are errors."""
    return _Strict(allowed_msgpack_modules=STATE_TYPES)


class TaskCache(SqliteCache[Any]):
    """A file of tasks' results, which several runs of a process may share."""

    def __init__(self, path: Path, *about: str) -> None:
        """``about``: what the results depend on beside their keys."""
        mend_database(path, "SELECT ns, key, expiry, encoding, val FROM cache")
        try:
            super().__init__(path=str(path), serde=serializer())
            # With the write-ahead log a kill loses nothing; a power cut may lose the last results.
            self._conn.execute("PRAGMA synchronous=NORMAL")
        except sqlite3.Error as error:
            raise SettingsError(f"{path} cannot be used: {error}") from error
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._namespace = ("results", *about)

    async def once(self, key: str, work: Callable[[], Awaitable[R]]) -> R:
        """The cached result, or that of ``work``; concurrent callers of one key wait. A new result is written before
        the event loop continues, so that a kill can hardly come between."""
        full_key: FullKey = (self._namespace, key)
        async with self._locks.setdefault(key, asyncio.Lock()):
            try:
                cached = self.get([full_key])
            except UNREADABLE as error:
                if disk_is_full(error):
                    raise
                _log.warning("a result in %s cannot be read, and is made anew: %s", CACHE, error)
                cached = {}
            if full_key not in cached:
                cached[full_key] = await work()
                try:
                    self.set({full_key: (cached[full_key], None)})
                except sqlite3.OperationalError as error:
                    raise SettingsError(f"{CACHE} cannot be written: {error}") from error
            return cached[full_key]

    def close(self) -> None:
        """Close the file."""
        self._conn.close()


def problem_of(path: Path, query: str) -> str | None:
    """What is damaged in an existing database, if anything; ``query`` reads the columns that it needs.
    ``SettingsError`` if it cannot be opened for another reason."""
    if not path.is_file():
        return f"{path} is no file" if os.path.lexists(path) else None
    try:
        with closing(sqlite3.connect(path)) as connection:
            [(damage,)] = connection.execute("PRAGMA quick_check(1)")
            if damage == "ok":
                connection.execute(f"{query} LIMIT 1").fetchall()
                return None
    except UnicodeDecodeError as error:  # in a message of SQLite
        damage = str(error)
    except sqlite3.DatabaseError as error:
        codes = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        if getattr(error, "sqlite_errorcode", 1) not in codes:
            raise SettingsError(f"{path} cannot be used: {error}") from error
        damage = None if "no such table" in str(error) else str(error)
    return damage and f"{path} is damaged ({damage})"


def mend_database(path: Path, query: str) -> None:
    """Rename a damaged database, and remove its log."""
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
    if where == "sqlite":
        import aiosqlite
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        mend_database(store.path(FILE), COLUMNS)
        try:
            async with aiosqlite.connect(store.path(FILE)) as connection:
                yield AsyncSqliteSaver(connection, serde=serializer())
        except sqlite3.OperationalError as error:
            raise SettingsError(f"the databases in {store.root} cannot be used: {error}") from error
        return
    try:
        postgres: Any = import_module("langgraph.checkpoint.postgres.aio")
        driver: Any = import_module("psycopg")
    except ImportError as error:
        raise SettingsError('checkpoints on a Postgres server need pip install "detailscribe[postgres]"') from error
    try:
        async with postgres.AsyncPostgresSaver.from_conn_string(where, serde=serializer()) as saver:
            # If two processes create the tables at once, one fails, and succeeds when it tries again.
            retry, stop = retry_if_exception_type(driver.Error), stop_after_attempt(5)
            await AsyncRetrying(retry=retry, stop=stop, wait=wait_random(0, 0.5), reraise=True)(saver.setup)
            yield saver
    except driver.OperationalError as error:
        raise SettingsError(f"the checkpoints on {where} cannot be used: {error}") from error


def check_version(version: int, what: str) -> None:
    """Refuse a state of another version; ``what`` names it in the message."""
    if version != STATE_VERSION:
        raise SettingsError(
            f"{what} was made by another version of DetailScribe (state {version}, this one reads {STATE_VERSION}):"
            " resume it with the version that its manifest.json names"
        )
