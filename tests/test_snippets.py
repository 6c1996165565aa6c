"""Every snippet of README and docs runs as it stands; what cannot run here says why, and its names are checked.

A page's blocks run in order in a folder of their own: ``python`` blocks share a namespace, and commands run by the
installed entry point. ``<!-- file: NAME -->`` before a block writes it to that file, ``<!-- not run: REASON -->``
leaves it out.
"""

import ast
import importlib
import importlib.metadata
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from detailscribe.agent import build_graph
from detailscribe.agent.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN = {"scaling.md": "needs a Ray cluster", "viewing.md": "serves runs of your own until Ctrl-C"}
"""Pages of which no block is run, with the reason."""
COMMENT = re.compile(r"<!-- (not run|file): (.+) -->")
EXTRAS = set(importlib.metadata.metadata("detailscribe").get_all("Provides-Extra") or ())

every_page = pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])


@dataclass(frozen=True)
class Block:
    """One snippet of a page."""

    language: str
    """As the fence names it; an indented block is ``sh``."""
    text: str
    line: int
    """Number of its first line."""
    file: str | None
    """The file to write it to."""
    not_run: str | None
    """Why it is not run."""


def blocks(page: Path) -> Iterator[Block]:
    lines = [*page.read_text(encoding="utf-8").splitlines(), ""]
    marks: dict[str, str] = {}
    at = 0
    while at < len(lines):
        line, first = lines[at], at
        if mark := COMMENT.fullmatch(line):
            marks[mark[1]] = mark[2]
        elif line.startswith("```"):
            at = next(i for i in range(first + 1, len(lines)) if lines[i] == "```")
            yield _block(line[3:], lines[first + 1 : at], first + 2, marks, page)
            marks = {}
        elif line.startswith("    "):
            at = next(i for i in range(first, len(lines)) if not lines[i].startswith("    "))
            yield _block("sh", [one[4:] for one in lines[first:at]], first + 1, marks, page)
            marks = {}
        elif line:
            assert not marks, f"{page.name}:{first + 1}: a comment about a block, and no block after it"
        at += 1


def _block(language: str, lines: list[str], at: int, marks: dict[str, str], page: Path) -> Block:
    return Block(language, "\n".join(lines) + "\n", at, marks.get("file"), marks.get("not run", NOT_RUN.get(page.name)))


def commands(block: Block) -> list[list[str]]:
    """The words of each command of a shell block."""
    parts = [part for line in block.text.splitlines() for part in line.split(" && ")]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


@every_page
def test_every_snippet_runs(page, tmp_path, monkeypatch):
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DETAILSCRIBE_RUN__STEPS", "8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "folder"
    shutil.copytree(ROOT / "experiments", folder / "experiments", ignore=shutil.ignore_patterns("results"))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    modules, names = set(sys.modules), {"__name__": "snippet"}
    for block in blocks(page):
        if block.file is not None:
            (folder / block.file).write_text(block.text)
            sys.modules.pop(Path(block.file).stem, None)
        elif block.not_run is not None:
            check_names(block)
        elif block.language == "python":
            exec(compile(block.text, f"{page.name}:{block.line}", "exec"), names)
        elif block.language == "sh":
            for words in commands(block):
                run(words, f"{page.name}:{block.line}", monkeypatch)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


def run(words: list[str], place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] in ("pip", "pytest"):  # whoever runs this has done so
        assert extras(words) <= EXTRAS, f"{place}: {words}"
        return
    assert words[0] == "detailscribe", f"{place}: {words[0]} is not run here; say why by <!-- not run: ... -->"
    [command] = importlib.metadata.entry_points(group="console_scripts", name="detailscribe")
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        raise SystemExit(command.load()())
    assert not end.value.code, f"{place}: {shlex.join(words)}"


def extras(words: list[str]) -> set[str]:
    return {extra for word in words for found in re.findall(r"\[(.+?)\]", word) for extra in found.split(",")}


def check_names(block: Block) -> None:
    """What a block that is not run imports can be imported, and its extras exist."""
    if block.language == "sh":
        assert {e for words in commands(block) if words[0] == "pip" for e in extras(words)} <= EXTRAS
    elif block.language == "python":
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("detailscribe"):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
    elif block.language == "toml":
        tomllib.loads(block.text)


def options(command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@every_page
def test_every_command_and_option_exists(page):
    text = page.read_text(encoding="utf-8")
    shell = [line for block in blocks(page) if block.language == "sh" for line in block.text.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    known = typer.main.get_command(app)
    for line in [*shell, *inline]:
        for called in re.findall(r"(?:^|&& |bin/)detailscribe ([a-z].*)", line):
            words = called.partition("#")[0].split()
            command = known
            while words and getattr(command, "commands", None):
                name, *words = words
                assert name in command.commands, f"{page.name}: detailscribe {called}"
                command = command.commands[name]
            given = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
            assert given <= options(command), f"{page.name}: detailscribe {called}"
        if module := re.search(r"python3? -m (detailscribe\.[\w.]+|benchmarks\.\w+|training)\b", line):
            assert list(ROOT.glob(module[1].removeprefix("detailscribe.").replace(".", "/") + "*")), module[0]


@every_page
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        other = page.parent / path if path else page
        assert other.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, target


def test_the_readme_is_short_and_draws_the_graph_that_runs():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= 7000
    drawn = re.findall(r"^\t(\w+)(?:\(.+?\))? (?:-->|-\. \w+ \.->) (\w+)", text, re.MULTILINE)
    assert sorted(drawn) == sorted((edge.source, edge.target) for edge in build_graph().get_graph().edges)
