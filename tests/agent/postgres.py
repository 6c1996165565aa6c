"""A Postgres server of the tests' own, for as long as they need it; it listens on this machine alone."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SECONDS = 30
"""In which it should be ready."""


class NoServerError(Exception):
    """There is none here, or it does not start; the message says which."""


@contextmanager
def postgres_server() -> Iterator[str]:
    """URL of a database that holds nothing yet."""
    initdb, postgres = _program("initdb"), _program("postgres")
    # Not below pytest's folder, which is closed to the user that the server runs as where we are root.
    folder, port, user = Path(tempfile.mkdtemp(prefix="detailscribe-postgres-")), _free_port(), _unprivileged()
    shutil.chown(folder, user or os.getuid())
    data = folder / "data"
    try:
        made = subprocess.run(
            [initdb, "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"],
            user=user,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise NoServerError(f"initdb failed: {made.stderr[-500:]}")
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [postgres, "-D", data, "-k", folder, "-h", "127.0.0.1", "-p", str(port), "-c", "fsync=off"],
                user=user,
                cwd=folder,
                stdout=log,
                stderr=log,
            )
            try:
                _wait_for(server, port, folder / "log")
                yield f"postgresql://tester@127.0.0.1:{port}/postgres"
            finally:
                server.send_signal(signal.SIGINT)  # ends connections that are left
                server.wait(SECONDS)
    finally:
        shutil.rmtree(folder)


def _program(name: str) -> Path:
    """On the path, or where Debian keeps the newest."""
    found = [*filter(None, [shutil.which(name)]), *sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))]
    if not found:
        raise NoServerError(f"there is no {name} here")
    return Path(found[-1])


def _unprivileged() -> str | None:
    """Who runs the server, which refuses to be run by root; None where we are not root."""
    if os.getuid():
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise NoServerError("nobody here can run it but root, and it refuses that")


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def _wait_for(server: subprocess.Popen, port: int, log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            if "ready to accept connections" in log.read_text(errors="replace"):
                return
        time.sleep(0.05)
    raise NoServerError(f"the server does not start: {log.read_text(errors='replace')[-500:]}")
