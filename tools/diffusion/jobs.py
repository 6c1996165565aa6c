"""One request of one caller, and what follows from it without a model."""

import contextvars
from dataclasses import dataclass
from typing import Any

from ..roles import GenerateRequest, Progress, RedenoiseRequest
from ..store import Store
from .denoise import Sample


@dataclass(frozen=True)
class Job:
    """A request, where its image goes, and who is told of its progress."""

    request: GenerateRequest | RedenoiseRequest
    store: Store
    progress: Progress | None

    @property
    def start_step(self) -> int:
        """First step to run; 0 for a full drawing."""
        return self.request.start_step if isinstance(self.request, RedenoiseRequest) else 0

    @property
    def lineage(self) -> dict[str, Any]:
        """Where the image comes from, as fields of its record."""
        if isinstance(self.request, RedenoiseRequest):
            return {"origin": "refine", "parent": self.request.source.id, "operator": self.request.operator}
        return {"origin": "generate" if self.request.parent is None else "reseed", "parent": self.request.parent}

    @property
    def inherited(self) -> dict[int, str]:
        """The asked steps below k that an image resumed at step k shares with its source, which kept them."""
        if isinstance(self.request, GenerateRequest) or self.request.operator != "resume":
            return {}
        kept = self.request.source.trajectory
        return {k: kept[k] for k in sorted(self.request.keep_steps) if k < self.start_step and k in kept}

    def report(self, sample: Sample) -> None:
        """Tell how far the image is."""
        if self.progress is not None:
            self.progress(self.request.id, sample.step - self.start_step, sample.stop - self.start_step)


def in_this_context(progress: Progress) -> Progress:
    """The same callback, seeing the context variables of now and here; LangGraph's stream writer needs them."""
    context = contextvars.copy_context()
    return lambda image, done, steps: context.run(progress, image, done, steps)
