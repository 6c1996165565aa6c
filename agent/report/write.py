"""Rendering the page and putting it into the run folder. What the page says is not known here."""

from pathlib import Path

from ...state import RunResult
from ...tools.store import Store
from .views import page

TEMPLATES = Path(__file__).parent.parent / "templates"


def write_report(folder: Path, result: RunResult) -> Path:
    """Write ``report.html`` into the run folder and return its path.

    Raises:
        FileNotFoundError: a picture of the run is not in the folder.
    """
    store = Store(folder)
    return store.path(store.write("report.html", render(result, store).encode()))


def render(result: RunResult, store: Store) -> str:
    """The page as text; the same result and pictures always give the same page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # not needed to import the package

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(page=page(result, store))
