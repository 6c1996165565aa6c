"""Copies the parts of a finished experiment that are worth keeping: tables, the table of images, and a few small plots.

detailscribe experiment experiments/frontier.toml --out runs/frontier
python -m benchmarks.keep runs/frontier            # to experiments/results/frontier
"""

import argparse
import re
import shutil
from pathlib import Path

from detailscribe.agent.experiments.load import load_experiment
from detailscribe.agent.experiments.plots import draw, figures_of
from detailscribe.agent.experiments.rows import read_experiment_rows

RESULTS = Path(__file__).parents[1] / "experiments" / "results"
KEPT = ("tables", "images.parquet")
"""Copied unchanged; they contain no paths of this machine."""
PLOTS = re.compile("frontier_evaluations|rounds_chosen|sweep_.*")
"""Names of the plots to keep, as PNG."""


def keep(folder: Path, to: Path) -> None:
    """Copy the files; earlier copies are replaced, and other files in ``to`` are not touched."""
    for name in (*KEPT, "plots"):
        shutil.rmtree(to / name, ignore_errors=True)
        (to / name).unlink(missing_ok=True)
    (to / "plots").mkdir(parents=True)
    for name in KEPT:
        if (folder / name).is_dir():
            shutil.copytree(folder / name, to / name)
        elif (folder / name).is_file():
            shutil.copy(folder / name, to / name)
    variants = load_experiment(folder / "experiment.toml").variants
    for figure in figures_of(read_experiment_rows(folder / "rows.jsonl"), variants):
        if PLOTS.fullmatch(figure.name):
            (to / "plots" / f"{figure.name}.png").write_bytes(draw(figure, "png"))
    (to / "summary.md").write_text(_with_kept_plots((folder / "summary.md").read_text("utf-8")), "utf-8")


def _with_kept_plots(summary: str) -> str:
    """The summary with links to the copied plots."""

    def link(found: re.Match[str]) -> str:
        return f"![{found[1]}](plots/{found[2]}.png)\n\n" if PLOTS.fullmatch(found[2]) else ""

    return re.sub(r"!\[([^]]*)\]\(plots/(.*)\.svg\)\n+", link, summary).rstrip("\n") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of a finished experiment")
    folder = parser.parse_args().folder
    if not (folder / "summary.md").is_file():
        parser.error(f"{folder} holds no finished experiment")
    keep(folder, RESULTS / folder.name)
    print(f"kept in {RESULTS / folder.name}")


if __name__ == "__main__":
    main()
