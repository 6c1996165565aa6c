"""The graph and the critic as LangChain tools for any agent."""

from typing import Annotated, Any

from langchain_core.tools import BaseTool, ToolException
from pydantic import Field

from ...state import Critique, ImageRecord, RunState, Seed
from ...tools.diffusion.job import read_record
from ...tools.diffusion.tools import Answer, tool, with_image
from ...tools.errors import DetailScribeError
from ...tools.roles import ready
from .context import Context
from .graph import build_graph


def langchain_tools(context: Context, *, show: bool = False) -> list[BaseTool]:
    """The tools ``draw_and_check``, which runs the graph, and ``critique_image``.

    Both are sync and async, and use budget and folder of the context. They return a line of JSON with the answer to
    every check and, if ``show`` is set, the image, for models that see images in tool messages. The artifacts of the
    messages are the final ``RunState`` and the ``Critique``.
    """
    graph, store = build_graph(), context.store

    def answer(image: ImageRecord, state: RunState | dict[str, Any], critique: Critique, **facts: object) -> Answer:
        questions = {check.id: check.question for check in state["concepts"].checks}
        checks = {questions[verdict.check]: verdict.answer for verdict in critique.verdicts}
        return with_image({"image": image.id, "checks": checks, **facts}, store.path(image.path), show)

    async def draw_and_check(
        prompt: Annotated[str, Field(min_length=1, description="What the picture should show.")],
        seed: Annotated[Seed, Field(description="Another seed gives other pictures of the same prompt.")] = 0,
    ) -> tuple[Answer, RunState]:
        """Draw a prompt, check the drawing item by item, and refine it. Returns JSON with the best image's path."""
        try:
            state: Any = await graph.ainvoke({"prompt": prompt, "seed": seed}, context=context)
        except DetailScribeError as error:
            raise ToolException(str(error)) from error
        best = state["images"][state["best"]]
        facts = {"stop": state["stop"], "images": len(state["images"])}
        return answer(best, state, state["critiques"][best.id], **facts), state

    async def critique_image(
        path: Annotated[str, Field(min_length=1, description="Path of the image's PNG, as a tool returned it.")],
        prompt: Annotated[
            str | None, Field(description="What it should show; by default what it was drawn from.")
        ] = None,
    ) -> tuple[Answer, Critique]:
        """Check an image item by item. Returns JSON with each check's answer and a corrected prompt."""
        try:
            file = store.path(path).resolve()
            here = file.relative_to(store.root.resolve()).as_posix()
            image = read_record(file).moved(lambda _: here, latent=None, trajectory={})
        except (OSError, ValueError) as error:
            raise ToolException(f"there is no image {path!r}; give a path that a tool returned") from error
        try:
            concepts = await (await ready(context.decomposer)).decompose(prompt or image.prompt)
            critique = await (await ready(context.critic)).critique(image, concepts, store)
        except DetailScribeError as error:
            raise ToolException(str(error)) from error
        return answer(image, {"concepts": concepts}, critique, correction=critique.refined_prompt), critique

    return [tool(draw_and_check), tool(critique_image)]
