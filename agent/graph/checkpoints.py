"""Where the state of a run is kept: SQLite in its folder, or a Postgres server."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ...state import (
    STATE_VERSION,
    Advice,
    Comparison,
    ConceptGraph,
    Critique,
    Decision,
    ImageRecord,
    Population,
    Ruling,
)
from ...tools.errors import SettingsError
from ...tools.roles import GenerateRequest, RedenoiseRequest
from ...tools.store import Store

if TYPE_CHECKING:
    from .graph import Checkpointer

FILE = "checkpoints.sqlite"
"""In the run folder."""
TABLES_LOCK = 0x44455441494C
"""Key of the advisory lock on a Postgres server that who makes the tables holds."""

STATE_TYPES = (
    Advice,
    Comparison,
    ConceptGraph,
    Critique,
    Decision,
    GenerateRequest,
    ImageRecord,
    Population,
    RedenoiseRequest,
    Ruling,
)
"""Everything that a checkpoint of ours holds beside plain data. Nothing else is made from one, so that a file of
unknown origin cannot run code."""


def serializer() -> JsonPlusSerializer:
    """Strict both ways: of what is read, only ``STATE_TYPES`` become objects; what cannot be written is an error."""
    return JsonPlusSerializer(allowed_msgpack_modules=STATE_TYPES)


@asynccontextmanager
async def checkpoints_of(where: str, store: Store) -> AsyncGenerator["Checkpointer"]:
    """The checkpointer that a setting names: ``sqlite``, ``off``, or the URL of a Postgres server.

    Raises:
        SettingsError: the server cannot be used, or its driver is not installed.
    """
    if where == "off":
        yield None
    elif where == "sqlite":
        async with _sqlite(store) as saver:
            yield saver
    else:
        async with _postgres(where) as saver:
            yield saver


@asynccontextmanager
async def _sqlite(store: Store) -> AsyncGenerator["Checkpointer"]:
    import aiosqlite
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with aiosqlite.connect(store.path(FILE)) as connection:
        yield AsyncSqliteSaver(connection, serde=serializer())


@asynccontextmanager
async def _postgres(url: str) -> AsyncGenerator["Checkpointer"]:
    try:
        postgres: Any = import_module("langgraph.checkpoint.postgres.aio")
        driver: Any = import_module("psycopg")
    except ImportError as error:
        raise SettingsError('checkpoints on a Postgres server need pip install "detailscribe[postgres]"') from error
    try:
        async with postgres.AsyncPostgresSaver.from_conn_string(url, serde=serializer()) as saver:
            await _make_tables(saver)
            yield saver
    except driver.OperationalError as error:
        raise SettingsError(f"the checkpoints on {url} cannot be used: {error}") from error


async def _make_tables(saver: Any) -> None:
    """Where they are missing; one process at a time, since of two that make the same ones at once, one fails."""
    async with saver.conn.cursor() as cursor:
        await _lock(cursor)  # held by the connection, whose end gives it back where this fails
        await saver.setup()
        await cursor.execute("SELECT pg_advisory_unlock(%s)", (TABLES_LOCK,))


async def _lock(cursor: Any) -> None:
    """Ask again and again, since a statement that waits for the lock would keep its holder from making an index."""
    while True:
        await cursor.execute("SELECT pg_try_advisory_lock(%s) AS ours", (TABLES_LOCK,))
        if (await cursor.fetchone())["ours"]:
            return
        await asyncio.sleep(0.05)


def check_version(found: int, what: str) -> None:
    """Refuse the state of another version; ``what`` says whose it is."""
    if found != STATE_VERSION:
        raise SettingsError(
            f"{what} was left by another DetailScribe (state of version {found}, this one goes on from"
            f" {STATE_VERSION}): resume it with the version that its manifest.json names"
        )
