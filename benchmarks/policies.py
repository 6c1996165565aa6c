"""The default policy against best-of-N at the same evaluations, on ``experiments/frontier.toml``.

All scores come from the independent judge on held-out prompts, paired by prompt and seed, with 95% bootstrap intervals.
``half_gain`` is the gain of the default policy over best-of-N at half the evaluations (target: at least 0), the smaller
one of N = 4 and N = 8. ``equal_gain`` is the gain at the same evaluations (target: at least 0.15), at the largest N
whose best-of-N leaves that much room below 100%, which ``equal_evaluations`` names; each N is also reported separately.

    python -m benchmarks.policies --prompts 200 --json
    python -m benchmarks.policies --out runs/frontier   # reuses the runs of an experiment and adds missing ones
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from detailscribe.agent.evaluation.statistics import Interval, mean_interval, proportion_interval
from detailscribe.agent.evaluation.tables import markdown
from detailscribe.agent.experiments.load import Experiment, load_experiment
from detailscribe.agent.experiments.measures import by_label, by_prompt, differences, frame, pairs
from detailscribe.agent.experiments.rows import ExperimentRow
from detailscribe.agent.experiments.run import run_experiment
from detailscribe.agent.experiments.summary import differences_table, summary

from .figures import print_json

FRONTIER = Path(__file__).parents[1] / "experiments" / "frontier.toml"
BOUNDS = (112, 224, 448)
"""Evaluations of 2, 4 and 8 full drawings."""
WANTED = 0.15
"""Target of ``equal_gain``."""


def frontier(seeds: int, everything: bool) -> Experiment:
    """The experiment with this many seeds; unless ``everything``, only the default policy and best-of-N."""
    experiment = load_experiment(FRONTIER)
    compared = {label(bound) for label in (adaptive, best_of_n) for bound in BOUNDS}
    kept = [v for v in experiment.variants if everything or v.label in compared]
    spec = experiment.spec.model_copy(update={"seeds": experiment.spec.seeds[:seeds]})
    return replace(experiment, spec=spec, variants=tuple(kept))


def adaptive(bound: int) -> str:
    """Label of the default policy with this many evaluations."""
    return f"adaptive budget.evaluations={bound}"


def best_of_n(bound: int) -> str:
    """Label of best-of-N with this many evaluations."""
    return f"best_of_n budget.evaluations={bound}"


def figures_of(rows: Sequence[ExperimentRow], seconds: float) -> dict[str, float]:
    """All measurements, by dotted name."""
    groups, figures = by_label(rows), dict[str, float]()
    for label, group in groups.items():
        name = label.replace(" budget.evaluations=", "_")
        runs = frame(group)
        figures |= _named(f"{name}.all_correct", proportion_interval(by_prompt(runs, "all_correct")))
        for measure in ("checks", "critic_all_correct", "evaluations", "images", "critic_calls", "seconds"):
            found = mean_interval(by_prompt(runs, measure))
            figures[f"{name}.{measure}"] = found.value if found else 0.0
    for bound in BOUNDS:
        figures[f"room_over_{bound}"] = 1 - figures[f"best_of_n_{bound}.all_correct"]
        figures |= _gain(groups, "equal", bound, bound)
    for bound in BOUNDS[1:]:
        figures |= _gain(groups, "half", bound // 2, bound)
    figures["half_gain"] = min(figures[f"half_gain_over_{bound}"] for bound in BOUNDS[1:])
    figures["equal_evaluations"] = max((b for b in BOUNDS if figures[f"room_over_{b}"] >= WANTED), default=BOUNDS[0])
    figures["equal_gain"] = figures[f"equal_gain_over_{figures['equal_evaluations']}"]
    return figures | {"runs": len(rows), "wall_seconds": seconds}


def _gain(groups: dict[str, list[ExperimentRow]], name: str, ours: int, theirs: int) -> dict[str, float]:
    paired = pairs(frame(groups[adaptive(ours)]), frame(groups[best_of_n(theirs)]))
    return _named(f"{name}_gain_over_{theirs}", mean_interval(differences(paired, "all_correct")))


def _named(name: str, found: Interval | None) -> dict[str, float]:
    return {} if found is None else {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def show(rows: Sequence[ExperimentRow]) -> None:
    """Print the measurements as tables."""
    groups = by_label(rows)
    asked = [(bound, bound) for bound in BOUNDS] + [(bound // 2, bound) for bound in BOUNDS[1:]]
    compared = {
        f"adaptive {ours} against best_of_n {n}": (groups[adaptive(ours)], groups[best_of_n(n)]) for ours, n in asked
    }
    print(markdown(summary(rows)))
    print()
    print(markdown(differences_table("By evaluations, against best-of-N", compared)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=200, help="held-out prompts")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each prompt")
    parser.add_argument("--quick", action="store_true", help="16 prompts and one seed, to test the code")
    parser.add_argument("--all", action="store_true", help="every policy of the experiment")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--out", type=Path, help="folder of an experiment to reuse or resume")
    chosen = parser.parse_args()
    prompts, seeds = (16, 1) if chosen.quick else (chosen.prompts, chosen.seeds)
    experiment, began = frontier(seeds, chosen.all), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rows = run_experiment(experiment, chosen.out or Path(folder), prompts=prompts)
    if chosen.json:
        print_json(figures_of(rows, time.perf_counter() - began))
    else:
        show(rows)


if __name__ == "__main__":
    main()
