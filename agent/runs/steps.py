"""The steps of a run as its checkpoints tell them, each of which a fork can go on from."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from langchain_core.runnables import RunnableConfig

from ...state import Budget, Population, RunState
from ...tools.errors import SettingsError
from ...tools.store import Store
from ..graph.checkpoints import FILE, check_version, checkpoints_of
from ..graph.graph import Checkpointer, Graph, build_graph
from ..traces.manifest import Manifest, read_manifest
from .blocking import blocking


@dataclass(frozen=True)
class Step:
    """The state of a run after one step."""

    number: int
    """Of the step: 0 before anything was done."""
    state: RunState
    """What was known then; a part of it at first."""
    next: tuple[str, ...]
    """Nodes that came next; none at the end."""

    @property
    def images(self) -> tuple[str, ...]:
        """Ids of the images that there were."""
        return tuple(self.state.get("images", {}))

    @property
    def judged(self) -> bool:
        """Whether every image had been looked at, so that the judge came next, or had ended the run."""
        return bool(self.images) and self.state.get("critiques", {}).keys() == {*self.images}

    @property
    def best(self) -> str | None:
        """Id of the best image so far; None where some were not looked at yet."""
        if not self.judged:
            return None
        return self.state["best"] if "best" in self.state else population_at(self.state).best().id


def population_at(state: RunState) -> Population:
    """What a judge sees in a state of which every image was looked at; no budget binds it."""
    return Population(
        concepts=state["concepts"],
        images=state["images"],
        critiques=state["critiques"],
        decisions=state.get("decisions", {}),
        comparisons=state.get("comparisons", {}),
        budget=Budget(),
        seed=state["seed"],
        round=state["round"],
    )


async def ahistory(folder: Path | str, *, checkpointer: Checkpointer = None) -> list[Step]:
    """Every step of the run in ``folder``, from the first on; nothing is asked of a model.

    Args:
        folder: The run folder, of a run that is finished or not.
        checkpointer: As the run had it, where it was given.

    Raises:
        SettingsError: there is no run, it left no checkpoints, or they are of another version.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_version(manifest.state_version, f"the run in {folder}")
    async with _recorded(manifest, folder, checkpointer) as graph:
        config: RunnableConfig = {"configurable": {"thread_id": manifest.run}}
        found = [
            Step(int((shot.metadata or {}).get("step", -1)), cast(RunState, shot.values), shot.next)
            async for shot in graph.aget_state_history(config)
        ]
    steps = sorted((step for step in found if step.number >= 0), key=lambda step: step.number)
    if not steps:
        raise SettingsError(f"the run in {folder} left no checkpoints to go back to")
    return steps


history = blocking(ahistory)


@asynccontextmanager
async def _recorded(manifest: Manifest, folder: Path, checkpointer: Checkpointer) -> AsyncGenerator[Graph]:
    where = manifest.settings.run.checkpoints
    if checkpointer is None and where == "off":
        raise SettingsError(f"the run in {folder} was made without checkpoints, as run.checkpoints said")
    if checkpointer is None and where == "sqlite" and not (folder / FILE).exists():
        raise SettingsError(f"the run in {folder} left no checkpoints: {folder / FILE} is missing")
    if checkpointer is not None:
        yield build_graph(checkpointer, interactive=manifest.interactive)
        return
    async with checkpoints_of(where, Store(folder)) as saver:
        yield build_graph(saver, interactive=manifest.interactive)
