"""An experiment as one HTML page that needs nothing else."""

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .examples import Example, failures_of, wins_and_losses
from .measures import score
from .rows import Row
from .tables import Table

MOST_ROWS = 40
"""Of a table that is shown without a click."""
_PLAIN = """<h2>{{ table.title }}</h2>
{% if long %}<details><summary>{{ table.rows | length }} lines</summary>{% endif %}<div class="scroll"><table><tr>
{% for column in table.columns %}<th class="{{ column.style }}">{{ column.name }}</th>{% endfor %}</tr>
{% for row in table.texts %}<tr>{% for cell in row %}<td class="{{ table.columns[loop.index0].style }}">{{ cell }}</td>\
{% endfor %}</tr>{% endfor %}</table></div>{% if long %}</details>{% endif %}\
{% if table.note %}<p class="note">{{ table.note }}</p>{% endif %}"""


def page(
    name: str,
    question: str,
    facts: str,
    text: str,
    tables: Sequence[Table],
    plots: Sequence[tuple[str, str]],
    rows: Sequence[Row],
    baseline: str,
    folder: Path,
) -> str:
    """The page; ``plots`` are titles with SVG, ``folder`` is that of the run folders."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    one_table = environment.from_string(_PLAIN)
    template = environment.from_string(Path(__file__).with_name("page.html.jinja").read_text(encoding="utf-8"))

    def show(table: Table) -> Markup:
        return Markup(one_table.render(table=table, long=len(table.rows) > MOST_ROWS))

    wins, losses = wins_and_losses(rows, baseline)
    return template.render(
        name=name,
        question=question,
        facts=facts,
        text=text,
        tables=tables,
        show=show,
        plots=[(title, _data_url("image/svg+xml", drawing.encode())) for title, drawing in plots],
        examples=[
            (f"Largest wins against {baseline}", [_shown(e, folder) for e in wins]),
            (f"Largest losses against {baseline}", [_shown(e, folder) for e in losses]),
        ],
    )


def _shown(example: Example, folder: Path) -> dict[str, Any]:
    return {"prompt": example.ours.prompt, "sides": [_side(row, folder) for row in (example.ours, example.theirs)]}


def _side(row: Row, folder: Path) -> dict[str, str]:
    path = folder / (row.folder or "") / "images" / f"{row.best}.png"
    return {
        "label": row.label,
        "score": f"{100 * score(row.chosen):.0f}% of checks",
        "failures": ", ".join(failures_of(row)),
        "source": _data_url("image/png", path.read_bytes()) if path.exists() else "",
    }


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"
