"""``detailscribe view``: a server that shows runs in a browser while they go on, by default for this machine alone."""

import asyncio
import json
import secrets
import shutil
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from os.path import relpath
from pathlib import Path
from threading import Lock
from time import time_ns
from typing import Any
from urllib.parse import quote, urlsplit

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ..state import ImageRecord
from ..tools.errors import SettingsError, first_problem
from ..tools.files import PREVIEWS, Store, leads_inside, read_lines
from .records.events import Event, TraceError, read_events
from .records.notes import NOTES, Note, add_note, read_notes
from .records.reader import EVENTS, RecordedRun, is_run, read_run, runs_in
from .records.rows import PLAN, RESULTS, Plan
from .runs.folder import is_at_work
from .runs.steering import Instruction, instruct, live_status
from .views.comparison import compare_page
from .views.gallery import collection_page, row_of
from .views.live import sentence
from .views.pages import CARD, THUMBNAIL, Picture, filled, is_small, shrunk
from .views.report import page_of
from .views.words import duration

POLL = 0.5
"""Seconds between two reads of the files."""
FIRST_ROWS = 0.7
"""Seconds that the first page waits for runs to be read."""
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


class Index:
    """A row for each run of a folder, read again only if its files have changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = 0
        """Incremented with every change."""
        self.is_complete = False
        """Whether every run was read."""
        self.rows: dict[Path, dict[str, Any]] = {}
        self._stamps: dict[Path, object] = {}
        self._busy = Lock()

    def update(self) -> None:
        """Read what has changed; a second caller at the same time returns at once."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            runs = runs_in(self.folder)
            for missing in self.rows.keys() - set(runs):
                del self.rows[missing]
                self.version += 1
            for run in runs:
                with suppress(OSError):
                    stamp, old = stamp_of(run), self.rows.get(run)
                    if old and old["state"] not in ("running", "paused") and self._stamps[run] == stamp:
                        continue
                    row = self._row(run)
                    self.version += row != old
                    self.rows[run], self._stamps[run] = row, stamp
            self.is_complete = True
        finally:
            self._busy.release()

    def _row(self, folder: Path) -> dict[str, Any]:
        place = relpath(folder, self.folder)
        row = row_of(folder, place, lambda image: picture_url(place, image, 2 * THUMBNAIL))
        row["link"] = f"run/{quote(place)}"
        if row["state"] == "unfinished":
            with suppress(SettingsError):
                row["state"] = live_status(read_run(folder))
        return row


def picture_url(place: str, image: ImageRecord, side: int) -> str:
    """The URL of a picture, no larger than it is shown, relative to the gallery; ``place`` is that of its run."""
    url = f"file/{quote(place)}/{quote(image.path)}"
    return url if is_small(image) else f"{url}?side={side}"


def stamp_of(run: Path) -> str:
    """Changes with the trace, the notes and the previews of a run."""
    stats = [path.stat() for path in (run / EVENTS, run / NOTES, run / PREVIEWS) if path.exists()]
    return "-".join(f"{stat.st_mtime_ns}.{stat.st_size}" for stat in stats)


def batches_in(folder: Path) -> list[dict[str, Any]]:
    """The progress of each batch and experiment in a folder, and when it will end at its pace so far."""
    batches: list[dict[str, Any]] = []
    for path in sorted(folder.rglob(RESULTS)):
        with suppress(SettingsError, ValueError):
            lines = [json.loads(line) for line in read_lines(path)]
            failed = sum(line.get("status") == "failed" for line in lines)
            words, total, now = f"{failed} failed" if failed else "", len(lines), datetime.now(UTC)
            with suppress(FileNotFoundError, ValidationError):
                plan = Plan.model_validate_json((path.parent / PLAN).read_bytes())
                total = max(plan.jobs, total)
                left = plan.remaining(len(lines), now)
                if len(lines) < total and not is_at_work(path.parent):
                    words += ", stopped"
                elif len(lines) < total and left is not None:
                    end = (now + timedelta(seconds=left)).astimezone()
                    words += f", about {duration(left, rough=True)} left, until {end:%d %b %H:%M}"
            place = relpath(path.parent, folder)
            batches.append({"place": place, "rows": len(lines), "total": total, "words": words.removeprefix(", ")})
    return batches


class Viewer:
    """The pages of one folder.

    Requests that change anything need the ``token``. ``hosts`` are the names and ports under which a browser may reach
    the server; empty for any.
    """

    def __init__(self, folder: Path, token: str, hosts: frozenset[str]) -> None:
        self.folder, self.token, self.hosts = folder.resolve(), token, hosts
        self.index = Index(self.folder)

    @property
    def app(self) -> Starlette:
        """The server."""
        pages = {
            "/": self.gallery,
            "/events": self.events,
            "/compare": self.compare,
            "/run/{place:path}": self.run,
            "/file/{place:path}": self.file,
        }
        routes = [Route(path, self._guarded(work)) for path, work in pages.items()]
        return Starlette(routes=[*routes, Route("/{kind}/{place:path}", self._guarded(self.change), methods=["POST"])])

    def _guarded(self, work: Any) -> Any:
        """A handler for requests of our own pages alone: pages of other sites can neither read nor write."""

        async def answer(request: Request) -> Response:
            host, origin = request.headers.get("host", ""), request.headers.get("origin")
            if self.hosts and host not in self.hosts:
                return PlainTextResponse("this server answers to its own name alone", 403, HEADERS)
            if origin is not None and urlsplit(origin).netloc != host:
                return PlainTextResponse("only the pages of this server may ask it", 403, HEADERS)
            changes = request.method == "POST"
            if changes and not secrets.compare_digest(request.headers.get("x-token", "").encode(), self.token.encode()):
                return PlainTextResponse("the token is missing: open the page anew", 403, HEADERS)
            try:
                response: Response = await work(request)
            except ValidationError as error:
                return JSONResponse({"error": first_problem(error)}, 400, HEADERS)
            except (SettingsError, ValueError) as error:
                return JSONResponse({"error": str(error)}, 400 if changes else 404, HEADERS)
            response.headers.update(HEADERS if "cache-control" not in response.headers else {})
            return response

        return answer

    def _run(self, place: str) -> RecordedRun:
        """The run at a place in the folder; ``SettingsError`` if there is none, or if it leads out of the folder."""
        folder = Store(self.folder).path(place)
        if not is_run(folder):
            raise TraceError(f"there is no run {place!r:.80}")
        return read_run(folder)

    async def gallery(self, request: Request) -> Response:
        """Every run, as a table and a gallery."""
        update = asyncio.create_task(asyncio.to_thread(self.index.update))
        await asyncio.wait([update], timeout=FIRST_ROWS)
        live: dict[str, Any] = {"seen": self.index.version}
        rows = [row for _, row in sorted(self.index.rows.items())]
        live["note"] = "" if self.index.is_complete else f"Reading further runs; {len(rows)} so far"
        live["batches"] = await asyncio.to_thread(batches_in, self.folder)
        return HTMLResponse(collection_page(self.folder.name, rows, live))

    async def run(self, request: Request) -> Response:
        """One run, as it is now."""
        return HTMLResponse(await asyncio.to_thread(self._run_page, request.path_params["place"]))

    def _run_page(self, place: str) -> str:
        stamp = stamp_of(Store(self.folder).path(place))
        run = self._run(place)
        up = "../" * (place.count("/") + 1)
        live: dict[str, Any] = {"token": self.token, "place": quote(place), "up": up, "status": live_status(run)}
        live |= {"seen": stamp, "notes": read_notes(run.folder), "bounds": bounds_of(run), "doing": _latest(run.events)}
        live["previews"] = {
            path.stem: f"{up}file/{quote(place)}/{PREVIEWS}/{quote(path.name)}?at={time_ns()}"
            for path in sorted((run.folder / PREVIEWS).glob("[!.]*.png"))
            if path.stem not in run.images
        }
        if run.concepts is None or not run.images:
            return filled("waiting", live, run=run)

        def show(image: ImageRecord) -> Picture:
            card, small = (up + picture_url(place, image, side) for side in (CARD, THUMBNAIL))
            return Picture(card.partition("?")[0], card, small, is_small(image))

        return filled("report", live, page=page_of(run, show))

    async def file(self, request: Request) -> Response:
        """A picture of a run; with ``side``, a small one."""
        path = Store(self.folder).path(request.path_params["place"])
        side = request.query_params.get("side")
        run = next((parent for parent in path.parents if is_run(parent)), None)
        if path.suffix != ".png" or not path.is_file() or run is None or not leads_inside(path, run):
            raise TraceError("there is no such picture")
        keep = {"Cache-Control": "private, max-age=3600"}
        if side is None:
            try:
                data = await asyncio.to_thread(path.read_bytes)  # at once: a preview may be replaced meanwhile
            except FileNotFoundError as error:
                raise TraceError("there is no such picture") from error
            return Response(data, media_type="image/png", headers=keep)
        nearest = min((CARD, 2 * THUMBNAIL, THUMBNAIL), key=lambda size: abs(size - int(side)))
        data = await asyncio.to_thread(small_picture, path, path.stat().st_mtime_ns, nearest)
        return Response(data, media_type="image/jpeg", headers=keep)

    async def events(self, request: Request) -> Response:
        """Server-sent events: the latest event of a run in words, or the number of runs whenever the gallery changes.
        ``seen`` is the state that the page shows; a later one is sent at once."""
        place = request.query_params.get("run")
        folder = self._run(place).folder if place is not None else None

        async def stream() -> AsyncGenerator[str]:
            seen = request.query_params.get("seen")
            is_open = False
            # The folder may be removed or damaged meanwhile; the browser then connects again and gets an error.
            with ExitStack() as previews, suppress(SettingsError, OSError):
                while not await request.is_disconnected():
                    if folder is None:
                        await asyncio.to_thread(self.index.update)
                        now, words = str(self.index.version), f"{len(self.index.rows)} runs"
                    else:
                        now, words = await asyncio.to_thread(_watch, folder, previews)
                    if seen is not None and now != seen:
                        yield f"data: {json.dumps(words)}\n\n"
                    elif not is_open:
                        yield ": open\n\n"
                    seen, is_open = now, True
                    await asyncio.sleep(POLL)

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def compare(self, request: Request) -> Response:
        """Two runs, or two images, side by side."""
        places = [request.query_params.get(name, "") for name in ("a", "b")]
        first, second = ((self._run(run), image) for run, _, image in (place.partition("@") for place in places))
        return HTMLResponse(await asyncio.to_thread(compare_page, [(first, second)]))

    async def change(self, request: Request) -> Response:
        """Write a note about a run, or steer it."""
        kind, place, data = request.path_params["kind"], request.path_params["place"], await request.body()
        if kind == "note":
            await asyncio.to_thread(add_note, self._run(place), Note.model_validate_json(data))
        elif kind == "steer":
            await asyncio.to_thread(instruct, self._run(place), Instruction.model_validate_json(data))
        else:
            raise SettingsError(f"nothing here is called {kind!r:.40}")
        return JSONResponse({"done": True})


def bounds_of(run: RecordedRun) -> list[tuple[str, float, float | None]]:
    """The name, the amount spent and the bound, if any, of each dimension of a run's budget."""
    spent = {"rounds": max((image.round for image in run.images.values()), default=0), **run.spend.model_dump()}
    return [(name, spent[name], bound) for name, bound in run.budget.model_dump().items()]


def _latest(events: Sequence[Event]) -> str:
    """The latest event that a person need see, in words."""
    return next((words for event in reversed(events) if (words := sentence(event))), "")


def _watch(folder: Path, previews: ExitStack) -> tuple[str, str]:
    """The stamp and the latest event of a run; asks it for previews while it goes on."""
    if is_at_work(folder):
        with suppress(OSError):  # another page has asked for them, or the folder is not writable
            (folder / PREVIEWS).mkdir()
            previews.callback(shutil.rmtree, folder / PREVIEWS, ignore_errors=True)
    else:
        previews.close()
    return stamp_of(folder), _latest(read_events(folder / EVENTS))


@lru_cache(2000)
def small_picture(path: Path, changed: int, side: int) -> bytes:
    """A picture as a small JPEG; ``changed``, the time of the file, is part of the cache's key."""
    return shrunk(path.read_bytes(), side)


def serve(folder: Path, host: str, port: int, ready: Callable[[], None]) -> None:
    """Call ``ready`` and serve a folder's pages until Ctrl-C; ``SettingsError`` if there is no such folder."""
    if not folder.is_dir():
        raise SettingsError(f"there is no folder {folder}")
    own = host in ("127.0.0.1", "::1", "localhost")
    hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")) if own else frozenset[str]()
    viewer = Viewer(folder, secrets.token_urlsafe(24), hosts)
    ready()
    uvicorn.run(viewer.app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=1)
