"""The files of an experiment's results: rows, tables, plots, and one HTML page that needs nothing else."""

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ...tools.files import Store
from ..evaluation.tables import Table, markdown
from ..records.manifest import command_line, installed
from ..views.pages import data_url, filled
from .load import Experiment
from .measures import answers, finished, gains, score
from .plots import can_plot, draw, figures_of
from .rows import ROWS, ExperimentRow, image_frame
from .summary import tables_of

MOST_ROWS = 40
"""Longer tables are folded on the page."""
MOST_EXAMPLES = 4
"""Of wins, and of losses."""
Example = tuple[ExperimentRow, ExperimentRow]
"""A run of a variant, and that of the baseline with the same prompt and seed."""


def write_results(experiment: Experiment, rows: Sequence[ExperimentRow], folder: Path) -> dict[str, Table]:
    """Write ``rows.jsonl``, ``summary.md``, ``page.html``, ``tables/*.csv``, ``plots/*.svg`` and the tidy ``images.*``.

    Rows and tables are written before any plot is drawn; a plot that cannot be drawn is reported in ``summary.md`` and
    on the page. There are no plots without matplotlib, and no ``images.parquet`` without pyarrow. Returns the tables
    by the name of their file.
    """
    store, tables = Store(folder), tables_of(rows, experiment.baseline, experiment.variants)
    prompts, failed = len({row.prompt for row in rows}), len(rows) - len(finished(rows))
    judge = next((row.judge for row in rows if row.judge), None)
    lost = f", of which {failed} failed and are missing" if failed else ""
    runs = f"{prompts} prompts, {len(experiment.spec.seeds)} seed(s), {len(rows)} runs"
    facts = f"{runs}{lost}. Judge: {judge or 'none'}."
    parts = [f"# {experiment.name}", experiment.spec.question, facts, *map(markdown, tables.values())]
    manifest = {
        "experiment": experiment.name,
        "runs": len(rows),
        "judge": judge,
        "settings": experiment.settings.settings.model_dump(mode="json"),
        "command": command_line(),
        "python": sys.version.split()[0],
        "packages": installed(),
    }
    texts = {ROWS: "".join(f"{row.model_dump_json()}\n" for row in rows), "experiment.toml": experiment.text}
    texts |= {"manifest.json": json.dumps(manifest, indent=2), "summary.md": "\n\n".join(parts) + "\n"}
    images = image_frame(rows)
    frames = {f"tables/{name}": table.frame for name, table in tables.items()}
    frames |= {"images": images} if len(images) else {}
    texts |= {f"{name}.csv": frame.to_csv(index=False, lineterminator="\n") for name, frame in frames.items()}
    for name, text in texts.items():
        store.write(name, text.encode())
    if len(images) and find_spec("pyarrow") is not None:
        images.to_parquet(store.path("images.parquet"), index=False)
    plots, problems = list[tuple[str, str]](), list[str]()
    for figure in figures_of(rows, experiment.variants) if can_plot() else ():
        try:
            drawn = draw(figure)
        except (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError, OSError) as error:
            problems.append(f"The plot {figure.name!r} could not be drawn: {type(error).__name__}: {error}")
            continue
        store.write(f"plots/{figure.name}.svg", drawn)
        plots.append((figure.title, data_url("image/svg+xml", drawn)))
        parts.append(f"![{figure.title}](plots/{figure.name}.svg)")
    store.write("summary.md", ("\n\n".join([*parts, *problems]) + "\n").encode())
    examples = [
        (f"Largest {kind} against {experiment.baseline}", [[_side(row, store) for row in pair] for pair in pairs])
        for kind, pairs in zip(("wins", "losses"), wins_and_losses(rows, experiment.baseline), strict=True)
    ]
    page = filled(
        "experiment",
        title=experiment.name,
        question=experiment.spec.question,
        facts=" ".join([facts, *problems]),
        text=experiment.text,
        tables=list(tables.values()),
        most_rows=MOST_ROWS,
        plots=plots,
        examples=examples,
    )
    store.write("page.html", page.encode())
    return tables


def wins_and_losses(rows: Sequence[ExperimentRow], baseline: str) -> list[list[Example]]:
    """The largest gains in checks, and the largest losses, of all variants; each prompt at most once in a list."""
    theirs = [row for row in rows if row.label == baseline]
    found = gains((row for row in rows if row.label != baseline), theirs)

    def best(sign: int) -> list[Example]:
        by_prompt: dict[str, Example] = {}
        for gain, row, other in sorted(found, key=lambda entry: -sign * entry[0]):
            if sign * gain > 0:
                by_prompt.setdefault(row.prompt, (row, other))
        return list(by_prompt.values())[:MOST_EXAMPLES]

    return [best(1), best(-1)]


def _side(row: ExperimentRow, store: Store) -> dict[str, str]:
    path = store.path(f"{row.folder or '.'}/images/{row.best}.png")
    return {
        "prompt": row.prompt,
        "label": row.label,
        "score": f"{100 * score(row.chosen):.0f}% of checks",
        "failures": ", ".join(check for check, answer in answers(row.chosen).items() if answer != "pass"),
        "source": data_url("image/png", path.read_bytes()) if path.exists() else "",
    }
