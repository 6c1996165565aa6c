"""Whether policies still differ in the embedded world: their scores on prompts of one to five relations.

Everything is measured with the profile of the experiments: the critic makes the errors of published ones, and its
corrections say how what failed should be placed, not where. All scores come from the independent judge. The effects of
refinements are those of ``adaptive``: fixed checks and broke none, broke some and fixed none, did both, or neither.

    python -m benchmarks.lab --prompts 100 --json
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from detailscribe.agent.experiments.load import make_experiment
from detailscribe.agent.experiments.measures import MEASURES, answers, by_label, correct, effect, finished, whole
from detailscribe.agent.experiments.rows import ExperimentRow
from detailscribe.agent.experiments.run import run_experiment

from .figures import interval, print_json, print_table

PROFILE: dict[str, Any] = {"corrections": "pose", "profile": "published", "correlated": "alike"}
"""The standard profile of the critic."""
POLICIES: dict[str, dict[str, Any]] = {
    "best_of_4": {"policy": "best_of_n", "args": {"n": 4}},
    "best_of_8": {"policy": "best_of_n", "args": {"n": 8}, "budget": {"evaluations": 448}},
    "single": {"policy": "single"},
    "adaptive": {"policy": "adaptive", "args": {"images": 1}},
}
"""The measured policies, at 224 evaluations (four drawings) unless set otherwise."""
ASPECTS = ("presence", "attribute", "relation")


def measured(
    complexity: int, prompts: int, folder: Path, critic: Mapping[str, Any], run: Mapping[str, Any]
) -> list[ExperimentRow]:
    """Run all policies and return their rows."""
    table = {
        "question": "Does the laboratory tell policies apart?",
        "prompts": {"embedded": prompts, "complexity": complexity},
        "budget": {"evaluations": 224, "rounds": 8, "images": 16},
        "policies": [{"label": label, **entry} for label, entry in POLICIES.items()],
        "critics": [{"label": "standard", **critic}],
        "settings": {"run": dict(run)},
    }
    return run_experiment(make_experiment("lab", table, folder), folder / str(complexity), concurrency=24)


def figures_of(rows: Sequence[ExperimentRow]) -> dict[str, float]:
    """All measurements at one complexity, by name."""
    groups = {label.partition(",")[0]: finished(group) for label, group in by_label(rows).items()}
    drawn = [whole(row)[0] for row in groups["best_of_4"]]
    found = _with_interval("one_image.all_correct", [correct(image) for image in drawn])
    for name, group in groups.items():
        found |= _with_interval(f"{name}.all_correct", [MEASURES["all_correct"](row) for row in group])
        found |= {f"{name}.{cost}": mean(MEASURES[cost](row) for row in group) for cost in ("evaluations", "images")}
    for aspect in ASPECTS:
        passed = [
            answer == "pass"
            for row, image in zip(groups["best_of_4"], drawn, strict=True)
            for check, answer in answers(image).items()
            if row.checks[check] == aspect
        ]
        found[f"{aspect}"] = mean(passed) if passed else 1.0
    for name in ("single", "adaptive"):
        prefix = "" if name == "adaptive" else f"{name}."
        did = Counter(what for row in groups[name] for what in _effects(row))
        for what in ("fixed", "broken", "both", "unchanged"):
            label = "nothing" if what == "unchanged" else what
            found[f"{prefix}{label}"] = did[what] / max(1, did.total())
    refined = [row for row in groups["adaptive"] if whole(row)[-1].round > 0]
    found["best_older"] = mean(row.chosen.round < whole(row)[-1].round for row in refined) if refined else 0.0
    return found


def _with_interval(name: str, samples: Sequence[float]) -> dict[str, float]:
    value, low, high = interval(samples)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _effects(row: ExperimentRow) -> list[str]:
    """The effect of each of its refinements."""
    known = {image.id: image for image in whole(row)}
    return [effect(i, known[i.parent]) for i in known.values() if i.origin == "refine" and i.parent in known]


def show(figures: Mapping[str, float], complexities: Sequence[int]) -> None:
    """Print the measurements as a table with a column for each complexity."""
    names = [n.partition(".")[2] for n in figures if n.startswith(f"k{complexities[0]}.")]
    shown = [n for n in names if not n.endswith(("_low", "_high"))]

    def written(k: int, name: str) -> str:
        value = figures[f"k{k}.{name}"]
        if name.endswith(("evaluations", "images")):
            return f"{value:.1f}"
        low = figures.get(f"k{k}.{name}_low")
        of = "" if low is None else f" ({100 * low:.0f} to {100 * figures[f'k{k}.{name}_high']:.0f})"
        return f"{100 * value:.1f}%{of}"

    print_table(
        ("figure", *(f"k = {k}" for k in complexities)), [[n, *(written(k, n) for k in complexities)] for n in shown]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=100, help="held-out prompts of each complexity")
    parser.add_argument("--complexities", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="relations in a prompt")
    parser.add_argument("--corrections", default=PROFILE["corrections"], help="how explicit corrections are")
    parser.add_argument("--strength", type=float, default=1.0, help="strength of the critic's errors; 0 for none")
    parser.add_argument("--guidance", type=float, help="instead of the model's own")
    parser.add_argument("--steps", type=int, help="instead of the model's own")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    chosen = parser.parse_args()
    critic = PROFILE | {"corrections": chosen.corrections, "strength": chosen.strength}
    run = {name: value for name in ("guidance", "steps") if (value := getattr(chosen, name)) is not None}
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for complexity in chosen.complexities:
            rows = measured(complexity, chosen.prompts, Path(folder), critic, run)
            figures |= {f"k{complexity}.{name}": value for name, value in figures_of(rows).items()}
    if chosen.json:
        print_json(figures)
    else:
        show(figures, chosen.complexities)


if __name__ == "__main__":
    main()
