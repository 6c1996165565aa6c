"""How the policies that work in lines refine: what they go on from, where they start, and how."""

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ...state import Decision, ImageRecord, Operator, Population
from .attempts import refine_anew
from .lines import Keep, kept, refinements
from .moves import failed

Step = Annotated[int, Field(ge=0)]
Schedule = Step | Annotated[tuple[Step, ...], Field(min_length=1)]
"""The start step of every refinement, or of the first, the second and so on, of which the last one stays."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class Refining:
    """The settings that these policies share."""

    operator: Operator = "inject"
    """How a refinement starts."""
    start_step: Schedule = 4
    """Step of the schedule to start at, for every refinement or for each in turn."""
    keep: Keep = "best"
    """What a refinement goes on from: the ``best`` image so far, the newest if it is ``better``, or the ``newest``."""

    def starts(self) -> tuple[int, ...]:
        """The schedule; its last step stays."""
        return (self.start_step,) if isinstance(self.start_step, int) else self.start_step

    def keep_steps(self) -> tuple[int, ...]:
        """What the diffusion model has to keep for it."""
        return tuple(sorted(set(self.starts()))) if self.operator == "resume" else ()

    def refined(self, population: Population, image: ImageRecord) -> Decision:
        """The next refinement of the line of ``image``, other than all that were tried."""
        source = kept(population, image, self.keep)
        starts = self.starts()
        wrong = ", ".join(failed(population.critiques[source.id])) or "nothing"
        reverted = source != image
        return refine_anew(
            population,
            image,
            "revert_to_best" if reverted else "next_round",
            f"{image.id} is no better than {source.id}, which fails {wrong}" if reverted else f"it fails {wrong}",
            source=source,
            operator=self.operator,
            start_step=starts[min(refinements(population, image), len(starts) - 1)],
        )
