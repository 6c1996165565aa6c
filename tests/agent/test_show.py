"""What ``detailscribe show`` and ``detailscribe report`` print, and pictures in a terminal."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from detailscribe.agent import Adaptive, afork, arun, read_run
from detailscribe.agent.cli import app
from detailscribe.agent.views.terminal import PlainConsole, escape, half_blocks, protocol_of, story
from detailscribe.state import Budget

from .fakes import PROMPT, FakeDiffusion, roles
from .hostile import HOSTILE, HostileCritic

SCRIPT = {"00-00": "red holding", "00-01": "red holding alone", "01-00": "holding alone", "02-00": ""}


@pytest.fixture
async def folder(tmp_path):
    await arun(PROMPT, out=tmp_path / "run", policy=Adaptive(images=2), seed=7, **roles(SCRIPT))
    return tmp_path / "run"


def cli(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def words_of(page) -> str:
    return " ".join(re.sub("<[^>]+>", "", Path(page).read_text("utf-8")).split())


def told(run) -> str:
    console = PlainConsole(file=io.StringIO(), width=200)
    console.print(story(run))
    return console.file.getvalue()


async def test_the_story_is_a_tree_of_images_with_what_became_of_them_and_why(folder):
    lines = [line.strip("│├└─ ") for line in cli("show", folder).stdout.splitlines()]
    assert lines[0] == PROMPT
    assert any(line.startswith("00-00  3/5  first drawing, seed 7") for line in lines)
    assert any(line.startswith("★ 02-00  5/5  inject from step") for line in lines)
    for line in (
        "▲ fixed   Is the umbrella red?",
        "▼ broken  Is there nothing else?",
        "→ stop all_pass: every check passes",
        "stopped  all_pass",
    ):
        assert line in lines, line
    assert "4 images, 21" in lines[-2]
    assert lines[-1] == "fake@0: 4 images, 1.0 s"


async def test_a_child_hangs_below_its_parent(folder):
    lines = cli("show", folder).stdout.splitlines()
    indent = {m[2]: len(m[1]) for line in lines if (m := re.match(r"([│├└─ ★]*)(0\d-0\d)  ", line))}
    run = read_run(folder)
    for image in run.images.values():
        assert indent[image.id] > (indent[image.parent] if image.parent else 0)


async def test_a_corrected_prompt_is_shown_with_both_its_words(folder):
    assert re.search(r"prompt: .*cat holding a red umbrella.*corrected prompt", cli("show", folder).stdout)


async def test_json_holds_the_whole_run(folder):
    data, run = json.loads(cli("show", folder, "--json").stdout), read_run(folder)
    assert (data["status"], data["best"], data["stop"]) == ("finished", "02-00", "all_pass")
    assert data["images"] == json.loads(json.dumps(run.rows()))
    assert len(data["checks"]) == 20


async def test_a_fork_names_its_parent_and_a_person_who_decided_is_named(folder, tmp_path):
    edits = {"00-00.red": "pass"}
    await afork(folder, 3, edits=edits, out=tmp_path / "fork", ask=lambda question: None, **roles(SCRIPT))
    lines = cli("show", tmp_path / "fork").stdout.splitlines()
    assert lines[1] == f"forked   from {read_run(folder).run} after step 3, with 00-00.red=pass"
    assert lines[2] == "judge    a person; the policy only proposed"
    data = json.loads(cli("show", tmp_path / "fork", "--json").stdout)
    assert (data["parent"]["edits"], data["interactive"]) == (edits, True)
    text = words_of(cli("report", tmp_path / "fork").stdout.strip())
    assert f"Forked from {read_run(folder).run} after step 3, with 00-00.red=pass A person decided" in text


async def test_a_failed_run_is_shown_with_its_error(tmp_path):
    with pytest.raises(RuntimeError):
        await arun(PROMPT, out=tmp_path / "run", **roles(SCRIPT, diffusion=FakeDiffusion(breaks_at="01-00")))
    assert "failed   RuntimeError: the model broke" in cli("show", tmp_path / "run").stdout


async def test_a_run_that_was_killed_is_shown_as_far_as_it_came(folder):
    trace = folder / "events.jsonl"
    trace.write_bytes(trace.read_bytes()[: trace.stat().st_size // 2])
    (folder / "result.json").unlink()
    shown = cli("show", folder).stdout
    assert "unfinished: it goes on, or was killed" in shown
    assert "no decision yet" in shown


async def test_no_text_of_a_model_commands_the_terminal_or_becomes_markup(tmp_path):
    given = roles(SCRIPT, critic=HostileCritic(SCRIPT))
    await arun(f"{PROMPT} [bold]{HOSTILE}", out=tmp_path / "run", policy=Adaptive(images=2), **given)
    run = read_run(tmp_path / "run")
    decided = [e for e in run.events if e.type == "decided"]
    bad = decided[0].decision.model_copy(update={"reason": "\x1b]0;title\x07\x9b2J [red]so"})
    events = [e.model_copy(update={"decision": bad}) if e is decided[0] else e for e in run.events]
    shown = told(type(run)(run.folder, tuple(events), None))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
    assert "[bold]<script>" in shown
    assert "[red]so" in shown


@pytest.mark.parametrize("command", ["show", "report"])
def test_a_folder_without_a_run_is_one_line(tmp_path, command):
    done = cli(command, tmp_path)
    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "no run" in done.stderr


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "screen-256color", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, None),
        ({"TERM": "xterm-256color"}, None),
        ({}, None),
    ],
)
def test_a_terminal_is_asked_only_for_what_it_says_it_can(environment, protocol):
    assert protocol_of(environment) == protocol


@pytest.mark.parametrize("protocol", ["kitty", "iterm2"])
def test_a_picture_is_sent_whole(tmp_path, protocol):
    path = tmp_path / "noise.png"
    Image.effect_noise((128, 128), 90).save(path)
    command = escape(path.read_bytes(), protocol)
    if protocol == "kitty":
        chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", command)
        assert all(len(data) <= 4096 for _, data in chunks)
        assert [keys[-1] for keys, _ in chunks] == ["1"] * (len(chunks) - 1) + ["0"]
        data = "".join(data for _, data in chunks)
    else:
        data = command.partition(":")[2].rstrip("\a")
    assert base64.b64decode(data) == path.read_bytes()


def test_half_blocks_show_two_pixels_in_a_character(tmp_path):
    path = tmp_path / "flag.png"
    flag = Image.new("RGB", (2, 2), (255, 0, 0))
    flag.paste((0, 0, 255), (0, 1, 2, 2))
    flag.save(path)
    text = half_blocks(path.read_bytes(), columns=2)
    assert text.plain == "▀▀"
    assert {(span.style.color.triplet.hex, span.style.bgcolor.triplet.hex) for span in text.spans} == {
        ("#ff0000", "#0000ff")
    }


async def test_images_are_drawn_only_where_they_were_asked_for(folder):
    assert "▀" in cli("show", folder, "--images").stdout
    assert "▀" not in cli("show", folder).stdout


async def test_a_run_of_many_images_has_a_line_an_image_and_the_best_line_of_descent_in_full(tmp_path):
    script = {f"{r:02d}-{n:02d}": "red" if r == n == 3 else "red holding" for r in range(4) for n in range(6)}
    policy, budget = Adaptive(images=6, width=6), Budget(images=24, rounds=3)
    await arun(PROMPT, out=tmp_path / "run", policy=policy, budget=budget, seed=7, **roles(script))
    run, lines = read_run(tmp_path / "run"), cli("show", tmp_path / "run").stdout.splitlines()
    assert len(run.images) == 24
    assert len(lines) < 60
    [best] = [n for n, line in enumerate(lines) if f"★ {run.best.id}" in line]
    assert "▲ fixed   Does the cat hold it?" in lines[best + 2]
    assert sum(line.endswith("drawn anew  → stop budget_rounds") for line in lines) == 5
    spent = "the budget is used up: 3 of 3 rounds, 24 of 24 images"
    assert f"stopped  budget_rounds; {spent}" in lines
    assert spent in words_of(cli("report", tmp_path / "run").stdout.strip())
