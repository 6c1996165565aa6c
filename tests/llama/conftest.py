"""A real language model behind llama.cpp's own server, or the reason why there is none."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .weights import NoWeightsError, weights

CONTEXT = 4096
"""Tokens of one prompt and its reply."""
PATIENCE = 60
"""Seconds that the server may take to end."""


@pytest.fixture(scope="session")
def llama() -> Iterator[str]:
    """The base URL of the server; its model is ``smollm2``."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("llama.cpp is not installed: pip install xllamacpp")
    try:
        model = weights()
    except NoWeightsError as error:
        pytest.skip(str(error))
    command = [sys.executable, str(Path(__file__).with_name("serve.py")), str(model), str(CONTEXT)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, "llama.cpp's server did not start"
        yield url
        process.stdin.close()
        process.wait(PATIENCE)
