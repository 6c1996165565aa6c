"""The files of an experiment's results: rows, tables, plots, and one HTML page that needs nothing else."""

import json
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from ...tools.files import Store
from ..evaluation.tables import Table, comma_separated, markdown
from ..records.manifest import command_line, installed
from ..views.pages import data_url, filled
from .load import Experiment
from .measures import answers, by_label, finished, score
from .plots import Figure, can_plot, draw, figures_of
from .rows import Row, image_frame
from .summary import tables_of

ROWS = "rows.jsonl"
"""The rows of the whole experiment, one a run, in its order."""
MOST_ROWS = 40
"""Of a table that the page shows without a click."""
Example = tuple[Row, Row]
"""Runs of a variant and of the baseline with the same prompt and seed."""
Plots = Mapping[str, tuple[str, bytes]]
"""Title and SVG by name."""


def write_results(experiment: Experiment, rows: Sequence[Row], folder: Path) -> dict[str, Table]:
    """Write ``rows.jsonl``, ``summary.md``, ``page.html``, ``tables/*.csv``, ``plots/*.svg`` and the tidy ``images.*``.

    Rows and tables are written before any plot is drawn, and a plot that cannot be drawn is named in ``summary.md``
    and on the page. Plots are left out where matplotlib is not installed; ``images.parquet`` where pyarrow is not,
    which leaves ``images.csv``.

    Returns:
        The tables, by the name of their file.
    """
    store, tables = Store(folder), tables_of(rows, experiment.baseline, experiment.variants)
    store.write(ROWS, "".join(f"{row.model_dump_json()}\n" for row in rows).encode())
    store.write("experiment.toml", experiment.text.encode())
    store.write("manifest.json", json.dumps(_manifest(experiment, rows), indent=2).encode())
    for name, table in tables.items():
        store.write(f"tables/{name}.csv", comma_separated(table).encode())
    images = image_frame(rows)
    if len(images):
        store.write("images.csv", images.to_csv(index=False, lineterminator="\n").encode())
        if find_spec("pyarrow") is not None:
            images.to_parquet(store.path("images.parquet"), index=False)
    store.write("summary.md", _summary(experiment, rows, tables, {}, []).encode())
    drawn, problems = _write_plots(store, figures_of(rows, experiment.variants) if can_plot() else [])
    store.write("summary.md", _summary(experiment, rows, tables, drawn, problems).encode())
    examples = [
        (f"Largest {kind} against {experiment.baseline}", [[_side(row, folder) for row in pair] for pair in found])
        for kind, found in zip(("wins", "losses"), wins_and_losses(rows, experiment.baseline), strict=True)
    ]
    page = filled(
        "experiment",
        title=experiment.name,
        question=experiment.spec.question,
        facts=" ".join([_facts(experiment, rows), *problems]),
        text=experiment.text,
        tables=list(tables.values()),
        most_rows=MOST_ROWS,
        plots=[(title, data_url("image/svg+xml", drawing)) for title, drawing in drawn.values()],
        examples=examples,
    )
    store.write("page.html", page.encode())
    return tables


def wins_and_losses(rows: Sequence[Row], baseline: str, count: int = 4) -> tuple[list[Example], list[Example]]:
    """The largest gains in checks, and the largest losses, of all variants; each prompt at most once on a side."""
    theirs = {(row.prompt, row.seed): row for row in finished(rows) if row.label == baseline}
    groups = by_label(finished(rows))
    ours = [row for label, group in groups.items() for row in group if label != baseline]
    found = [(row, theirs[row.prompt, row.seed]) for row in ours if (row.prompt, row.seed) in theirs]

    def best(sign: int) -> list[Example]:
        gains = [(sign * (score(row.chosen) - score(other.chosen)), (row, other)) for row, other in found]
        once: dict[str, Example] = {}
        for gain, example in sorted(gains, key=lambda gain: -gain[0]):
            if gain > 0:
                once.setdefault(example[0].prompt, example)
        return list(once.values())[:count]

    return best(1), best(-1)


def failures_of(row: Row) -> list[str]:
    """Checks that the chosen image does not pass."""
    return [check for check, answer in answers(row.chosen).items() if answer != "pass"]


def _write_plots(store: Store, figures: Sequence[Figure]) -> tuple[Plots, list[str]]:
    """Title and file by name of every plot, and one line for each that matplotlib cannot draw."""
    drawn, problems = dict[str, tuple[str, bytes]](), list[str]()
    for figure in figures:
        try:
            drawn[figure.name] = (figure.title, draw(figure))
        except (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError, OSError) as error:
            problems.append(f"The plot {figure.name!r} could not be drawn: {type(error).__name__}: {error}")
            continue
        store.write(f"plots/{figure.name}.svg", drawn[figure.name][1])
    return drawn, problems


def _summary(
    experiment: Experiment,
    rows: Sequence[Row],
    tables: Mapping[str, Table],
    drawn: Plots,
    problems: Sequence[str],
) -> str:
    parts = [f"# {experiment.name}", experiment.spec.question, _facts(experiment, rows)]
    parts += [markdown(table) for table in tables.values()]
    parts += [f"![{title}](plots/{name}.svg)" for name, (title, _) in drawn.items()]
    return "\n\n".join([*parts, *problems]) + "\n"


def _facts(experiment: Experiment, rows: Sequence[Row]) -> str:
    prompts, failed = len({row.prompt for row in rows}), len(rows) - len(finished(rows))
    judge = next((row.judge for row in rows if row.judge), "none")
    lost = f", of which {failed} failed and are missing" if failed else ""
    return f"{prompts} prompts, {len(experiment.spec.seeds)} seed(s), {len(rows)} runs{lost}. Judge: {judge}."


def _manifest(experiment: Experiment, rows: Sequence[Row]) -> dict[str, object]:
    return {
        "experiment": experiment.name,
        "runs": len(rows),
        "judge": next((row.judge for row in rows if row.judge), None),
        "settings": experiment.settings.settings.model_dump(mode="json"),
        "command": command_line(),
        "python": sys.version.split()[0],
        "packages": installed(),
    }


def _side(row: Row, folder: Path) -> dict[str, str]:
    path = Store(folder).path(f"{row.folder or '.'}/images/{row.best}.png")
    return {
        "prompt": row.prompt,
        "label": row.label,
        "score": f"{100 * score(row.chosen):.0f}% of checks",
        "failures": ", ".join(failures_of(row)),
        "source": data_url("image/png", path.read_bytes()) if path.exists() else "",
    }
