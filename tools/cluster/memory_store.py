"""A store whose files are arrays in memory, as Ray's object store passes them on without a copy."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..store import Store

Files = dict[str, NDArray[np.uint8]]
"""Bytes by reference."""


class MemoryStore(Store):
    """Holds what is written to it; of what is given it knows the bytes, and says no more of the disk than names."""

    def __init__(self, root: Path | str, given: Mapping[str, NDArray[np.uint8]]) -> None:
        super().__init__(root)
        self._given = given
        self.written: Files = {}
        """In the order of writing."""

    def write(self, reference: str, data: bytes) -> str:
        self.path(reference)
        self.written[reference] = np.frombuffer(data, np.uint8)
        return reference

    def read(self, reference: str) -> bytes:
        found = self.written.get(reference, self._given.get(reference))
        if found is None:
            raise FileNotFoundError(reference)
        return found.tobytes()


def files_of(store: Store, references: set[str]) -> Files:
    """Those of the references whose files are there."""
    found: Files = {}
    for reference in sorted(references):
        try:
            found[reference] = np.frombuffer(store.read(reference), np.uint8)
        except OSError:
            continue
    return found
