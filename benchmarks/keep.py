"""Copies what is worth keeping of a finished experiment: tables, plots, the tidy table, and a page that is not large.

detailscribe experiment experiments/frontier.toml --out runs/frontier
python -m benchmarks.keep runs/frontier            # to experiments/results/frontier
"""

import argparse
import shutil
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "experiments" / "results"
KEPT = ("summary.md", "tables", "plots", "images.parquet", "page.html")
"""What is in a folder of results and stays small; nothing in it names a place on this machine."""
LARGEST = 2_000_000
"""Bytes of a file that is kept."""


def keep(folder: Path, to: Path) -> list[str]:
    """The names that were copied; what was kept of an earlier time is replaced, and anything else in ``to`` stays."""
    to.mkdir(parents=True, exist_ok=True)
    copied: list[str] = []
    for name in KEPT:
        found, kept = folder / name, to / name
        if kept.is_dir():
            shutil.rmtree(kept)
        kept.unlink(missing_ok=True)
        if found.is_dir():
            shutil.copytree(found, kept)
        elif not found.is_file() or found.stat().st_size > LARGEST:
            continue
        else:
            shutil.copy(found, kept)
        copied.append(name)
    return copied


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a finished experiment")
    folder = parser.parse_args().folder
    if not (folder / "summary.md").is_file():
        parser.error(f"{folder} holds no finished experiment")
    print(f"kept in {RESULTS / folder.name}: {', '.join(keep(folder, RESULTS / folder.name))}")


if __name__ == "__main__":
    main()
