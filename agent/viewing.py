"""Runs in a browser while they go on: ``detailscribe view``, a server for this machine alone unless told otherwise."""

import asyncio
import json
import secrets
import shutil
from collections.abc import AsyncGenerator, Callable
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
from .records.events import TraceError, read_events
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
"""Seconds between two looks at the files."""
FIRST_ROWS = 0.7
"""Seconds that the first page waits for runs to be read; the others come as they are."""
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


class Index:
    """The runs of a folder, each read again only where its trace has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = 0
        """Raised with every change."""
        self.is_whole = False
        """Whether every run was read."""
        self.rows: dict[Path, dict[str, Any]] = {}
        self._stamps: dict[Path, object] = {}
        self._busy = Lock()

    def look(self) -> None:
        """Read what is new; a second caller meanwhile returns at once."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            found = runs_in(self.folder)
            for gone in self.rows.keys() - set(found):
                del self.rows[gone]
                self.version += 1
            for run in found:
                with suppress(OSError):
                    stamp, known = stamp_of(run), self.rows.get(run)
                    if known and known["state"] not in ("running", "paused") and self._stamps[run] == stamp:
                        continue
                    row = self._row(run)
                    self.version += row != known
                    self.rows[run], self._stamps[run] = row, stamp
            self.is_whole = True
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
    """Where a picture of the run at a place is, no larger than it is shown; relative to the gallery."""
    url = f"file/{quote(place)}/{quote(image.path)}"
    return url if is_small(image) else f"{url}?side={side}"


def stamp_of(run: Path) -> str:
    """Other whenever the trace, the notes or the previews of a run have changed."""
    stats = [path.stat() for path in (run / EVENTS, run / NOTES, run / PREVIEWS) if path.exists()]
    return "-".join(f"{one.st_mtime_ns}.{one.st_size}" for one in stats)


def batches_in(folder: Path) -> list[dict[str, Any]]:
    """How far each batch and experiment in a folder is, and when it will end at its pace so far."""
    found: list[dict[str, Any]] = []
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
            found.append({"place": place, "rows": len(lines), "total": total, "words": words.removeprefix(", ")})
    return found


class Viewer:
    """The pages of one folder.

    Whatever changes anything has to come with the ``token``. ``hosts`` are the names under which a browser may reach
    the server, with their port; empty for any.
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
        """Answers requests of our own pages alone: a foreign page that a browser shows can neither read nor write."""

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
                made: Response = await work(request)
            except ValidationError as error:
                return JSONResponse({"error": first_problem(error)}, 400, HEADERS)
            except (SettingsError, ValueError) as error:
                return JSONResponse({"error": str(error)}, 400 if changes else 404, HEADERS)
            made.headers.update(HEADERS if "cache-control" not in made.headers else {})
            return made

        return answer

    def _run(self, place: str) -> RecordedRun:
        """The run at a place in the folder; ``SettingsError`` if there is none, or it leads out of the folder."""
        folder = Store(self.folder).path(place)
        if not is_run(folder):
            raise TraceError(f"there is no run {place!r:.80}")
        return read_run(folder)

    async def gallery(self, request: Request) -> Response:
        """Every run, as a table and a gallery."""
        look = asyncio.create_task(asyncio.to_thread(self.index.look))
        await asyncio.wait([look], timeout=FIRST_ROWS)
        seen = self.index.version
        rows = [row for _, row in sorted(self.index.rows.items())]
        note = "" if self.index.is_whole else f"Reading further runs; {len(rows)} so far"
        batches = await asyncio.to_thread(batches_in, self.folder)
        return HTMLResponse(collection_page(self.folder.name, rows, {"seen": seen, "note": note, "batches": batches}))

    async def run(self, request: Request) -> Response:
        """One run, as it is now."""
        return HTMLResponse(await asyncio.to_thread(self._run_page, request.path_params["place"]))

    def _run_page(self, place: str) -> str:
        seen = stamp_of(Store(self.folder).path(place))
        run = self._run(place)
        up = "../" * (place.count("/") + 1)
        live: dict[str, Any] = {"token": self.token, "place": quote(place), "up": up, "status": live_status(run)}
        live["seen"] = seen
        live |= {"notes": read_notes(run.folder), "bounds": bounds_of(run)}
        live["doing"] = next((words for event in reversed(run.events) if (words := sentence(event))), "")
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
        own = next((above for above in path.parents if is_run(above)), None)
        if path.suffix != ".png" or not path.is_file() or own is None or not leads_inside(path, own):
            raise TraceError("there is no such picture")
        keep = {"Cache-Control": "private, max-age=3600"}
        if side is None:
            try:
                data = await asyncio.to_thread(path.read_bytes)  # at once: a preview may be replaced meanwhile
            except FileNotFoundError as error:
                raise TraceError("there is no such picture") from error
            return Response(data, media_type="image/png", headers=keep)
        wanted = min((CARD, 2 * THUMBNAIL, THUMBNAIL), key=lambda known: abs(known - int(side)))
        data = await asyncio.to_thread(small_picture, path, path.stat().st_mtime_ns, wanted)
        return Response(data, media_type="image/jpeg", headers=keep)

    async def events(self, request: Request) -> Response:
        """What happens, as server-sent events: the last line of a run's trace in words, or that the gallery changed;
        with ``seen``, the state that a page shows, also what happened since."""
        place = request.query_params.get("run")
        folder = self._run(place).folder if place is not None else None

        async def stream() -> AsyncGenerator[str]:
            seen = request.query_params.get("seen")
            is_open = False
            # A run's folder may be removed or spoilt while it is watched; asked anew, the browser is told so.
            with ExitStack() as previews, suppress(SettingsError, OSError):
                while not await request.is_disconnected():
                    if folder is None:
                        await asyncio.to_thread(self.index.look)
                        now, words = str(self.index.version), f"{len(self.index.rows)} runs"
                    else:
                        now, words = await asyncio.to_thread(_latest, folder, previews)
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
        """Keep a note about a run, or ask something of one that goes on."""
        kind, place, data = request.path_params["kind"], request.path_params["place"], await request.body()
        if kind == "note":
            await asyncio.to_thread(add_note, self._run(place), Note.model_validate_json(data))
        elif kind == "steer":
            await asyncio.to_thread(instruct, self._run(place), Instruction.model_validate_json(data))
        else:
            raise SettingsError(f"nothing here is called {kind!r:.40}")
        return JSONResponse({"done": True})


def bounds_of(run: RecordedRun) -> list[tuple[str, float, float | None]]:
    """Each dimension of a run's budget: its name, what was spent of it, and its bound, if any."""
    spent = {"rounds": max((image.round for image in run.images.values()), default=0), **run.spend.model_dump()}
    return [(name, spent[name], bound) for name, bound in run.budget.model_dump().items()]


def _latest(folder: Path, previews: ExitStack) -> tuple[str, str]:
    """What changes with a run, and the last thing that it says; while it goes on it is asked for previews."""
    if is_at_work(folder):
        with suppress(OSError):  # another page asks for them, or the folder is not ours to write
            (folder / PREVIEWS).mkdir()
            previews.callback(shutil.rmtree, folder / PREVIEWS, ignore_errors=True)
    else:
        previews.close()
    stamp = stamp_of(folder)
    events = read_events(folder / EVENTS)
    return stamp, next((words for event in reversed(events) if (words := sentence(event))), "")


@lru_cache(2000)
def small_picture(path: Path, changed: int, side: int) -> bytes:
    """A picture as a small JPEG, as the file was at that time."""
    return shrunk(path.read_bytes(), side)


def serve(folder: Path, host: str, port: int, ready: Callable[[], None]) -> None:
    """Serve a folder's pages until Ctrl-C, after a call of ``ready``; ``SettingsError`` if there is no such folder."""
    if not folder.is_dir():
        raise SettingsError(f"there is no folder {folder}")
    own = host in ("127.0.0.1", "::1", "localhost")
    hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")) if own else frozenset[str]()
    viewer = Viewer(folder, secrets.token_urlsafe(24), hosts)
    ready()
    uvicorn.run(viewer.app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=1)
