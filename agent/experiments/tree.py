"""Exhaustive trees: everything that policies could ask for is drawn, looked at and judged once."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.types import Send
from pydantic import ValidationError

from ...state import Budget, ConceptGraph, Critique, Frozen, ImageRecord, Plan, Population
from ...tools.errors import SettingsError
from ...tools.roles import Critic, GenerateRequest, KnowsItsCost, RedenoiseRequest
from ...tools.store import Store
from ..batch.jobs import digest, slug
from ..graph.routing import first_requests, sends
from ..runs.locking import locked
from ..traces.manifest import model_name
from ..validation import first_problem
from .loading import Loadout
from .menu import Menu
from .perform import Crew, make
from .plan import drawn_by, run_seed
from .prompts import ExperimentPrompt
from .spec import BudgetChange

TREE = "tree.json"
"""Written when a tree is whole."""


class Tree(Frozen):
    """All that was tried with one prompt and seed."""

    prompt: str
    scenario: str = ""
    seed: int
    """As the experiment counts them."""
    run_seed: int
    """Of a run of this prompt and seed."""
    budget: Budget
    """Of the experiment."""
    menu: Menu
    evaluations_per_drawing: int | None
    """As the model tells beforehand; None where it does not."""
    concepts: ConceptGraph
    images: tuple[ImageRecord, ...]
    critiques: tuple[Critique, ...]
    """One for each image, in the same order."""
    judge: str | None
    """Name and hash; None without one."""
    judged: tuple[Critique, ...] = ()
    """The judge's, in the same order; empty without one."""

    def bounded(self, change: BudgetChange) -> Budget:
        """Its budget with other bounds, of which none goes beyond the tree."""
        budget = change.on(self.budget)
        return budget.model_copy(update={"rounds": min(budget.rounds, self.menu.rounds)})


OnTree = Callable[[Tree], object]


@dataclass(frozen=True)
class _Plot:
    """Where a tree is to stand."""

    folder: Path
    prompt: ExperimentPrompt
    seed: int


async def grow(
    loadout: Loadout,
    folder: Path,
    crew: Crew,
    *,
    prompts: int | None = None,
    concurrency: int = 4,
    keep_all: bool = False,
    on_tree: OnTree | None = None,
) -> list[Tree]:
    """Record a tree for each prompt and seed of an experiment; those that are there are kept, so that it goes on.

    Args:
        loadout: The experiment; its policies take no part.
        folder: Of the trees; made where it is absent.
        crew: Its models; the critic is that of the settings.
        prompts: Only so many of its prompts.
        concurrency: Trees in flight.
        keep_all: Whether latents stay, which take most of the room.
        on_tree: Called with each tree, those that are there first.

    Raises:
        SettingsError: another process is at work in the folder, or it cannot be written.
        DetailScribeError: a model cannot be used, or cannot read a prompt.
    """
    places = asyncio.Semaphore(concurrency)
    plots = _plots(loadout, folder, crew, prompts)
    found: dict[Path, Tree] = {plot.folder: read_tree(plot.folder) for plot in plots if _stands(plot.folder)}
    for tree in found.values():
        if on_tree is not None:
            on_tree(tree)

    async def one(plot: _Plot) -> None:
        async with places:
            found[plot.folder] = await _grown(plot, loadout, crew, keep_all)
        if on_tree is not None:
            on_tree(found[plot.folder])

    make(folder)
    with locked(folder):
        await _all_or_none(one(plot) for plot in plots if plot.folder not in found)
    return [found[plot.folder] for plot in plots]


def read_tree(folder: Path) -> Tree:
    """The tree of a folder; ``SettingsError`` if it is of another version."""
    try:
        return Tree.model_validate_json((folder / TREE).read_bytes())
    except ValidationError as error:
        raise SettingsError(f"{folder / TREE} is of another version of DetailScribe: {first_problem(error)}") from error


def _stands(folder: Path) -> bool:
    return (folder / TREE).is_file()


def _plots(loadout: Loadout, folder: Path, crew: Crew, prompts: int | None) -> list[_Plot]:
    grown_by = (
        loadout.experiment.tree.model_dump_json(),
        loadout.experiment.budget.model_dump_json(),
        *drawn_by(crew.cast),
    )
    fingerprint = digest("\0".join((*grown_by, str(_judge_name(crew)))))
    return [
        _Plot(folder / f"{slug(p.text)}-{digest(p.text)[:4]}-s{seed}-{fingerprint}", p, seed)
        for p in loadout.prompts[:prompts]
        for seed in loadout.experiment.seeds
    ]


async def _grown(plot: _Plot, loadout: Loadout, crew: Crew, keep_all: bool) -> Tree:
    shutil.rmtree(plot.folder, ignore_errors=True)  # of a tree that was cut off
    menu, store, diffusion = loadout.experiment.tree, Store(plot.folder), crew.cast.diffusion
    concepts = await crew.cast.decomposer.decompose(plot.prompt.text)
    cost = diffusion.evaluations_per_drawing if isinstance(diffusion, KnowsItsCost) else None
    seed = run_seed(plot.seed, plot.prompt.text)
    population = await _branched(menu, concepts, seed, crew, store)
    images = tuple(population.images.values())
    tree = Tree(
        prompt=plot.prompt.text,
        scenario=plot.prompt.scenario,
        seed=plot.seed,
        run_seed=seed,
        budget=loadout.experiment.budget,
        menu=menu,
        evaluations_per_drawing=cost,
        concepts=concepts,
        images=images,
        critiques=tuple(population.critiques[image.id] for image in images),
        judge=_judge_name(crew),
        judged=() if crew.judge is None else await _looked_at(crew.judge, images, concepts, store),
    )
    if not keep_all:
        shutil.rmtree(store.path("latents"), ignore_errors=True)
    store.write(TREE, tree.model_dump_json().encode())
    return tree


async def _branched(menu: Menu, concepts: ConceptGraph, seed: int, crew: Crew, store: Store) -> Population:
    """The whole tree; its decisions are none."""
    plan = Plan(images=menu.drawings, keep_steps=menu.keep_steps)
    first = first_requests(plan, concepts, seed, menu.drawings)
    images = await crew.cast.diffusion.generate(first, store)
    population = Population(
        concepts=concepts,
        images={image.id: image for image in images},
        critiques={c.image: c for c in await _looked_at(crew.cast.critic, images, concepts, store)},
        decisions={},
        budget=Budget(),
        seed=seed,
        round=0,
    )
    for round in range(1, menu.rounds + 1):
        images = await _drawn(sends(menu.after(population), population, menu.keep_steps), crew, store)
        critiques = await _looked_at(crew.cast.critic, images, concepts, store)
        more = {
            "images": population.images | {image.id: image for image in images},
            "critiques": population.critiques | {critique.image: critique for critique in critiques},
        }
        population = population.model_copy(update=more | {"round": round})
    return population


async def _drawn(work: Sequence[Send], crew: Crew, store: Store) -> list[ImageRecord]:
    """The images of one round, in order; the model shares its passes among them."""
    diffusion = crew.cast.diffusion

    async def one(send: Send) -> ImageRecord:
        request: GenerateRequest | RedenoiseRequest = send.arg["request"]
        if isinstance(request, GenerateRequest):
            [image] = await diffusion.generate([request], store)
        else:
            [image] = await diffusion.redenoise([request], store)
        return image

    return list(await asyncio.gather(*map(one, work)))


async def _looked_at(
    critic: Critic, images: Sequence[ImageRecord], concepts: ConceptGraph, store: Store
) -> tuple[Critique, ...]:
    return tuple(await asyncio.gather(*(critic.critique(image, concepts, store) for image in images)))


async def _all_or_none(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all of them; the first error cancels the rest."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _judge_name(crew: Crew) -> str | None:
    return None if crew.judge is None else model_name(crew.judge)
