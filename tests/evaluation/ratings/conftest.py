"""Runs to rate, made once: nothing writes to them."""

import pytest

from .world import make_runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> list[str]:
    return make_runs(tmp_path_factory.mktemp("runs"))
