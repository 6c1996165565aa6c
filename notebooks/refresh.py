"""``python notebooks/refresh.py [NOTEBOOK ...]`` runs notebooks and saves their new outputs."""

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
TIMEOUT = 600
"""Seconds for one cell, or for the kernel to start; generous, for busy machines."""


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of this run; ``CellExecutionError`` where a cell raises."""
    book = nbformat.read(path, as_version=4)
    NotebookClient(
        book,
        timeout=TIMEOUT,
        startup_timeout=TIMEOUT,
        record_timing=False,
        resources={"metadata": {"path": str(HERE)}},
        config=Config(
            {"KernelManager": {"transport": "ipc"}}
        ),  # sockets instead of ports, which another process may take
    ).execute()
    return book


def main() -> None:
    paths = [Path(name).resolve() for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb"))
    os.chdir(HERE)  # kernel and client look for their sockets in their working directory
    for path in paths:
        began = time.monotonic()
        nbformat.write(executed(path), path)
        print(
            f"{path.name}  {time.monotonic() - began:.0f} s  {path.stat().st_size // 1024} KiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
