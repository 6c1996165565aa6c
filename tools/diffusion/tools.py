"""LangChain tools that draw and refine images."""

import inspect
import json
from base64 import b64encode
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import Field

from ...state import Attempt, ImageRecord, Seed, Words, derive_seed
from ..blocking import blocking
from ..errors import DetailScribeError
from ..files import Store, picture_file, picture_in
from ..roles import Diffusion
from .job import read_record

Answer = str | list[str | dict[str, str]]
"""Content of a tool message."""


def tool(coroutine: Callable[..., Coroutine[Any, Any, Any]]) -> BaseTool:
    """A tool, sync and async, whose messages carry an artifact and which answers with the text of a ``ToolException``.
    Its description is the docstring of ``coroutine``; those of its arguments are there or in their ``Field``."""
    words = " ".join((inspect.getdoc(coroutine) or "").partition("\n\nArgs:")[0].split())
    return StructuredTool.from_function(
        blocking(coroutine),
        coroutine,
        description=words,
        parse_docstring=True,
        response_format="content_and_artifact",
        handle_tool_error=True,
    )


def with_image(facts: Mapping[str, object], path: Path, shown: bool) -> Answer:
    """A line of JSON; if the image is ``shown``, a text block with it and an image block (JPEG, base64)."""
    text = json.dumps({**facts, "path": str(path)})
    if not shown:
        return text
    data = b64encode(picture_file(picture_in(path.read_bytes()), "JPEG", quality=90)).decode()
    return [{"type": "text", "text": text}, {"type": "image", "base64": data, "mime_type": "image/jpeg"}]


def diffusion_tools(diffusion: Diffusion, store: Store, *, show: bool = False) -> list[BaseTool]:
    """The tools ``generate_image`` and ``redenoise_image``, which draw into ``store``.

    They answer with a line of JSON that names the image and its file, and with ``show`` also with the image, for
    models that see images in tool messages; the ``ImageRecord`` is the message's artifact. They also answer with
    errors that the agent can mend.
    """

    async def draw(attempt: Attempt, source: ImageRecord | None = None) -> tuple[Answer, ImageRecord]:
        try:
            record = await diffusion.draw(attempt, store, source=source)
        except DetailScribeError as error:
            raise ToolException(str(error)) from error
        facts = record.model_dump(include={"parent", "seed", "steps", "start_step", "width", "height"})
        return with_image({"image": record.id, **facts}, store.path(record.path), show), record

    async def generate_image(
        prompt: Words, seed: Seed = 0, keep_steps: tuple[int, ...] = (1, 2, 4)
    ) -> tuple[Answer, ImageRecord]:
        """Draw a new image of a prompt. Returns JSON with the image's id and the path of its PNG.

        Args:
            prompt: What the picture should show.
            seed: Another seed gives another picture of the same prompt.
            keep_steps: Denoising steps to keep, so that redenoise_image can resume from one of them.
        """
        return await draw(Attempt(id=f"image-{uuid4().hex[:12]}", prompt=prompt, seed=seed, keep_steps=keep_steps))

    async def redenoise_image(
        image: Words,
        prompt: Words,
        operator: Literal["inject", "resume"] = "inject",
        start_step: Annotated[int, Field(ge=0)] = 4,
        seed: Seed | None = None,
    ) -> tuple[Answer, ImageRecord]:
        """Correct an image: denoise it again from an early step with another prompt and keep what is right.
        Returns JSON with the new image's id and the path of its PNG; the old image stays.

        Args:
            image: Id of the image to start from, as the tools returned it.
            prompt: The corrected prompt: what the new picture should show.
            operator: inject: add noise to the finished image and denoise it again; works at every step. resume: go on
                from a kept step of the image's own denoising.
            start_step: Denoising step to start at. Low steps (1 to 4 of 28) change the layout, high ones only details;
                at the last step nothing changes.
            seed: Of the noise that inject adds; another one than the image's by default.
        """
        try:
            # The PNG has the record, so images of earlier sessions can be refined, too.
            source = read_record(store.path(f"images/{image}.png"))
        except (OSError, ValueError) as error:
            raise ToolException(f"there is no image {image!r}; give an id that a tool returned") from error
        usual = derive_seed(source.seed, "refine") if operator == "inject" else source.seed
        attempt = Attempt(
            id=f"image-{uuid4().hex[:12]}",
            round=source.round + 1,
            parent=source.id,
            prompt=prompt,
            source=source.id,
            operator=operator,
            start_step=start_step,
            seed=usual if seed is None else seed,
            keep_steps=tuple(source.trajectory),
        )
        return await draw(attempt, source)

    return [tool(generate_image), tool(redenoise_image)]
