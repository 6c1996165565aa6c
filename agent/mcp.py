"""Drawing, checking and refining as tools of the Model Context Protocol: ``detailscribe mcp``."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from uuid import uuid4

import anyio
from mcp.server.fastmcp import Context, FastMCP, Image
from mcp.server.fastmcp.exceptions import ToolError
from mcp.server.stdio import stdio_server
from mcp.types import ContentBlock
from pydantic import Field, ValidationError

from ..state import Attempt, Budget, ConceptGraph, Critique, ImageRecord, Seed, Spend, change, derive_seed, spend_of
from ..tools.diffusion.job import read_record
from ..tools.errors import SettingsError, first_problem, mended
from ..tools.files import Store, leads_inside
from ..tools.roles import ready
from ..tools.text import check_prompt, one_line, plain, without_secrets
from .policies.policy import instruction_for
from .records.events import Denoising, Event
from .records.reader import EVENTS, RecordedRun, is_run, read_run, runs_in
from .runs.folder import new_run_id
from .runs.run import arun, context
from .settings.loading import Given
from .views.live import sentence
from .views.pages import CARD, shrunk
from .views.terminal import as_data

Call = Context[Any, Any, Any]
"""The protocol's context of a call."""
Shows = Annotated[str | None, Field(description="What the picture should show; by default what its run was asked for.")]
Picture = Annotated[str, Field(description="Path of the image's PNG, as a tool returned it.")]
PATIENCE = 5.0
"""Seconds that a call waits for a client that does not read its progress."""

_log = logging.getLogger(__name__)


class Server(FastMCP):
    """The tools over one folder, outside of which nothing is read; one call runs at a time.

    The settings' budget bounds each call, and ``total`` all calls together; ``roles`` replace those of the settings.
    ``SettingsError`` if a setting or a bound is wrong.
    """

    def __init__(self, folder: Path, settings: Given, total: Mapping[str, object] | None = None, **roles: Any) -> None:
        about = "Draws prompts about things that interact, checks the drawings item by item, and refines them."
        super().__init__("detailscribe", about, log_level="WARNING")
        self.store, self.given, self.roles = Store(folder.absolute()), settings, roles
        self.context = context(settings=settings, out=self.store.root, **roles)
        try:
            self.total, self.spent = Budget.model_validate(total or {}), Spend()
        except ValidationError as error:
            raise SettingsError(f"--total {first_problem(error)}") from error
        self.busy = asyncio.Lock()
        for work in (self.draw_and_check, self.critique_image, self.refine_image, self.show_run):
            self.add_tool(work, structured_output=False)

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> Sequence[ContentBlock] | dict[str, Any]:
        """Call a tool, with errors in one line."""
        try:
            return await super().call_tool(name, arguments)
        except ToolError as error:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            if isinstance(cause, ValidationError):
                words = first_problem(cause)
            elif mendable := cause if isinstance(cause, ToolError) else mended(cause):
                words = str(mendable)
            else:
                _log.error("%s failed", name, exc_info=cause)
                words = f"this is a fault of detailscribe: {type(cause).__name__}: {cause}"
            raise ToolError(plain(without_secrets(one_line(words)))) from None

    async def draw_and_check(
        self,
        call: Call,
        prompt: Annotated[str, Field(description="What the picture should show.")],
        seed: Annotated[Seed, Field(description="Another seed gives other pictures of the same prompt.")] = 0,
        budget: Annotated[Budget | None, Field(description="Further bounds; the server's always hold.")] = None,
    ) -> list[Any]:
        """Draw a prompt, check the drawing item by item, and refine it. Returns the best image, its checks as JSON, and
        the run's name for show_run."""
        check_prompt(prompt)
        async with self._call(call) as (bounds, note):
            folder = self.store.root / new_run_id(prompt)
            bounds = bounds if budget is None else bounds.lowered(budget)
            try:
                run = await arun(
                    prompt, settings=self.given, seed=seed, budget=bounds, out=folder, on_event=note, **self.roles
                )
            finally:
                with suppress(SettingsError):  # it wrote nothing
                    self.spent += read_run(folder).spend
            facts = {"run": folder.name, "stop": run.stop, "images": len(run.images), "spend": run.spend.model_dump()}
            return self._answer(run.concepts, run.best.record, run.best.critique, Store(folder), **facts)

    async def critique_image(self, call: Call, path: Picture, prompt: Shows = None) -> list[Any]:
        """Check an image item by item. Returns it with each check's answer as JSON, and a corrected prompt."""
        async with self._call(call) as (_, note):
            image, store = self._image(path)
            concepts = await self._decompose(prompt, image, store)
            note("looking at the image")
            critique = await self._critique(image, concepts, store)
            return self._answer(concepts, image, critique, store, correction=critique.refined_prompt)

    async def refine_image(
        self,
        call: Call,
        path: Picture,
        correction: Annotated[
            str | None, Field(min_length=1, description="The words to draw from; by default the critic's.")
        ] = None,
        prompt: Shows = None,
        start_step: Annotated[
            int | None,
            Field(ge=0, description="Denoising step to start at: low (1 to 4 of 28) for the layout, high for details."),
        ] = None,
        seed: Annotated[Seed | None, Field(description="Of the noise; by default not the image's own.")] = None,
    ) -> list[Any]:
        """Correct an image: denoise it again from an early step with a corrected prompt, or edit it if a server drew
        it. Returns the new image, its checks as JSON, and which were fixed and broken; the old image stays."""
        async with self._call(call) as (_, note):
            image, store = self._image(path)
            concepts = await self._decompose(prompt, image, store)
            note("looking at the image")
            before = await self._critique(image, concepts, store)
            words, is_edit = correction or before.refined_prompt or image.prompt, image.latent is None
            start = image.steps // 7 if start_step is None else min(start_step, image.steps)
            attempt = Attempt(
                id=f"{image.round + 1:02}-{uuid4().hex[:8]}",
                round=image.round + 1,
                parent=image.id,
                prompt=instruction_for(concepts, before, words) if is_edit else words,
                source=image.id,
                operator="edit" if is_edit else "inject",
                start_step=0 if is_edit else start,
                seed=derive_seed(image.seed, "refine") if seed is None else seed,
                keep_steps=tuple(image.trajectory),
            )
            note("refining")
            refined = await (await ready(self.context.diffusion)).draw(attempt, store, source=image)
            self.spent += spend_of(None, {refined.id: refined}, {})
            note("looking at the new image")
            after = await self._critique(refined, concepts, store)
            changed = change(before, after)
            fixed, broken = ([concepts.check(id).question for id in ids] for ids in (changed.fixed, changed.broken))
            more: dict[str, object] = {"drawn_from": refined.prompt, "fixed": fixed, "broken": broken}
            return self._answer(concepts, refined, after, store, **more)

    async def show_run(
        self,
        run: Annotated[str | None, Field(description="Its name; by default that of the latest.")] = None,
        image: Annotated[str | None, Field(description="Id of the image; by default the best.")] = None,
    ) -> list[Any]:
        """Show a run: its images, checks, decisions with their reasons and cost as JSON, and one of the images."""
        recorded = self._run(run)
        shown = recorded.best if image is None else recorded.images.get(image)
        if image is not None and shown is None:
            known = ", ".join(recorded.images)
            raise SettingsError(f"there is no image {image!r:.80} in {recorded.run}; known: {known}")
        text = json.dumps(as_data(recorded))
        return [text] if shown is None else [text, self._picture(recorded.path(shown.id))]

    def _run(self, name: str | None) -> RecordedRun:
        if name is not None:
            if not is_run(folder := self.store.path(name)):
                raise SettingsError(f"there is no run {name!r:.80}; give a name that draw_and_check returned")
            return read_run(folder)
        runs = runs_in(self.store.root)
        if not runs:
            raise SettingsError("there is no run yet: make one with draw_and_check")
        return read_run(max(runs, key=lambda folder: (folder / EVENTS).stat().st_mtime_ns))

    @asynccontextmanager
    async def _call(self, call: Call) -> AsyncGenerator[tuple[Budget, Any]]:
        """Waits for the call before, and gives the bounds of this one and the function that notes its progress;
        ``SettingsError`` if nothing is left to spend."""
        async with self.busy:
            bounds = self.total.model_dump(exclude_unset=True, exclude_none=True, exclude={"rounds"})
            left = {name: bound - getattr(self.spent, name) for name, bound in bounds.items()}
            for name, rest in left.items():
                if rest <= 0:
                    raise SettingsError(f"the {name} that this server may spend are spent ({bounds[name]} in all)")
            async with _progress(call) as note:
                yield self.context.budget.lowered(Budget(**left)), note

    def _image(self, path: str) -> tuple[ImageRecord, Store]:
        """The record that a PNG carries, and the folder that its references are relative to."""
        try:
            file = self.store.path(path).resolve()
            image = read_record(file)
            root = file.parents[len(PurePosixPath(image.path).parts) - 1]
            if root / image.path != file or not leads_inside(root, self.store.root):
                raise ValueError("it was moved")
        except (OSError, ValueError, IndexError) as error:
            raise SettingsError(f"there is no image {path!r:.200}; give a path that a tool returned") from error
        return image, Store(root)

    async def _decompose(self, prompt: str | None, image: ImageRecord, store: Store) -> ConceptGraph:
        asked = prompt or (read_run(store.root).prompt if is_run(store.root) else image.prompt)
        check_prompt(asked)
        concepts = await (await ready(self.context.decomposer)).decompose(asked)
        self.spent += spend_of(concepts, {}, {})
        return concepts

    async def _critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        critique = await (await ready(self.context.critic)).critique(image, concepts, store)
        self.spent += spend_of(None, {}, {image.id: critique})
        return critique

    def _answer(
        self, concepts: ConceptGraph, image: ImageRecord, critique: Critique, store: Store, **facts: object
    ) -> list[Any]:
        checks = {concepts.check(verdict.check).question: verdict.answer for verdict in critique.verdicts}
        path = store.path(image.path)
        return [json.dumps({"image": image.id, "path": str(path), "checks": checks, **facts}), self._picture(path)]

    def _picture(self, path: Path) -> Image:
        return Image(data=shrunk(path.read_bytes(), CARD), format="jpeg")


@asynccontextmanager
async def _progress(call: Call) -> AsyncGenerator[Any]:
    """Sends noted words and events of a run as progress notifications, in order."""
    waiting = asyncio.Queue[str | None]()

    async def send() -> None:
        sent = 0
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):  # the client is gone
            while (words := await waiting.get()) is not None:
                sent += 1
                await call.report_progress(sent, message=words)

    def note(what: Event | str) -> None:
        if isinstance(what, Denoising):
            waiting.put_nowait(f"denoising {what.image}, step {what.done} of {what.steps}")
        elif words := what if isinstance(what, str) else sentence(what):
            waiting.put_nowait(plain(words))

    sender = asyncio.create_task(send())
    try:
        yield note
    finally:
        waiting.put_nowait(None)
        with suppress(TimeoutError):
            await asyncio.wait_for(sender, PATIENCE)


def serve(server: Server, port: int | None) -> None:
    """Serve on stdio until the client closes it, or on a port of this machine until Ctrl-C."""
    if port is not None:
        server.settings.port = port
        server.run("streamable-http")
        return

    async def serve_stdio() -> None:
        # Only the protocol may use stdout: the output of libraries, in C too, goes to stderr.
        protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        own = server._mcp_server  # pyright: ignore[reportPrivateUsage] - run_stdio_async takes no stream
        async with stdio_server(stdout=anyio.wrap_file(protocol)) as (read, write):
            await own.run(read, write, own.create_initialization_options())

    anyio.run(serve_stdio)
