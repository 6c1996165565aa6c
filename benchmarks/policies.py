"""What policies make of the same number of denoiser evaluations, against best-of-N.

Every figure is the independent judge's, on held-out prompts, paired by prompt and seed, with 95% bootstrap intervals.
``half_gain`` is how far the default policy at half the evaluations of best-of-N is above it (at least 0 is wanted), and
``equal_gain`` how far at as many (at least 0.15 is wanted); each is the smaller one of N = 4 and N = 8.

    python -m benchmarks.policies --prompts 200 --json
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detailscribe.agent.experiments.loading import Loadout, loaded
from detailscribe.agent.experiments.measures import MEASURES
from detailscribe.agent.experiments.perform import Crew, perform
from detailscribe.agent.experiments.rows import Row
from detailscribe.agent.experiments.samples import by_label, difference, estimate, proportion
from detailscribe.agent.experiments.statistics import Interval
from detailscribe.agent.experiments.summary import differences_table, summary
from detailscribe.agent.experiments.tables import markdown

from .figures import print_json

DRAWING = 56
"""Evaluations of one full drawing: 28 guided steps."""
SIZES = (4, 8)
"""N of best-of-N."""
OTHERS = ("multi_round", "seed_search", "hybrid", "halving", "random")
"""Compared beside the default, at the evaluations of the larger N."""


def experiment(prompts: int, seeds: int) -> dict[str, Any]:
    """What is run, as an experiment file would say it."""
    best = [{"policy": "best_of_n", "label": f"best_of_{n}", "args": {"n": n}} for n in SIZES]
    ours = [
        _bounded("adaptive", f"adaptive_{part}_of_{n}", DRAWING * n // share, {"images": 1})
        for n in SIZES
        for part, share in (("half", 2), ("equal", 1))
    ]
    args = {"multi_round": {"rounds": 8}, "seed_search": {"n": 2, "rounds": 8}, "random": {"images": 1}}
    others = [_bounded(name, name, DRAWING * SIZES[-1], args.get(name, {})) for name in OTHERS]
    return {
        "question": "What do policies make of the same number of denoiser evaluations?",
        "prompts": {"embedded": prompts},
        "seeds": seeds,
        "budget": {"rounds": 8, "images": 16},
        "policies": [*best, *ours, *others, {"policy": "single"}],
    }


def _bounded(policy: str, label: str, evaluations: int, args: dict[str, Any]) -> dict[str, Any]:
    return {"policy": policy, "label": label, "args": args, "budget": {"evaluations": evaluations}}


async def measure(loadout: Loadout, folder: Path) -> list[Row]:
    """Every run, judged."""
    return await perform(loadout, folder, await Crew.of(loadout))


def figures_of(rows: Sequence[Row], seconds: float) -> dict[str, float]:
    """Everything measured, by dotted name."""
    groups, figures = by_label(rows), dict[str, float]()
    for label, group in groups.items():
        figures |= _named(f"{label}.all_correct", proportion(group, MEASURES["all_correct"]))
        for name in ("checks", "critic_all_correct", "evaluations", "images", "critic_calls", "seconds"):
            found = estimate(group, MEASURES[name])
            figures[f"{label}.{name}"] = found.value if found else 0.0
    for part in ("half", "equal"):
        for n in SIZES:
            gain = difference(groups[f"adaptive_{part}_of_{n}"], groups[f"best_of_{n}"], MEASURES["all_correct"])
            figures |= _named(f"{part}_gain_over_{n}", gain)
        figures[f"{part}_gain"] = min(figures[f"{part}_gain_over_{n}"] for n in SIZES)
    figures["runs"] = len(rows)
    figures["wall_seconds"] = seconds
    return figures


def _named(name: str, found: Interval | None) -> dict[str, float]:
    return {} if found is None else {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def show(rows: Sequence[Row]) -> None:
    """The figures as tables."""
    groups = by_label(rows)
    pairs = {
        f"{label} against best_of_{n}": (groups[label], groups[f"best_of_{n}"])
        for n in SIZES
        for label in (f"adaptive_half_of_{n}", f"adaptive_equal_of_{n}")
    }
    largest = groups[f"best_of_{SIZES[-1]}"]
    pairs |= {f"{name} against best_of_{SIZES[-1]}": (groups[name], largest) for name in OTHERS}
    print(markdown(summary(rows)))
    print()
    print(markdown(differences_table("Against best-of-N", pairs)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=200, help="held-out prompts")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each prompt")
    parser.add_argument("--quick", action="store_true", help="16 prompts and one seed, to see that it works")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--out", type=Path, help="keep the runs here, so that a stopped benchmark goes on")
    chosen = parser.parse_args()
    prompts, seeds = (16, 1) if chosen.quick else (chosen.prompts, chosen.seeds)
    loadout = loaded("policies", experiment(prompts, seeds), Path())
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(measure(loadout, chosen.out or Path(folder)))
    if chosen.json:
        print_json(figures_of(rows, time.perf_counter() - began))
    else:
        show(rows)


if __name__ == "__main__":
    main()
