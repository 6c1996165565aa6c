"""Bad input of any kind, on the command line and from Python: one line, exit status 2, before anything is drawn, and
nothing left behind."""

import asyncio
import errno
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from detailscribe.agent import Context, PolicyError, context, fork, history, resolve_policy, resume, run, run_batch
from detailscribe.agent.cli import app
from detailscribe.agent.cli.common import ASK_FOR_REPORT
from detailscribe.agent.evaluation.collect import collect
from detailscribe.agent.evaluation.measure import measure
from detailscribe.agent.experiments.load import load_experiment
from detailscribe.agent.experiments.run import run_experiment
from detailscribe.state import Budget
from detailscribe.tools.errors import DetailScribeError, ModelError, mended
from detailscribe.tools.files import Store

from .fakes import PROMPT, FakeDecomposer, FakeDiffusion, ScriptedCritic, roles, stand_in

BIG, HUGE, LONG = str(2**64), "9" * 400, "9" * 5000
DEEP = 3000
POLICIES = """
import asyncio, collections, enum, os, sys

number, text, nothing, table, module = 5, "adaptive", None, {"plan": 1}, os
lines = (str(n) for n in range(3))

def none(): return []
def two(a, b): return []
def named(*, population): return []
async def later(population): return []
def several(population): yield 1

class Empty: pass
class Exits:
    def __init__(self): sys.exit(0)
    def plan(self, concepts): return []
    def judge(self, population): return []
class Raises(Exits):
    def __init__(self): raise KeyError("no such thing")
class Wants(Exits):
    def __init__(self, a, b): pass
class NoPlan:
    def judge(self, population): return []
class NoArguments:
    def plan(self): return []
    def judge(self): return []
class Later:
    async def plan(self, concepts): return []
    async def judge(self, population): return []
class Attributes:
    plan, judge = 1, 2
class Colour(enum.Enum):
    RED = 1
instance = Empty()
broken = NoArguments()
"""
KINDS = (
    *("number", "text", "nothing", "table", "module", "lines", "none", "two", "named", "later", "several", "Empty"),
    *("Exits", "Raises", "Wants", "NoPlan", "NoArguments", "Later", "Attributes", "Colour", "Colour.RED", "instance"),
    *("broken", "missing", "", "number.real", "a b", "é"),
)
PLACES = (
    *("exits:x", "raises:x", "interrupts:x", "wrong:x", "deep:x", ":x", "mods", "..:x", "mods.:x", "mods:x:y", "a b:c"),
    *("os:system", "os:getcwd", "builtins:len", "builtins:object", "builtins:print", "sys:exit", "subprocess:Popen"),
    *("builtins:int", "asyncio:sleep", "collections:OrderedDict", "typing:Any", "this:s", "mods\0:x", "/etc/passwd:x"),
)
EXPERIMENT = """
question = "?"
prompts.texts = ["a cat holding a red umbrella"]
judge.kind = "critic"
[[policies]]
policy = "best_of_n"
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder of a user's with a run, a batch and files of every odd kind; fakes stand in for the models."""
    root = tmp_path_factory.mktemp("world")
    here, path, environment = Path.cwd(), list(sys.path), dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("DETAILSCRIBE_", "OPENAI_"))]:
        del os.environ[name]
    os.environ["DETAILSCRIBE_CHAT__CACHE"] = "off"
    os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = "1"  # seconds in which a collector that is not there is tried again
    os.chdir(root)
    with pytest.MonkeyPatch.context() as patch:
        stand_in(FakeDecomposer, FakeDiffusion, lambda: ScriptedCritic({}), patch.setattr)
        patch.setattr(sys, "dont_write_bytecode", True)
        (root / "file").write_text("seed = = 3")
        (root / "binary").write_bytes(b"\xff\xfe\x00")
        (root / "empty").touch()
        (root / "folder").mkdir()
        (root / "folder" / "inside").touch()
        (root / "hollow").mkdir()
        (root / "folder.csv").mkdir()
        (root / "loop.csv").symlink_to("loop.csv")
        os.mkfifo(root / "pipe.csv")
        (root / "loop").symlink_to("loop")
        (root / "dangling").symlink_to("nowhere/at/all")
        os.mkfifo(root / "pipe")
        (root / "mods.py").write_text(POLICIES)
        (root / "exits.py").write_text("import sys; sys.exit(0)")
        (root / "raises.py").write_text("1 / 0")
        (root / "interrupts.py").write_text("class Stop(BaseException): pass\nraise Stop")
        (root / "wrong.py").write_text("def (")
        (root / "deep.py").write_text("x = " + "(" * DEEP)
        files = {
            "deep.toml": "run.policy_args.x = " + "[" * DEEP,
            "dotted.toml": ".".join("a" * DEEP) + " = 1",
            "args.toml": "run.policy_args." + ".".join("a" * DEEP) + " = 1",
            "table.toml": "run = 5",
            "list.toml": "[[run]]\nseed = 1",
            "budget.toml": "run.budget = 5",
            "none.toml": "chat = false",
            "words.toml": 'run = "embedded"',
            "array.toml": "diffusion = []",
            "inner.toml": "run.seed.value = 1",
            "big.toml": f"run.seed = {HUGE}",
            "long.toml": f"run.seed = {LONG}",
            "inf.toml": "run.guidance = inf",
            "nan.toml": "run.budget.seconds = nan",
            "bool.toml": "run.steps = true",
            "date.toml": "run.seed = 2020-01-01",
            "url.toml": 'chat.model = "m"\nchat.url = "http://localhost:99999/v1"',
            "good.toml": EXPERIMENT,
            "huge.toml": EXPERIMENT
            + f"grid.n = {list(range(1, 200))}\n"
            + "".join(f"grid.{name} = {list(range(200))}\n" for name in "abcdefgh"),
            "seeds.toml": f"seeds = {10**12}\n" + EXPERIMENT,
            "embedded.toml": EXPERIMENT.replace('texts = ["a cat holding a red umbrella"]', f"embedded = {10**12}"),
            "manygrids.toml": EXPERIMENT + "".join(f"grid.n{n} = [1, 2]\n" for n in range(60)),
            "nogrid.toml": EXPERIMENT + "grid.n = []\n",
            "gridint.toml": EXPERIMENT + "grid = 5\n",
            "deepexp.toml": EXPERIMENT + "args.x = " + "[" * DEEP + "\n",
            "bigexp.toml": EXPERIMENT + f"args.n = {HUGE}\n",
            "loopexp.toml": EXPERIMENT.replace('texts = ["a cat holding a red umbrella"]', 'files = ["loop"]'),
            "own.toml": EXPERIMENT.replace("best_of_n", "exits:x"),
            "prompts.txt": PROMPT + "\n",
            "deep.jsonl": '{"prompt": "a cat", "x": ' + "[" * DEEP * 40 + "\n",
            "deep.json": "[" * DEEP * 40,
            "big.jsonl": f'{{"prompt": "a cat", "seed": {HUGE}}}\n',
            "long.jsonl": f'{{"prompt": "a cat", "seed": {LONG}}}\n',
            "nan.jsonl": '{"prompt": "a cat", "budget": {"seconds": NaN}}\n',
            "budget.jsonl": '{"prompt": "a cat", "budget": 5}\n',
            "args.jsonl": '{"prompt": "a cat", "policy": "best_of_n", "policy_args": 5}\n',
            "own.jsonl": '{"prompt": "a cat", "policy": "exits:x"}\n',
            "list.jsonl": "[1, 2]\n",
            "number.jsonl": "5\n",
            "null.jsonl": '{"prompt": null}\n',
            "surrogate.jsonl": '{"prompt": "a \\ud800 cat"}\n',
        }
        for name, content in files.items():
            (root / name).write_text(content)
        run(PROMPT, out="run", policy="single")
        run_batch([PROMPT], out="batch")
        shutil.copytree(root / "run", root / "cut")  # as after a kill before its end
        lines = (root / "cut" / "events.jsonl").read_bytes().splitlines(keepends=True)
        (root / "cut" / "events.jsonl").write_bytes(b"".join(lines[:-1]))
        sys.path.append(str(root))
        yield root
    os.chdir(here)
    sys.path[:] = path
    os.environ.clear()
    os.environ.update(environment)


def content(root: Path) -> dict[str, int]:
    return {str(p.relative_to(root)): p.lstat().st_size for p in root.rglob("*") if p.name != "__pycache__"}


DRAW = ["run", PROMPT]
BATCH = ["batch", "prompts.txt"]
TOO_LONG = ("x" * 300, "x/" * 2500)
OUTS = (*TOO_LONG, "file", "file/below", "folder", "loop", "loop/x", "dangling/../x", "/proc/nowhere", "/dev/null/x")
OUTS += ("pipe", "binary/x", "a\0b")
PAGES = tuple(out for out in OUTS if out != "file")
SOURCES = (
    *TOO_LONG,
    "nowhere",
    "file",
    "file/below",
    "folder",
    "loop",
    "loop/x",
    "dangling",
    "hollow",
    "binary",
    "a\0b",
)
URLS = ("localhost", "ftp://x/v1", "http://", "http://localhost:99999/v1", "http://[::1", "http://a b/v1", "//x", "é")
URLS += ("http://u:p@x/v1", "http://x/v1?key=1", "http://localhost:-1/v1", "http://localhost:x/v1", "http://x\0/v1")
NUMBERS = ("-1", "x", "", "1e999", "nan", LONG, "0x10")


def rows():
    yield from ([*DRAW, "--policy", f"mods:{kind}"] for kind in KINDS)
    yield from ([*DRAW, "--policy", place] for place in PLACES)
    yield from ([*DRAW, "--out", out] for out in OUTS)
    yield from ([*BATCH, "--out", out] for out in OUTS)
    yield from (["experiment", "good.toml", "--out", out] for out in OUTS)
    yield from (["fork", "run", "--at", "2", "--out", out] for out in OUTS)
    yield from (["rate", "run", "--out", out] for out in PAGES)
    yield from (
        ["evaluate", "run", "--metrics", "checklist", "--out", f"{out}.csv"] for out in PAGES if "/x" not in out
    )
    yield from (["report", "run", "--out", out] for out in PAGES)
    yield from (["data", "world", "--out", out] for out in PAGES)
    yield from ([*DRAW, "--settings", file] for file in SOURCES)
    yield from (
        [*DRAW, "--settings", f"{file}.toml"]
        for file in (
            *(
                "deep",
                "dotted",
                "args",
                "table",
                "list",
                "budget",
                "none",
                "words",
                "array",
                "inner",
                "big",
                "long",
                "inf",
            ),
            *("nan", "date", "url"),
        )
    )
    for command in ("resume", "history", "show", "report", "export"):
        yield from ([command, file] for file in SOURCES)
    yield from (["fork", file, "--at", "0"] for file in SOURCES)
    yield from (["reproduce", file, "00-00"] for file in SOURCES)
    yield from (["reproduce", "run", image] for image in ("", "x", "../x", "99-99", "a\0b"))
    yield from (["batch", file] for file in SOURCES if file != "file")
    yield from (["batch", f"{file}.jsonl"] for file in ("deep", "big", "long", "budget", "args", "own", "list"))
    yield from (["batch", f"{file}.jsonl"] for file in ("number", "surrogate"))
    yield from (["data", "read", file] for file in SOURCES if file != "file")
    yield from (["data", "read", "deep.json"], ["data", "read", "deep.jsonl"])
    yield from (["data", "interacting", "--from", file] for file in SOURCES)
    yield from (["experiment", file] for file in SOURCES)
    yield from (
        ["experiment", f"{file}.toml", "--check"]
        for file in (
            *("huge", "seeds", "embedded", "manygrids", "nogrid", "gridint", "deepexp", "bigexp", "loopexp", "own"),
        )
    )
    yield from (["compare", file, "batch"] for file in SOURCES)
    yield from (["replay", file, "--policy", "single"] for file in SOURCES)
    yield from (["replay", "run", "--policy", f"mods:{kind}"] for kind in KINDS)
    yield from (["evaluate", file, "--metrics", "checklist"] for file in SOURCES)
    yield from (["evaluate", "run", "--metrics", name] for name in ("", ",", "x", "checklist,x"))
    yield from (
        ["evaluate", "run", "--metrics", "checklist", *more]
        for more in (
            *(["--weights", "x"], ["--weights", "x=y"], ["--against", "x"], ["--images", "x"], ["--by", "x"]),
            *(["--prompts", "nowhere"], ["--prompts", "loop"], ["--out", "x.txt"], ["--metrics", "vqascore"]),
        )
    )
    yield from (["rate", file] for file in SOURCES)
    yield from (["rate", "run", "--key", out] for out in PAGES)
    yield from (["rate", "run", "--out", "x.html", "--key", key] for key in ("x.html", "./x.html", "folder/../x.html"))
    yield from (["rate", "run", *more] for more in (["--criteria", ""], ["--criteria", "x"], ["--images", "x"]))
    yield from (["ratings", file, "--key", file] for file in SOURCES)
    yield from ([*DRAW, "--chat-model", "m", "--chat-url", url] for url in URLS)
    yield from ([*DRAW, "--chat-model", "m", "--vision-url", url] for url in URLS)
    yield from (["data", "build", "--scenario", "functional", "--chat-model", "m", "--chat-url", url] for url in URLS)
    yield from (["export", "run", "--endpoint", url] for url in URLS)
    yield from (
        [*DRAW, "--diffusion", name]
        for name in (
            *(
                "./nowhere",
                "nowhere",
                "../sd35",
                "~/sd35",
                "file",
                "loop",
                "hollow",
                "C:\\models\\x",
                "a..b/c",
                "-/-",
                "a\0b",
            ),
            *("", " ", "https://huggingface.co/a/b", "a/b/", "é/é", "x" * 5000),
        )
    )
    yield from (
        [*DRAW, f"--{name}", number]
        for name in ("seed", "steps", "guidance", "rounds", "images")
        for number in (*("-1", "x", "", "1e999", "nan", LONG, "0x10"),)
    )
    yield from (
        [*DRAW, f"--{name}", number] for name in ("seed", "steps", "rounds", "images") for number in (BIG, HUGE)
    )
    yield from ([*BATCH, "--concurrency", number] for number in ("0", "-1", "x", LONG, BIG))
    yield from (
        [*BATCH, *more]
        for more in (
            *(
                ["--replicas", "2"],
                ["--gpus-per-replica", "1"],
                ["--store", "x"],
                ["--methods", ""],
                ["--methods", "x"],
            ),
            *(["--methods", "base,base"], ["--methods", "sd35-large+x"]),
            *(
                ["--ray", "nowhere:1"],
                ["--ray", "127.0.0.1:1"],
                ["--ray", ""],
                ["--ray", "x"],
                ["--ray", "localhost:99999"],
            ),
            *(["--ray", "local", "--replicas", BIG]),
        )
    )
    yield from (
        [*DRAW, "-p", argument]
        for argument in (
            *(
                "x",
                "=",
                "x=",
                "=5",
                "images",
                f"images={BIG}",
                f"images={LONG}",
                "images=nan",
                "images={a=1}",
                "images=[]",
            ),
            *("images=" + "[" * DEEP, "images=2020-01-01", "images='x'", "self=1", "é=1", "a b=1"),
        )
    )
    yield from (["fork", "run", "--at", at] for at in ("-1", "99", BIG, HUGE, LONG, "x", "1.5", ""))
    yield from (
        ["fork", "run", "--at", "2", *more]
        for more in (
            *(
                ["--edit", "x"],
                ["--edit", "=x"],
                ["--edit", "x=y"],
                ["--edit", "99-99.cat=pass"],
                ["--edit", "cat=maybe"],
            ),
            *(["--policy", "x"], ["-p", "n"], ["-p", "x=1"], ["--rounds", "-1"], ["--images", "0"], ["--images", LONG]),
            *(["--policy", f"mods:{kind}"] for kind in KINDS),
            *(["--rounds", BIG], ["--images", HUGE]),
        )
    )
    yield from (
        ["replay", "run", "--policy", "single", *more]
        for more in (
            *(["--bound", "x"], ["--bound", "x=1"], ["--bound", "images=0"], ["--bound", "images=x"], ["--list", "-1"]),
            *(["-p", "x"], ["-p", "x=1"], ["--bound", "images=" + "[" * DEEP], ["--bound", f"images={LONG}"]),
        )
    )
    yield from (["data", "world", *more] for more in (["--count", "0"], ["--count", "x"], ["--seed", "-1"]))
    yield from (
        ["data", "read", "prompts.txt", *more]
        for more in (*(["--column", "x"], ["--format", "x"], ["--format", "parquet"], ["--limit", "0"]),)
    )
    yield from (
        ["data", "read", source]
        for source in (
            *(
                "dataset:x",
                "dataset:",
                "s3://",
                "http://",
                "http://127.0.0.1:9/x.txt",
                "nowhere://x",
                "http://a b",
                "zip://",
            ),
        )
    )
    yield from (
        [*DRAW, "--preset", name] for name in ("", "x", "embedded+", "+base", "embedded+x", "é", "a\0b", "x" * 999)
    )
    yield from (["run", prompt] for prompt in ("", " ", "a" * 9999, "a\x07", "a\0", "\ud800", "a xylophone", "\x1b[2J"))
    yield from (["doctor", "--preset", "x"], ["doctor", "--settings", "nowhere"], ["doctor", "--settings", "loop"])
    yield from (["doctor", "--settings", "table.toml"], ["doctor", "--chat-model", "m", "--chat-url", "x"])
    yield from (["x"], ["run"], ["run", PROMPT, "--x"], ["run", PROMPT, "x"], ["--x"], ["run", PROMPT, "--seed"])
    yield from (
        ["batch"],
        ["fork", "run"],
        ["experiment"],
        ["compare", "run"],
        ["rate"],
        ["evaluate", "run"],
        ["data", "x"],
    )


ROWS = list(rows())


@pytest.mark.parametrize("arguments", ROWS, ids=lambda row: " ".join(row)[:80].replace("\0", "0"))
def test_on_the_command_line_it_is_one_line_with_exit_status_2(world, arguments):
    before = content(world)
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stderr[:6]) == (2, "error:"), (done.stderr, done.exception)
    lines = done.stderr.splitlines()
    assert len(lines) == 1 or (arguments[0] == "experiment" and all(line.startswith("error: ") for line in lines))
    assert len(lines[0]) < 1000
    assert content(world) == before


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize(
    "arguments", [["show", "run"], ["show", "run", "--images"], ["show", "run", "--json"], ["presets"]]
)
def test_every_encoding_of_the_terminal_will_do(world, encoding, arguments):
    done = CliRunner(charset=encoding).invoke(app, arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "embedded" in done.stdout or "00-00" in done.stdout


def test_prompts_stay_whole_json_in_every_encoding(world):
    (world / "hollow" / "e.txt").write_text("a café in 東京\n", encoding="utf-8")
    done = CliRunner(charset="ascii").invoke(app, ["data", "read", "hollow/e.txt"])
    (world / "hollow" / "e.txt").unlink()
    assert json.loads(done.stdout)["prompt"] == "a café in 東京"


@pytest.mark.parametrize("arguments", [["show", "run"], ["batch", "prompts.txt", "--out", "hollow/b"]])
def test_a_fault_of_the_program_is_a_traceback_and_one_line_that_asks_for_a_report(world, monkeypatch, arguments):
    def broken(*_, **__):
        raise KeyError("a fault")

    monkeypatch.setattr("detailscribe.agent.records.reader.read_run", broken)
    monkeypatch.setattr("detailscribe.agent.batch.batch.run_batch", broken)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    *_, error, last = done.stderr.splitlines()
    assert (error, last) == ("KeyError: 'a fault'", ASK_FOR_REPORT)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "the disk is full"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x cannot be used: Permission denied"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "x cannot be used: Read-only file system"),
        (MemoryError(), "not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "not enough memory"),
        (ImportError("Using SOCKS proxy, but the 'socksio' package is not installed."), "HTTPS_PROXY"),
        (ValueError("Unknown scheme for proxy URL URL('socks://x')"), "HTTPS_PROXY"),
        (ModelError("no such model"), "no such model"),
        (KeyError("x"), None),
        (OSError(errno.EIO, "Input/output error"), None),
        (ValueError("x"), None),
    ],
)
def test_one_place_knows_what_is_the_users_to_mend(error, words):
    known = mended(error)
    assert (known and words in str(known)) if words else known is None


class Nothing:
    pass


class NoPlan:
    def judge(self, population):
        return []


class Wrong:
    """Takes no arguments."""

    async def decompose(self): ...
    async def critique(self): ...
    async def draw(self): ...
    def plan(self): ...
    def judge(self): ...


class Plain:
    """Not async, and the other way round."""

    def decompose(self, prompt): ...
    def critique(self, image, concepts, store): ...
    def draw(self, attempt, store, *, source=None, progress=None): ...
    async def plan(self, concepts): ...
    async def judge(self, population): ...


NO_ROLE = (Nothing(), Nothing, Wrong(), Plain(), {"kind": "embedded"}, "embedded", 5, ["x"], print, lambda x: x)
NO_POLICY = (
    Nothing(),
    Nothing,
    NoPlan(),
    Wrong(),
    Wrong,
    Plain(),
    Plain,
    {"plan": 1},
    5,
    ["x"],
    "x",
    "mods:later",
    print,
)
NO_POLICY += (lambda: [], lambda a, b: [], b"x", Path("x"), "exits:x", len, object)
NO_PATH = (5, {}, [], b"x", object(), Nothing)
NO_TABLE = (5, "x", [1], {1}, object(), Nothing)
NO_CALL = (5, "x", {}, object())
NO_NUMBER = (-1, 2**64, 1.5, "x", [], {}, float("nan"), float("inf"))
BAD_BUDGETS = ({"images": 0}, {"x": 1}, {"images": 2**64}, {"seconds": float("inf")}, {"rounds": "x"}, {5: 1})
BAD_SETTINGS = (
    "embedded",
    5,
    ["x"],
    {"run": 5},
    {"run": "embedded"},
    {"x": {}},
    {"run": {"x": 1}},
    {5: 5},
    {"run": {5: 5}},
)
BAD_SETTINGS += ({"run": {"seed": 2**70}}, {"chat": {"url": "x", "model": "m"}}, Path("x"), Nothing(), object)
PROMPTS = (5, None, b"a cat", ["a cat"], {"prompt": "a cat"}, "", " ", "a\0", "a" * 9999, "\ud800", Path("x"), 1.5)


def python_rows():
    """Calls by their arguments: name of the function, and arguments beside its usual ones."""
    usual = ("run", "context", "fork", "run_batch")
    yield from (("run", {"prompt": prompt}) for prompt in PROMPTS)
    for function in usual:
        for role in ("decomposer", "diffusion", "critic"):
            yield from ((function, {role: given}) for given in NO_ROLE)
        yield from ((function, {"policy": given}) for given in NO_POLICY)
        yield from ((function, {"budget": given}) for given in (*BAD_BUDGETS, *NO_TABLE))
        yield from ((function, {"policy": "single", "policy_args": given}) for given in (*NO_TABLE, {"x": 1}, {5: 5}))
        yield from ((function, {"out": given}) for given in NO_PATH)
    for function in ("run", "context", "run_batch"):
        yield from ((function, {"settings": given}) for given in BAD_SETTINGS)
        yield from ((function, {"preset": given}) for given in ("x", "", 5, {}))
        yield from ((function, {"steps": given}) for given in NO_NUMBER)
        yield from ((function, {"guidance": given}) for given in (-1, "x", [], float("nan"), float("inf")))
        yield (function, {"steps": 4, "diffusion": FakeDiffusion()})
    yield from ((function, {"seed": given}) for given in NO_NUMBER for function in ("run", "run_batch"))
    for function in ("run", "fork", "resume"):
        for name in ("on_event", "ask"):
            yield from ((function, {name: given}) for given in NO_CALL)
        yield from ((function, {"control": given}) for given in (*NO_CALL, print))
        yield from ((function, {"checkpointer": given}) for given in ("sqlite", 5, {}, Nothing()))
    for function in ("fork", "resume", "history"):
        yield from (
            (function, {"folder": given}) for given in (*NO_PATH, "nowhere", "loop", "file", "hollow", "x" * 300)
        )
    for function in ("fork", "resume"):
        yield from (
            (function, {"chat_url": given}) for given in (5, {}, "x", "http://[::1", "http://localhost:99999/v1")
        )
    yield from (("resume", {"policy": given, "folder": "cut"}) for given in NO_POLICY)
    yield from (("fork", {"at": given}) for given in (*NO_NUMBER, None, 99))
    yield from (
        ("fork", {"edits": given}) for given in (*NO_TABLE, {"x": "pass"}, {"cat": "maybe"}, {5: 5}, {"cat": 5})
    )
    yield from (
        ("run_batch", {"prompts": given}) for given in (5, None, [], [5], [None], [{}], [{"prompt": 5}], {"a": 1}, b"x")
    )
    yield from (
        ("run_batch", {"prompts": [{"prompt": PROMPT} | more]})
        for more in (
            *(
                {"seed": -1},
                {"seed": 2**70},
                {"policy": "x"},
                {"policy": 5},
                {"policy_args": {}} | {"policy_args": {"n": 1}},
            ),
            *({"budget": 5}, {"budget": {"images": 0}}, {"policy": "exits:x"}, {5: 5}, {"id": ""}, {"x": object()}),
        )
    )
    yield from (("run_batch", {"prompts": given}) for given in ("nowhere", "loop", "hollow", "binary", "deep.jsonl"))
    yield from (("run_batch", {"concurrency": given}) for given in (0, -1, 2**64, "x", None, 1.5))
    yield from (("run_batch", {"cluster": given}) for given in ("auto", 5, {}, Nothing()))
    yield from (("run_batch", {"on_progress": given}) for given in NO_CALL)
    yield from (
        ("experiment", {"experiment": given}) for given in (5, "good.toml", {}, {"question": "?"}, None, Nothing())
    )
    yield from (
        ("experiment", {"folder": given}) for given in (5, {}, None, Path("file"), Path("loop"), Path("folder"))
    )
    yield from (("experiment", {"concurrency": given}) for given in (0, 2**64, "x", None))
    yield from (
        ("load_experiment", {"path": given}) for given in (*NO_PATH, "nowhere", "loop", "huge.toml", "seeds.toml")
    )
    yield from (
        ("collect", {"arguments": given}) for given in (5, None, [5], ["nowhere"], ["loop"], ["hollow"], ["a\0b"])
    )
    yield from (("collect", {"by": "x"}), ("collect", {"picks": ["x"]}), ("collect", {"prompts": 5}))
    yield from (("measure", {"shots": given}) for given in (5, "x", [1], {}))
    yield from (("measure", {"metrics": given}) for given in (5, "x", ["x"], {"x": 5}))
    for name in ("decomposer", "diffusion", "critic", "policy", "store", "budget"):
        yield from (("Context", {name: given}) for given in (Nothing(), Wrong(), Plain(), {}, "x", None, 5))


def call(function, changes):
    everything = roles({}) | {"policy": "single"}
    runs = {"run": (run, {"prompt": PROMPT, "out": "new"}), "context": (context, {"out": "new"})}
    runs |= {"run_batch": (run_batch, {"prompts": [PROMPT], "out": "new"})}
    runs |= {"fork": (fork, {"folder": "run", "at": 2, "out": "new"}), "resume": (resume, {"folder": "cut"})}
    if function in runs:
        called, usual = runs[function]
        usual = usual | {name: role for name, role in everything.items() if function != "resume" or name != "policy"}
        return called(**usual | changes)
    if function == "history":
        return history(**changes)
    if function == "Context":
        usual = everything | {"policy": resolve_policy("single"), "store": Store("new"), "budget": Budget()}
        return Context(**usual | changes)
    if function == "load_experiment":
        return load_experiment(**changes)
    if function == "experiment":
        return run_experiment(**{"experiment": load_experiment("good.toml"), "folder": Path("new")} | changes)
    if function == "collect":
        return collect(**{"arguments": ["run"]} | changes)
    return asyncio.run(measure(**{"shots": collect(["run"]).shots, "metrics": {}} | changes))


PYTHON_ROWS = list(python_rows())


def name(value):
    """The same in every process."""
    return re.sub(r" at 0x\w+", "", repr(value))[:70].replace("\0", "0")


@pytest.mark.parametrize(("function", "changes"), PYTHON_ROWS, ids=name)
def test_from_python_it_is_one_family_of_errors(world, function, changes):
    before = content(world)
    with pytest.raises(DetailScribeError) as caught:
        call(function, changes)
    assert len(str(caught.value).splitlines()) == 1 or function == "load_experiment"
    assert content(world) == before


def test_an_error_of_a_users_policy_says_where(world):
    def clumsy(population):
        return {}["nothing"]

    with pytest.raises(PolicyError, match=r"raised KeyError: 'nothing' \(.*test_bad_input.py:\d+\)"):
        call("run", {"out": "hollow/new", "policy": clumsy})
    shutil.rmtree(world / "hollow" / "new")
