"""Questions that are under way at once."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


@asynccontextmanager
async def task_group() -> AsyncGenerator[asyncio.TaskGroup]:
    """An ``asyncio.TaskGroup`` that raises the first error itself, not a group around it.

    The error is fatal for the run, so its siblings are cancelled rather than paid for.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
