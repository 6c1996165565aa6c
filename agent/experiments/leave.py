"""What an experiment leaves beside its rows: tables, plots and the page."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from ...tools.store import Store
from ..traces.manifest import installed
from .curves import figures_of
from .loading import Loadout
from .page import page
from .plots import can_plot, svg
from .rows import Row, image_rows
from .summary import tables_of
from .tables import Table, comma_separated, markdown
from .variants import baseline_of

ROWS = "rows.jsonl"
"""The rows of the whole experiment, one a run, in its order."""


def leave(loadout: Loadout, rows: Sequence[Row], folder: Path) -> dict[str, Table]:
    """Write ``rows.jsonl``, ``summary.md``, ``page.html``, ``tables/*.csv``, ``plots/*.svg`` and the tidy ``images.*``.

    Plots are left out where matplotlib is not installed; ``images.parquet`` where pyarrow is not, which leaves
    ``images.csv``.

    Returns:
        The tables, by the name of their file.
    """
    store, baseline = Store(folder), baseline_of(loadout.experiment, list(loadout.variants)).label
    tables = tables_of(rows, baseline, loadout.variants)
    figures = figures_of(rows, loadout.variants) if can_plot() else []
    drawings = {figure.name: (figure.title, svg(figure)) for figure in figures}
    facts = _facts(loadout, rows)
    store.write(ROWS, "".join(f"{row.model_dump_json()}\n" for row in rows).encode())
    for name, table in tables.items():
        store.write(f"tables/{name}.csv", comma_separated(table).encode())
    for name, (_, drawing) in drawings.items():
        store.write(f"plots/{name}.svg", drawing.encode())
    store.write("experiment.toml", loadout.text.encode())
    store.write("manifest.json", json.dumps(_manifest(loadout, rows), indent=2).encode())
    store.write("summary.md", _summary(loadout, facts, tables, drawings).encode())
    shown = page(
        name=loadout.name,
        question=loadout.experiment.question,
        facts=facts,
        text=loadout.text,
        tables=list(tables.values()),
        plots=list(drawings.values()),
        rows=rows,
        baseline=baseline,
        folder=folder,
    )
    store.write("page.html", shown.encode())
    _leave_images(store, rows)
    return tables


def _leave_images(store: Store, rows: Sequence[Row]) -> None:
    """The tidy table, one row an image."""
    found = image_rows(list(rows))
    if not found:
        return
    out = io.StringIO()
    writer = csv.DictWriter(out, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    store.write("images.csv", out.getvalue().encode())
    if find_spec("pyarrow") is not None:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(found), store.path("images.parquet"))


def _summary(loadout: Loadout, facts: str, tables: dict[str, Table], drawings: dict[str, tuple[str, str]]) -> str:
    parts = [f"# {loadout.name}", loadout.experiment.question, facts]
    parts += [markdown(table) for table in tables.values()]
    parts += [f"![{title}](plots/{name}.svg)" for name, (title, _) in drawings.items()]
    return "\n\n".join(parts) + "\n"


def _facts(loadout: Loadout, rows: Sequence[Row]) -> str:
    prompts, failed = len({row.prompt for row in rows}), sum(row.error is not None for row in rows)
    judge = next((row.judge for row in rows if row.judge), "none")
    seeds = len(loadout.experiment.seeds)
    lost = f", of which {failed} failed and are left out" if failed else ""
    return f"{prompts} prompts, {seeds} seed(s), {len(rows)} runs{lost}. Judge: {judge}."


def _manifest(loadout: Loadout, rows: Sequence[Row]) -> dict[str, object]:
    return {
        "experiment": loadout.name,
        "runs": len(rows),
        "judge": next((row.judge for row in rows if row.judge), None),
        "settings": loadout.settings.settings.model_dump(mode="json"),
        "command": sys.argv,
        "python": sys.version.split()[0],
        "packages": installed(),
    }
