"""Where the files of a run lie: images, latents, and the text that is written about them."""

import os
from pathlib import Path

PARTIAL = ".*.partial"
"""Files that are being written."""


class Store:
    """A run folder. Every file in it is whole or absent: it is written beside its place and moved there."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def path(self, reference: str) -> Path:
        """The file that a reference of an ``ImageRecord`` names; ``ValueError`` if it leads outside the folder."""
        path = self.root / reference
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ValueError(f"reference {reference!r} leads outside the run folder")
        return path

    def write(self, reference: str, data: bytes) -> str:
        """Write a file whole and return its reference."""
        path = self.path(reference)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(data)
        os.replace(partial, path)
        return reference

    def read(self, reference: str) -> bytes:
        """The bytes of a file; ``FileNotFoundError`` if it was never written."""
        return self.path(reference).read_bytes()
