"""Views of a folder that a stranger made: nothing outside is read or written, and nothing commands the terminal."""

import asyncio
import io
import json
import os
import time
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from detailscribe.agent import Adaptive, arun
from detailscribe.agent.cli import app
from detailscribe.agent.cli.common import PlainStream
from detailscribe.agent.views.words import COMPARED, differences

from .fakes import PROMPT, roles

CLEAR = "\x1b[2J"
"""Clears a terminal."""
CLIPBOARD = "\x1b]52;c;aGk=\x07\x9b2J\r\x08"
"""Writes the clipboard, clears the screen in one byte, and goes back in the line."""
BIDI = "\u202e\u2066\u202d\u2069"
"""Shows what follows in another order."""
COMMANDS = set(range(32)) - {9, 10} | set(range(127, 160)) | set(range(0x202A, 0x202F)) | set(range(0x2066, 0x206A))
HOSTILE = f"{CLEAR}{CLIPBOARD}{BIDI}\x1b[8m\x1b[31m\x1b]0;title\x1b\\\x1bP+q\x1b\\\x90\x9d0;t\x9c\x85\x1bc"


def cli(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
async def run(tmp_path):
    await arun(PROMPT, out=tmp_path / "runs" / "a", policy=Adaptive(images=1), **roles({}))
    return tmp_path / "runs" / "a"


@pytest.fixture
def secret(tmp_path):
    """A picture of the user's that no run folder has to do with."""
    path = tmp_path / "home" / "secret.png"
    path.parent.mkdir()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(path)
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and not p.is_symlink()}


def name_in_trace(run: Path, path: str) -> None:
    """The picture of the first image, as its trace has it, lies elsewhere."""
    for name in ("events.jsonl", "result.json"):
        text = (run / name).read_text()
        assert "images/00-00.png" in text
        (run / name).write_text(text.replace("images/00-00.png", path))


def link_to(target: Path, link: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


@pytest.mark.parametrize("how", ["absolute", "dots", "link"])
async def test_a_picture_outside_the_folder_is_neither_shown_nor_copied(run, secret, how):
    if how == "link":
        link_to(secret, run / "images/00-00.png")
    else:
        name_in_trace(run, str(secret) if how == "absolute" else "../../home/secret.png")
    before = everything(secret.parent)
    for command in (["report", run], ["show", run, "--images"], ["report", run.parent]):
        done = cli(*command)
        assert done.exit_code in (0, 2), done.exception
        assert len(done.stderr.splitlines()) <= 1
        assert "▀" not in done.stdout
    assert cli("report", run).exit_code == 2
    assert not (run.parent / "thumbnails").exists()
    assert everything(secret.parent) == before


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
async def test_a_damaged_picture_is_passed_over_or_refused_in_one_line(run, data):
    for name in ("events.jsonl", "result.json"):  # of a size that is made smaller for the page
        text = (run / name).read_text()
        (run / name).write_text(text.replace('"width":8', '"width":1024').replace('"width": 8', '"width": 1024'))
    (run / "images/00-00.png").write_bytes(data)
    assert cli("show", run, "--images").exit_code == 0
    assert cli("report", run.parent).exit_code == 0
    done = cli("report", run)
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.parametrize("link", ["a/report.html", "a/.report.html.partial", "report.html", ".report.html.partial"])
async def test_a_page_is_not_written_through_a_link(run, secret, link):
    link_to(secret, run.parent / link)
    before = everything(secret.parent)
    for folder in (run, run.parent):
        assert cli("report", folder).exit_code in (0, 2)
    assert everything(secret.parent) == before


async def test_thumbnails_are_not_written_through_a_linked_folder(run, secret):
    (run.parent / "thumbnails").symlink_to(secret.parent)
    before = everything(secret.parent)
    done = cli("report", run.parent)
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert everything(secret.parent) == before


@pytest.mark.parametrize(
    "command",
    [
        ["show", "RUN"],
        ["show", "RUN", "--json"],
        ["report", "RUN"],
        ["history", "RUN"],
        ["report", f"no{CLEAR}folder"],
        ["show", f"no{CLIPBOARD}folder"],
        ["run", f"a {CLEAR} xylophone"],
        ["batch", f"{CLEAR}.jsonl"],
        ["doctor", "--preset", CLEAR],
        ["compare", CLEAR, CLIPBOARD],
        ["ratings", CLEAR],
        ["replay", CLEAR],
        ["experiment", f"{CLEAR}.toml"],
        [f"{CLEAR}{CLIPBOARD}"],
        ["show", "RUN", f"--{CLIPBOARD}"],
        *([command, HOSTILE] for command in ("resume", "fork", "history", "reproduce", "export", "evaluate", "rate")),
        *([command, HOSTILE] for command in ("show", "report", "ratings", "replay", "compare", "experiment", "batch")),
        *(["run", PROMPT, f"--{name}", HOSTILE] for name in ("policy", "preset", "settings", "seed", "diffusion")),
        ["run", PROMPT, "--policy", "single", "-p", f"{HOSTILE}=1"],
        ["run", PROMPT, "--chat-url", f"http://{HOSTILE}/v1", "--chat-model", "m"],
        ["run", PROMPT, "--chat-url", "http://127.0.0.1:9/v1", "--chat-model", HOSTILE],
        ["doctor", "--chat-url", "http://127.0.0.1:9/v1", "--chat-model", HOSTILE],
        ["batch", "table.csv", "--out", "b"],
        ["batch", "table.csv", "--prompt-column", HOSTILE, "--out", "b"],
        ["batch", "prompts.jsonl", "--out", "b"],
        ["evaluate", "RUN", "--metrics", HOSTILE],
        ["experiment", "e.toml"],
        ["data", HOSTILE],
    ],
)
def test_no_command_prints_what_commands_the_terminal(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / f"run{CLEAR}"
    asyncio.run(arun(PROMPT, out=folder, policy=Adaptive(images=1), **roles({})))
    (tmp_path / "table.csv").write_text(f'"{HOSTILE}","b{HOSTILE}"\n1,2\n', "utf-8")
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": f"a cat {HOSTILE}", "id": HOSTILE}))
    (tmp_path / "e.toml").write_text(f"question = {json.dumps(HOSTILE)}\n{json.dumps(HOSTILE)} = 1\n")
    trace = folder / "events.jsonl"
    trace.write_text(trace.read_text().replace(PROMPT, json.dumps(f"{PROMPT} {CLEAR}{CLIPBOARD}")[1:-1]))
    done = cli(*(folder if part == "RUN" else part for part in command))
    printed = done.stdout + done.stderr
    assert printed
    assert not isinstance(done.exception, Exception) or isinstance(done.exception, SystemExit), done.exception
    assert not {ord(c) for c in printed} & COMMANDS


def test_progress_bars_of_libraries_and_colours_reach_the_terminal():
    written = io.StringIO()
    stream = PlainStream(written)
    for text in ("\r 40%|##  |", "\x1b[A", "\n\n\x1b[A", "\x1b[31merror\x1b[0m"):
        stream.write(text)
        assert written.getvalue().endswith(text)
    stream.write(f"x\r{CLEAR}\x1b[A")
    assert written.getvalue().endswith(
        "x\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}[A"
    )


async def test_json_keeps_every_word_that_is_no_command(run):
    assert json.loads(cli("show", run, "--json").stdout)["prompt"] == PROMPT


def seconds(before: str, after: str) -> float:
    def once() -> float:
        began = time.process_time()
        differences(before, after)
        return time.process_time() - began

    return min(once() for _ in range(3))


def test_the_differences_of_prompts_grow_with_their_length_and_not_faster():
    def pair(words: int) -> tuple[str, str]:
        return " ".join(f"a b{n % 7}" for n in range(words)), " ".join(f"b{n % 5} a c" for n in range(words))

    short, long = pair(4 * COMPARED), pair(32 * COMPARED)
    assert seconds(*long) < 8 * 3 * max(seconds(*short), 1e-3)


def test_long_prompts_show_what_they_have_in_common_at_both_ends():
    middle = [" ".join(f"{letter}{n}" for n in range(2 * COMPARED)) for letter in "xy"]
    pieces = differences(f"a red fox, {middle[0]} at night", f"a red fox, {middle[1]} at night")
    assert [(p.edit, p.text) for p in pieces] == [
        ("same", "a red fox, "),
        ("removed", f"{middle[0]} "),
        ("added", f"{middle[1]} "),
        ("same", "at night"),
    ]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
@pytest.mark.parametrize("command", [["show"], ["show", "--json"], ["show", "--images"]])
async def test_a_run_is_shown_in_any_encoding(run, monkeypatch, encoding, command):
    with (run.parent / "out").open("w", encoding=encoding, errors="strict") as out:
        monkeypatch.setattr("sys.stdout", out)
        app([*command, str(run)], standalone_mode=False)
    assert PROMPT in (run.parent / "out").read_text(encoding)


def test_names_of_files_that_are_no_unicode_print_no_single_byte(tmp_path, capfdbinary):
    """On a terminal of single bytes, 0x9b alone begins a command."""
    name = os.fsdecode(b"no\x9b2J")
    with open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False) as out:
        PlainStream(out).write(f"{name} {BIDI}")
    assert b"\x9b2J" not in capfdbinary.readouterr().out


async def test_json_keeps_what_would_be_shown_in_another_order(run):
    for name in ("events.jsonl", "result.json"):
        (run / name).write_text((run / name).read_text().replace(PROMPT, f"{PROMPT} {BIDI}"), "utf-8")
    shown = cli("show", run, "--json").stdout
    assert not {ord(c) for c in shown} & COMMANDS
    assert json.loads(shown)["prompt"] == f"{PROMPT} {BIDI}"


def test_letters_may_be_coloured_and_not_hidden():
    written = io.StringIO()
    PlainStream(written).write("\x1b[1;31mred\x1b[0m \x1b[8mhidden \x1b[30;40mblack \x1b[38;5;0mblack")
    assert written.getvalue().count("\x1b") == 2
