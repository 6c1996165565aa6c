"""Time per step of the graph with roles that do nothing, against a bare LangGraph of the same shape.

Neither graph saves checkpoints, as in a user's program without a thread id. ``saved.step_ratio`` compares both with
checkpoints in memory; ours then records each call of a role as a separate LangGraph task.

Both graphs have the same nodes, edges, exits and keyed reducers, and go through the same supersteps with the same
number of ``Send``s: four drawings, then a refinement of each in every round. The bare one passes numbers around and
checks nothing; ours builds its records, validates the population, checks the policy's decisions and enforces the
budget. A step is one superstep of LangGraph with all its tasks.

    python -m benchmarks.overhead --json
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from detailscribe.agent import Context, build_graph
from detailscribe.agent.graph.graph import EXITS, recursion_limit
from detailscribe.agent.policies import refine, stop
from detailscribe.state import Attempt, Budget, ConceptGraph, Decision, ImageRecord, Plan, Population
from detailscribe.tools.files import Store
from detailscribe.tools.roles import Progress

from .figures import print_json, print_table
from .many import NoCritic, NoDecomposer

IMAGES = 4
"""Images in every round."""
ROUNDS = 8
"""Rounds of refinements."""
STEPS = 4 + 2 * ROUNDS
"""Supersteps: decompose, generate, critique and finish, and two for every round of refinements."""


class RecordsOnly:
    """Draws nothing and writes nothing."""

    model = "none@0"

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        return ImageRecord(
            id=attempt.id or "",
            round=attempt.round,
            origin=attempt.origin,
            parent=attempt.parent,
            prompt=attempt.prompt or "",
            seed=attempt.seed or 0,
            steps=28,
            start_step=attempt.start_step,
            start_sigma=1.0,
            operator=attempt.operator,
            guidance=1.0,
            width=8,
            height=8,
            model=self.model,
            path=f"images/{attempt.id}.png",
            latent=None,
            evaluations=1,
            seconds=0.0,
        )


class RefineAll:
    """Refines every image, round after round."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=IMAGES)

    def judge(self, population: Population) -> list[Decision]:
        pending = population.pending()
        if population.round == ROUNDS:
            return [stop(image, "rounds_done", "the last round") for image in pending]
        return [refine(population, i, "next_round", "so it is", operator="inject", start_step=4) for i in pending]


def _union(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    return {**left, **right}


class BareState(TypedDict):
    """What the bare graph passes around: numbers by image id."""

    prompt: str
    concepts: int
    round: int
    images: Annotated[dict[str, int], _union]
    critiques: Annotated[dict[str, int], _union]
    decisions: Annotated[dict[str, int], _union]
    best: str


class BareDrawing(TypedDict):
    """One image to draw."""

    id: str
    round: int
    of: str | None
    """The image to refine."""


class BareEnd(TypedDict):
    """The remaining images."""

    stops: list[str]


def bare_graph(saver: Any = None) -> Any:
    """The same nodes and exits, which do nothing."""
    builder = StateGraph(BareState)
    builder.add_node("decompose", _decompose)
    builder.add_node("generate", _draw)
    builder.add_node("refine", _draw)
    builder.add_node("critique", _critique)
    builder.add_node("finish", _finish)
    builder.add_edge(START, "decompose")
    builder.add_conditional_edges("decompose", _plan, {"plan": "generate"})
    builder.add_edge("generate", "critique")
    builder.add_edge("refine", "critique")
    builder.add_conditional_edges("critique", _judge, EXITS)
    builder.add_edge("finish", END)
    return builder.compile(checkpointer=saver)


async def _decompose(state: BareState) -> dict[str, Any]:
    return {"concepts": 1}


async def _draw(work: BareDrawing) -> dict[str, Any]:
    return {"images": {work["id"]: work["round"]}, "decisions": {work["of"]: 1} if work["of"] else {}}


async def _critique(state: BareState) -> dict[str, Any]:
    new = [id for id in state["images"] if id not in state.get("critiques", {})]
    return {"critiques": dict.fromkeys(new, 1), "round": state.get("round", -1) + 1}


async def _finish(work: BareEnd) -> dict[str, Any]:
    return {"best": work["stops"][0], "decisions": dict.fromkeys(work["stops"], 0)}


def _plan(state: BareState) -> list[Send]:
    return [Send("generate", BareDrawing(id=f"0-{i}", round=0, of=None)) for i in range(IMAGES)]


def _judge(state: BareState) -> list[Send]:
    round = state["round"]
    pending = [f"{round}-{i}" for i in range(IMAGES)]
    if round == ROUNDS:
        return [Send("finish", BareEnd(stops=pending))]
    return [Send("refine", BareDrawing(id=f"{round + 1}-{i}", round=round + 1, of=of)) for i, of in enumerate(pending)]


@dataclass(frozen=True)
class Times:
    """Seconds of one run of each graph."""

    ours: float
    bare: float


async def measure(folder: Path, repeats: int) -> dict[str, float]:
    """All measurements, by name."""
    plain = await _compared(folder, repeats, None)
    saved = await _compared(folder, repeats, InMemorySaver)
    return {
        **plain,
        **{f"saved.{name}": value for name, value in saved.items()},
        "steps": STEPS,
        "images": IMAGES * (ROUNDS + 1),
        "repeats": repeats,
    }


async def _compared(folder: Path, repeats: int, saver: Callable[[], Any] | None) -> dict[str, float]:
    """Run both graphs in turn; with a saver, each run has its own thread."""
    times, context, threads = list[Times](), _context(folder), count()
    ours, bare = build_graph(saver and saver()), bare_graph(saver and saver())

    def config() -> Any:
        thread = {"configurable": {"thread_id": str(next(threads))}} if saver else {}
        return {"recursion_limit": recursion_limit(context.budget), **thread}

    async def one() -> Any:
        return await ours.ainvoke({"prompt": "a thing", "seed": 0}, config(), context=context)

    async def other() -> Any:
        return await bare.ainvoke({"prompt": "a thing"}, config())

    _check(await one(), await other())
    for _ in range(repeats):
        times.append(Times(await _seconds(one), await _seconds(other)))
    ratios = [t.ours / t.bare for t in times]
    low, *_, high = quantiles(ratios, n=10)
    return {
        "step_ratio": median(ratios),
        "step_ratio_p10": low,
        "step_ratio_p90": high,
        "ours.step_ms": 1000 * median(t.ours for t in times) / STEPS,
        "bare.step_ms": 1000 * median(t.bare for t in times) / STEPS,
    }


def _context(folder: Path) -> Context:
    budget = Budget(rounds=ROUNDS, images=IMAGES * (ROUNDS + 1))
    return Context(NoDecomposer(), RecordsOnly(), NoCritic(), RefineAll(), Store(folder), budget)


def _check(ours: Any, bare: Any) -> None:
    """Fail if the two graphs did not do the same work."""
    made = len(ours["images"]), len(bare["images"])
    if made != (IMAGES * (ROUNDS + 1),) * 2 or ours["round"] != bare["round"]:
        raise RuntimeError(f"the two graphs made {made[0]} and {made[1]} images")


async def _seconds(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def show(figures: dict[str, float]) -> None:
    """Print the measurements as a table."""
    low, high = figures["step_ratio_p10"], figures["step_ratio_p90"]
    print_table(
        ("graph", "ms a step", "ratio (10% to 90% of repeats)"),
        [
            ["bare", f"{figures['bare.step_ms']:.2f}", "1"],
            ["ours", f"{figures['ours.step_ms']:.2f}", f"{figures['step_ratio']:.2f} ({low:.2f} to {high:.2f})"],
            ["bare, saved", f"{figures['saved.bare.step_ms']:.2f}", "1"],
            ["ours, saved", f"{figures['saved.ours.step_ms']:.2f}", f"{figures['saved.step_ratio']:.2f}"],
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30, help="runs of each graph, in turn")
    parser.add_argument("--quick", action="store_true", help="a fifth of the repeats")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    chosen = parser.parse_args()
    repeats = max(2, chosen.repeats // 5 if chosen.quick else chosen.repeats)
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Path(folder), repeats))
    if chosen.json:
        print_json(figures)
    else:
        show(figures)


if __name__ == "__main__":
    main()
