"""Talks to a program that scores images, one JSON object a line over its standard streams.

    it says   {"ready": true, "model": "ImageReward-v1.0"}      or  {"error": "..."}
    we say    {"id": 0, "image": "/path/to.png", "prompt": "..."}
    it says   {"id": 0, "score": 0.81}                           or  {"id": 0, "error": "..."}

It ends when its input ends.
"""

import asyncio
import json
import math
import os
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import ModelError

_GRACE = 5
"""Seconds that it has to end when its input has."""
_LAST = 300
"""Characters of a worker's last words that are shown."""
_LONGEST = 2**20
"""Bytes of a line."""


@dataclass(frozen=True)
class Worker:
    """A program that is ready."""

    process: asyncio.subprocess.Process
    errors: IO[bytes]
    """What it says beside the protocol."""
    seconds: float
    """That one answer may take."""
    model: str
    """As it names itself."""

    async def ask(self, id: int, image: Path, prompt: str) -> tuple[float | None, str]:
        """The score of an image and "", or None and why there is none; ``ModelError`` if the program has ended."""
        stdin = self.process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps({"id": id, "image": str(image), "prompt": prompt}).encode() + b"\n")
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ModelError(f"the scoring program has ended: {_last_words(self.errors)}") from error
        said = await _line(self.process, self.errors, self.seconds)
        if said.get("id") != id:
            raise ModelError(f"the scoring program answered {said.get('id')!r} when it was asked {id}")
        score = said.get("score")
        if isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score):
            return float(score), ""
        return None, str(said.get("error") or "the scoring program gave no number")


@asynccontextmanager
async def started(command: Sequence[str], *, patience: float, seconds: float) -> AsyncGenerator[Worker]:
    """A worker, ended with the block.

    Args:
        command: The program with its arguments.
        patience: Seconds until it must be ready; it may have weights to fetch.
        seconds: That one answer may take.

    Raises:
        ModelError: it cannot be started, says an error, or says nothing in time.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    with tempfile.TemporaryFile() as errors:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=inherited,
                limit=_LONGEST,
            )
        except OSError as error:
            raise ModelError(f"the scoring program cannot be started: {error}") from error
        try:
            ready = await _line(process, errors, patience)
            if not ready.get("ready"):
                raise ModelError(f"the scoring program is not ready: {ready.get('error') or ready}")
            yield Worker(process, errors, seconds, str(ready.get("model", "")))
        finally:
            await _end(process)


async def _line(process: asyncio.subprocess.Process, errors: IO[bytes], seconds: float) -> dict[str, Any]:
    """The next object that it says; lines that are none are passed over, since libraries print what they like."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(seconds):
            while line := await process.stdout.readline():
                try:
                    said = json.loads(line)
                except ValueError:
                    continue
                if isinstance(said, dict):
                    return said
    except TimeoutError as error:
        raise ModelError(f"the scoring program said nothing within {seconds:g} s") from error
    raise ModelError(f"the scoring program has ended: {_last_words(errors)}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close its input, and kill it if that is not enough."""
    if process.returncode is None and process.stdin is not None:
        process.stdin.close()
        try:
            async with asyncio.timeout(_GRACE):
                await process.wait()
        except TimeoutError:
            process.kill()
    await process.wait()


def _last_words(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1][-_LAST:] if lines else "it left no word"
