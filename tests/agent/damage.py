# ruff: noqa: E501 - tables of one row a line
"""Damages every file of run folders, batches and experiments, under every command that reads a folder.

``python -m tests.agent.damage [WORD...]`` tries all rows, or those whose names hold every word, and prints those that
do not end well: a command must do its work, or print one line that says what is wrong, with exit status 2; what must
not write to a folder does not.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from detailscribe.agent.cli import app

from .fakes import PROMPT, FakeDecomposer, FakeDiffusion, ScriptedCritic, stand_in

SCRIPT = {"00-00": "red holding", "00-01": "cat umbrella alone", "01-00": "red", "02-00": ""}
PROMPTS = ("a cat holding a red umbrella", "a cat under a red umbrella")
EXPERIMENT = """question = "Which is better?"
prompts.texts = ["a cat holding a red umbrella"]
seeds = 1
policies = [{ policy = "best_of_n", args = { n = 2 } }, { policy = "single" }]
"""
NOBODY = 65534
"""A user who owns nothing, for rows about permissions where the tests run as root."""


def run_cli(*arguments: str) -> tuple[int, str, str, BaseException | None]:
    """Exit status, standard output and error of a command in this process, and an exception that it let through."""
    out, err, status, thrown = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO(), 0, None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app(list(arguments), standalone_mode=True)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException as error:  # noqa: BLE001 - whatever it is, the row has failed
            status, thrown = 1, error
    out.flush()
    return status, out.buffer.getvalue().decode(errors="replace"), err.getvalue(), thrown


@cache
def collector() -> str:
    """The URL of a server that takes every trace."""

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/v1/traces"


def with_fakes(breaks_at: str | None = None) -> None:
    diffusion = FakeDiffusion(breaks_at=breaks_at, writes_latents=True)
    stand_in(FakeDecomposer, lambda: diffusion, lambda: ScriptedCritic(SCRIPT))


def make_world() -> None:
    """Fill the working folder: a run at its end, one that was cut off, a batch, an experiment and a survey."""
    with_fakes(breaks_at="02-00")
    run_cli("run", PROMPT, "--out", "cut", "--seed", "7")
    with_fakes()
    Path("prompts.txt").write_text("\n".join(PROMPTS))
    Path("experiment.toml").write_text(EXPERIMENT)
    for command in (
        ("run", PROMPT, "--out", "run", "--seed", "7"),
        ("batch", "prompts.txt", "--out", "batch", "--images", "2"),
        ("experiment", "experiment.toml", "--out", "experiment"),
        ("rate", "run", "--out", "rating.html"),
    ):
        status, out, err, thrown = run_cli(*command)
        assert status == 0, (command, out, err, thrown)


# What is done to a file; each takes its path.


def _json(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Change the JSON of a file, or of every line of it."""

    def damage(path: Path) -> None:
        text = path.read_text()
        lines = [text] if path.suffix == ".json" else text.splitlines()
        changed = [json.loads(line) for line in lines]
        for one in changed:
            change(one)
        path.write_text("\n".join(map(json.dumps, changed)) + "\n")

    return damage


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def _noise(count: int) -> bytes:
    return b"".join(hashlib.sha256(bytes([n % 256])).digest() for n in range(count // 32 + 1))[:count]


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else in the place of the file."""

    def damage(path: Path) -> None:
        path.rename(path.with_name(f"{path.name}.before"))
        make(path)

    return damage


def _each(value: object, change: Callable[[str, object], object], key: str = "") -> object:
    """JSON with every leaf changed."""
    if isinstance(value, dict):
        return {name: _each(one, change, name) for name, one in value.items()}
    if isinstance(value, list):
        return [_each(one, change, key) for one in value]
    return change(key, value)


def _leaves(change: Callable[[str, object], object]) -> Callable[[Path], None]:
    def damage(one: dict) -> None:
        new = _each(one, change)
        one.clear()
        one.update(new)

    return _json(damage)


def _sql(*statements: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for statement in statements:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute(statement.replace("TABLE_", table))
            connection.commit()

    return damage


def _times(number: int) -> Callable[[dict], object]:
    """The times of a trace, each line an hour before the last one, or without a zone."""
    count = iter(range(1, 10**6))

    def change(one: dict) -> None:
        if "time" in one:
            one["time"] = f"2026-01-{28 - next(count) % 27:02}T00:00:00Z" if number else one["time"].rstrip("Z")

    return change


ANY: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": _bytes(lambda data: b""),
    "one byte": _bytes(lambda data: data[:1]),
    "half": _bytes(lambda data: data[: len(data) // 2]),
    "but the last byte": _bytes(lambda data: data[:-1]),
    "but 100 bytes": _bytes(lambda data: data[:-100]),
    "twice": _bytes(lambda data: data + data),
    "with a tail": _bytes(lambda data: data + b"\x00\xff tail"),
    "with a head": _bytes(lambda data: b"head\n" + data),
    "NULs": _bytes(lambda data: bytes(len(data))),
    "NULs at its end": _bytes(lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2)),
    "NULs in the middle": _bytes(lambda data: data[: len(data) // 3] + bytes(64) + data[len(data) // 3 + 64 :]),
    "random bytes": _bytes(lambda data: _noise(len(data))),
    "random middle": _bytes(lambda data: data[: len(data) // 2] + _noise(200) + data[len(data) // 2 + 200 :]),
    "a bit flipped": _bytes(lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]),
    "every 97th byte": _bytes(lambda data: bytes(b ^ 255 if n % 97 == 96 else b for n, b in enumerate(data))),
    "reversed": _bytes(lambda data: data[::-1]),
    "words": _bytes(lambda data: b"not what you think\n"),
    "a page": _bytes(lambda data: b"<html><script>alert(1)</script></html>"),
    "terminal commands": _bytes(lambda data: b"\x1b]0;title\x07\x1b[2J\n"),
    "empty object": _bytes(lambda data: b"{}\n"),
    "a list": _bytes(lambda data: b"[]\n"),
    "null": _bytes(lambda data: b"null\n"),
    "a number": _bytes(lambda data: b"1e999\n"),
    "deep JSON": _bytes(lambda data: b"[" * 100_000),
    "deep object": _bytes(lambda data: b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "UTF-16": _bytes(lambda data: data.decode("latin-1").encode("utf-16")),
    "latin-1": _bytes(lambda data: data.replace(b"cat", b"c\xe4t")),
    "a BOM": _bytes(lambda data: b"\xef\xbb\xbf" + data),
    "CRLF": _bytes(lambda data: data.replace(b"\n", b"\r\n")),
    "huge": _bytes(lambda data: data + b" " * 5_000_000),
    "a folder": _instead(Path.mkdir),
    "a full folder": _instead(lambda path: (path.mkdir(), (path / "x").write_text("x"))),
    "a link to itself": _instead(lambda path: path.symlink_to(path.name)),
    "a link to nowhere": _instead(lambda path: path.symlink_to("nowhere")),
    "a link out": _instead(lambda path: path.symlink_to("/etc/hostname")),
    "a fifo's name": _instead(lambda path: path.with_name("fifo") and path.symlink_to("/dev/null")),
    "forbidden": lambda path: path.chmod(0),
    "read-only": lambda path: path.chmod(0o444),
    "forbidden folder": lambda path: path.parent.chmod(0o111),
    "read-only folder": lambda path: [p.chmod(0o555 if p.is_dir() else 0o444) for p in (path.parent, *path.parent.rglob("*"))],
}  # fmt: skip

JSON: dict[str, Callable[[Path], object]] = {
    "no version": _json(lambda one: [one.pop(name, None) for name in ("schema_version", "state_version", "version")]),
    "version 99": _json(lambda one: one.update({n: 99 for n in ("schema_version", "state_version") if n in one})),
    "version 0": _json(lambda one: one.update({n: 0 for n in ("schema_version", "state_version") if n in one})),
    "version x": _json(lambda one: one.update({n: "x" for n in ("schema_version", "state_version") if n in one})),
    "a field more": _json(lambda one: one.update(unheard_of=1)),
    "a field less": _json(lambda one: one.pop(list(one)[-1])),
    "first field less": _json(lambda one: one.pop(next(iter(one)))),
    "unknown image": _leaves(lambda key, value: "99-99" if value == "00-00" else value),
    "images swapped": _leaves(lambda key, value: {"00-00": "00-01", "00-01": "00-00"}.get(value, value)),
    "unknown best": _leaves(lambda key, value: "99-99" if key in ("image", "best", "id") else value),
    "unknown parent": _leaves(lambda key, value: "99-99" if key == "parent" and value else value),
    "unknown check": _leaves(lambda key, value: "ghost" if value == "red" else value),
    "unknown entity": _leaves(lambda key, value: "ghost" if key == "about" and value else value),
    "unknown type": _leaves(lambda key, value: "ghost" if key == "type" else value),
    "unknown policy": _leaves(lambda key, value: "ghost" if key == "policy" else value),
    "unknown preset": _leaves(lambda key, value: "ghost" if key == "preset" else value),
    "another run": _leaves(lambda key, value: "another" if key == "run" else value),
    "another prompt": _leaves(lambda key, value: "another" if key == "prompt" else value),
    "path out": _leaves(lambda key, value: "../../prompts.txt" if key in ("path", "best") else value),
    "path of NUL": _leaves(lambda key, value: "images/\0.png" if key in ("path", "best", "folder") else value),
    "long path": _leaves(lambda key, value: "x" * 5000 if key in ("path", "best", "folder", "latent") else value),
    "numbers as text": _leaves(lambda key, value: str(value) if type(value) in (int, float) else value),
    "text as numbers": _leaves(lambda key, value: 1 if isinstance(value, str) else value),
    "huge numbers": _leaves(lambda key, value: 10**40 if type(value) is int else value),
    "negative": _leaves(lambda key, value: -1 if type(value) in (int, float) else value),
    "zero": _leaves(lambda key, value: 0 if type(value) in (int, float) else value),
    "infinite": _leaves(lambda key, value: float("inf") if type(value) is float else value),
    "not a number": _leaves(lambda key, value: float("nan") if type(value) is float else value),
    "all null": _leaves(lambda key, value: None),
    "surrogates": _leaves(lambda key, value: "\ud800" if key in ("prompt", "reason", "question") else value),
    "control characters": _leaves(lambda key, value: "\x1b[2J\x07" if key in ("prompt", "reason", "message") else value),
    "times without zone": _json(_times(0)),
    "clock gone back": _json(_times(1)),
    "first time without zone": lambda path: path.write_text(path.read_text().replace('Z"', '"', 1)),
    "times of year 1": _leaves(lambda key, value: "0001-01-01T00:00:00Z" if key == "time" else value),
    "duplicate keys": lambda path: path.write_text(path.read_text().replace("{", '{"run": "first", "run": "second", ', 1)),
    "lists empty": _json(lambda one: one.update({name: [] for name, v in one.items() if isinstance(v, list)})),
}  # fmt: skip

LINES: dict[str, Callable[[Path], object]] = {
    "first line gone": _bytes(lambda data: b"".join(data.splitlines(True)[1:])),
    "last line gone": _bytes(lambda data: b"".join(data.splitlines(True)[:-1])),
    "first line alone": _bytes(lambda data: data.splitlines(True)[0]),
    "middle line gone": _bytes(lambda data: b"".join(data.splitlines(True)[: len(data.splitlines()) // 2])),
    "lines mixed": _bytes(lambda data: b"".join(data.splitlines(True)[::-1])),
    "a line torn": _bytes(lambda data: data.replace(b"}\n", b"\n", 1)),
    "a line joined": _bytes(lambda data: data.replace(b"}\n", b"}", 1)),
    "empty lines": _bytes(lambda data: data.replace(b"\n", b"\n\n")),
    "a line of words": _bytes(lambda data: data + b"words\n"),
    "lines twice": _bytes(lambda data: b"".join(line + line for line in data.splitlines(True))),
}

SQL: dict[str, Callable[[Path], object]] = {
    "no tables": _sql("DROP TABLE TABLE_"),
    "other tables": _sql("ALTER TABLE TABLE_ RENAME TO TABLE__old", "CREATE TABLE TABLE_ (x TEXT)"),
    "no rows": _sql("DELETE FROM TABLE_"),
    "half the rows": _sql("DELETE FROM TABLE_ WHERE rowid % 2"),
    "the last rows gone": _sql("DELETE FROM TABLE_ WHERE rowid > (SELECT max(rowid) FROM TABLE_) / 2"),
    "values of noise": _sql("UPDATE TABLE_ SET val = x'ff00ff'", "UPDATE TABLE_ SET checkpoint = x'ff00ff'"),
    "values empty": _sql("UPDATE TABLE_ SET val = x''", "UPDATE TABLE_ SET value = x''", "UPDATE TABLE_ SET checkpoint = x''"),
    "values of numbers": _sql("UPDATE TABLE_ SET val = 7", "UPDATE TABLE_ SET value = 7", "UPDATE TABLE_ SET checkpoint = 7"),
    "values of null": _sql("UPDATE TABLE_ SET val = x'c0'", "UPDATE TABLE_ SET value = x'c0'"),
    "values of text": _sql("UPDATE TABLE_ SET val = x'a3616263'", "UPDATE TABLE_ SET value = x'a3616263'"),
    "checkpoints of null": _sql("UPDATE TABLE_ SET checkpoint = x'c0'"),
    "metadata of null": _sql("UPDATE TABLE_ SET metadata = 'null'"),
    "metadata of words": _sql("UPDATE TABLE_ SET metadata = 'words'"),
    "encoding unknown": _sql("UPDATE TABLE_ SET encoding = 'ghost'", "UPDATE TABLE_ SET type = 'ghost'"),
    "pickled": _sql("UPDATE TABLE_ SET encoding = 'pickle'", "UPDATE TABLE_ SET type = 'pickle'"),
    "values of others": _sql("UPDATE TABLE_ SET val = (SELECT val FROM TABLE_ LIMIT 1)"),
    "another thread": _sql("UPDATE TABLE_ SET thread_id = 'another'"),
    "a version ahead": _sql("PRAGMA user_version = 99", "PRAGMA application_id = 7"),
}  # fmt: skip

FILES = {
    "manifest.json": ANY | JSON,
    "events.jsonl": ANY | JSON | LINES,
    "result.json": ANY | JSON,
    "checkpoints.sqlite": ANY | SQL,
    "cache.sqlite": ANY | SQL,
    "images/00-00.png": ANY,
    "images/02-00.png": ANY,
    "latents/00-00.safetensors": ANY,
    "report.html": ANY,
}
"""Of a run folder."""

ON_RUN: dict[str, tuple[str, ...]] = {
    "show": ("show", "RUN", "--images"),
    "show --json": ("show", "RUN", "--json"),
    "report": ("report", "RUN"),
    "collection": ("report", "."),
    "history": ("history", "RUN"),
    "resume": ("resume", "RUN"),
    "fork": ("fork", "RUN", "--at", "2", "--out", "forked"),
    "compare": ("compare", "RUN", "experiment"),
    "evaluate": ("evaluate", "RUN", "--metrics", "checklist"),
    "rate": ("rate", "RUN", "--checks", "--out", "page.html"),
    "replay": ("replay", "RUN", "--policy", "best_of_n"),
    "reproduce": ("reproduce", "RUN", "00-00"),
    "export": ("export", "RUN", "--endpoint", "COLLECTOR"),
}

ELSEWHERE: dict[str, dict[str, Callable[[Path], object]]] = {
    "batch/batch.json": ANY | JSON,
    "batch/results.jsonl": ANY | JSON | LINES,
    "batch/cache.sqlite": ANY | SQL,
    **{
        f"batch/runs/cat-holding-red-umbrella-ebc9a424/{name}": ANY | (LINES if name.endswith("l") else {})
        for name in ("manifest.json", "events.jsonl", "result.json", "images/00-00.png")
    },
    "experiment/rows.jsonl": ANY | JSON | LINES,
    "experiment/results.jsonl": ANY | JSON | LINES,
    "experiment/judged.jsonl": ANY | JSON | LINES,
    "experiment/cache.sqlite": ANY | SQL,
    "experiment/manifest.json": ANY,
    "experiment/summary.md": ANY,
    "rating.key.json": ANY | JSON,
    "detailscribe.toml": ANY,
}
ON_BATCH = {
    "batch": ("batch", "prompts.txt", "--out", "batch", "--images", "2"),
    "retry": ("batch", "prompts.txt", "--out", "batch", "--images", "2", "--retry-failed"),
    "collection": ("report", "batch"),
    "compare": ("compare", "batch", "experiment"),
    "evaluate": ("evaluate", "batch", "--metrics", "checklist"),
    "rate": ("rate", "batch", "--out", "page.html"),
    "replay": ("replay", "batch", "--policy", "single"),
}
ON_EXPERIMENT = {
    "experiment": ("experiment", "experiment.toml", "--out", "experiment"),
    "compare": ("compare", "experiment", "experiment"),
    "collection": ("report", "experiment"),
    "evaluate": ("evaluate", "experiment", "--metrics", "checklist"),
    "replay": ("replay", "experiment", "--policy", "single"),
}
READS_ONLY = ("show", "show --json", "history", "fork", "compare", "evaluate", "rate", "replay", "reproduce", "export")
"""Commands that write nothing to the folder that they are given."""


@dataclass(frozen=True)
class Row:
    """A file, what is done to it, and the command that meets it."""

    file: str
    damage: str
    do: Callable[[Path], object]
    command: str
    arguments: tuple[str, ...]
    folder: str
    """That the command is given; relative, as the file is."""

    @property
    def name(self) -> str:
        return f"{self.command}: {self.file}: {self.damage}"


def rows() -> Iterator[Row]:
    """All of them."""
    for run, commands in (
        ("run", ON_RUN),
        ("cut", {name: ON_RUN[name] for name in ("show", "report", "resume", "fork", "history")}),
    ):
        for file, damages in FILES.items():
            for damage, do in damages.items():
                if run == "cut" and file in ("result.json", "report.html", "images/02-00.png"):
                    continue
                for name, arguments in commands.items():
                    given = tuple({"RUN": run, "COLLECTOR": collector()}.get(one, one) for one in arguments)
                    yield Row(f"{run}/{file}", damage, do, name, given, run)
    for file, damages in ELSEWHERE.items():
        top = file.partition("/")[0]
        commands = {"batch": ON_BATCH, "experiment": ON_EXPERIMENT}.get(top) or {
            "ratings": ("ratings", "ratings.json", "--key", "rating.key.json"),
            "doctor": ("doctor",),
        }
        for damage, do in damages.items():
            for name, arguments in commands.items():
                yield Row(file, damage, do, name, arguments, top)


def state_of(folder: Path) -> dict[str, object]:
    """What a command could change in a folder."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        found[str(path)] = about.st_mode, about.st_size, about.st_mtime_ns
    return found


@contextlib.contextmanager
def as_nobody(wanted: bool) -> Iterator[None]:
    """Without the rights of root, for rows about permissions."""
    if not wanted or os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def fault_of(row: Row, world: Path) -> str | None:
    """What is wrong with how a row ends; None where nothing is. The working folder is emptied and filled anew."""
    here = Path.cwd()
    for path in here.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name in {row.folder, "prompts.txt", "experiment.toml", "rating.key.json", "ratings.json"} | (
        {"experiment"} if row.command == "compare" else set()
    ):
        source = world / name
        if source.is_dir():
            shutil.copytree(source, name)
        elif source.exists():
            shutil.copy(source, name)
    if row.file == "detailscribe.toml":
        Path(row.file).write_text("[run]\nsteps = 4\n")
    guarded = "forbidden" in row.damage or "read-only" in row.damage
    if guarded:
        for path in (here, *here.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    row.do(here / row.file)
    before = state_of(here / row.folder)
    try:
        with as_nobody(guarded):
            status, _, err, thrown = run_cli(*row.arguments)
        after = state_of(here / row.folder)
    finally:
        if guarded:
            for path in (here, *here.rglob("*")):
                with contextlib.suppress(OSError):
                    path.is_symlink() or path.chmod(0o755)
    if thrown is not None:
        where = traceback.extract_tb(thrown.__traceback__)
        own = next(
            (
                frame
                for frame in reversed(where)
                if "/agent/" in frame.filename or "/tools/" in frame.filename or "/state/" in frame.filename
            ),
            where[-1],
        )
        return (
            f"{type(thrown).__name__}: {str(thrown)[:150]!r} at {'/'.join(own.filename.split('/')[-3:])}:{own.lineno}"
        )
    if status not in (0, 1, 2):
        return f"status {status}"
    if "Traceback" in err:
        return f"a traceback: {err[-200:]!r}"
    if status == 2:
        lines = err.splitlines()
        if not [line for line in lines if line.startswith("error: ")] or len(lines) > 3 or len(err) > 2000:
            return f"status 2 with {err[:300]!r}"
    if status == 1 and row.command not in ("batch", "retry", "experiment"):
        return f"status 1: {err[:200]!r}"
    if row.command in READS_ONLY and before != after:
        changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
        return f"it wrote to {sorted(Path(p).name for p in changed)}"
    return None


def main(words: list[str]) -> None:
    world, here = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    world.chmod(0o755), here.chmod(0o777)
    os.chdir(world)
    make_world()
    os.chdir(here)
    faults = count = 0
    for row in rows():
        if all(word in row.name for word in words):
            count += 1
            if fault := fault_of(row, world):
                faults += 1
                print(f"{row.name}: {fault}", flush=True)
    print(f"{count} rows, {faults} do not end well")


if __name__ == "__main__":
    main(sys.argv[1:])
