"""Rendering the page of one run and putting it into a file. What the page says is not known here."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...state import RunResult
from ...tools.store import Store
from ..traces.reader import is_run, read_run
from .story import Story, story_of_result, story_of_run
from .views import page

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent.parent / "templates"


def write_report(folder: Path, result: RunResult | None = None, out: Path | None = None) -> Path:
    """Write ``report.html`` into the run folder, or the page to ``out``, and return its path.

    Args:
        folder: Of the run.
        result: Of the run; read from the folder, as far as the run came, unless given.
        out: The file to write.

    Raises:
        FileNotFoundError: a picture of the run is not in the folder.
        TraceError: the folder cannot be read as a run, or the run has no image yet.
    """
    store = Store(folder)
    html = render(_story(folder, result), store).encode()
    if out is None:
        return store.path(store.write("report.html", html))
    return write_whole(out, html)


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file whole, its folder too where there is none."""
    store = Store(path.parent)
    return store.path(store.write(path.name, data))


def _story(folder: Path, result: RunResult | None) -> Story:
    if result is None:
        return story_of_run(read_run(folder))
    return story_of_result(result, read_run(folder) if is_run(folder) else None)


def render(story: Story, store: Store) -> str:
    """The page as text; the same story and pictures always give the same page."""
    return filled("report", page=page(story, store))


def filled(name: str, **values: Any) -> str:
    """A page of the templates: ``name.html.jinja`` with ``name.js`` inlined, which alone may run."""
    from markupsafe import Markup  # not needed to import the package

    script = (TEMPLATES / f"{name}.js").read_text(encoding="utf-8")
    digest = b64encode(sha256(script.encode()).digest()).decode("ascii")
    template = _environment().get_template(f"{name}.html.jinja")
    return template.render(script=Markup(script), script_hash=f"sha256-{digest}", **values)


@cache
def _environment() -> "Environment":
    """Kept with the templates that it has compiled, which takes longer than to fill one."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
