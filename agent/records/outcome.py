"""What ``run`` hands back: the result, with its pictures at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...state import ConceptGraph, Critique, Decision, ImageRecord, RunResult, Spend

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class RunImage:
    """One image of a run."""

    record: ImageRecord
    critique: Critique
    decision: Decision
    path: Path
    """The PNG."""

    @property
    def image(self) -> Image:
        """Its pixels, read anew each time."""
        from PIL import Image

        with Image.open(self.path) as opened:
            opened.load()
            return opened


@dataclass(frozen=True)
class Run:
    """A run that came to its end."""

    result: RunResult
    """All of it, as ``result.json`` holds it."""
    folder: Path
    """Where its files lie."""

    @property
    def images(self) -> tuple[RunImage, ...]:
        """Every image, in the order it was asked for."""
        found = zip(self.result.images, self.result.critiques, self.result.decisions, strict=True)
        return tuple(RunImage(record, look, end, self.folder / record.path) for record, look, end in found)

    @property
    def best(self) -> RunImage:
        """The best image over all rounds."""
        return next(image for image in self.images if image.record == self.result.best)

    @property
    def concepts(self) -> ConceptGraph:
        """What the prompt asks for."""
        return self.result.concepts

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """One for each image, in the same order."""
        return self.result.decisions

    @property
    def stop(self) -> str:
        """Name of the rule that ended the best image's work."""
        return self.result.stop

    @property
    def spend(self) -> Spend:
        """What it cost."""
        return self.result.spend

    @property
    def report(self) -> Path:
        """The run as one HTML page."""
        return self.folder / "report.html"
