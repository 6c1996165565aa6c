"""What is left of decomposing and looking where a method does without them; neither asks a model."""

from ...prompts import render
from ...state import Check, ConceptGraph, Critique, Entity, ImageRecord, Verdict
from ...tools.store import Store

WHOLE = "whole"
"""Id of the one check."""


class WholeDecomposer:
    """Takes no prompt apart: one check asks for all of it."""

    model = "no decomposition"

    async def decompose(self, prompt: str) -> ConceptGraph:
        """A graph of the picture alone, with the prompt's whole meaning in one check."""
        check = Check(id=WHOLE, question=render("check_whole"), aspect="scene")
        return ConceptGraph(prompt=prompt, entities=(Entity(id="picture", name="picture"),), checks=(check,))


def is_whole(concepts: ConceptGraph | None) -> bool:
    """Whether the prompt was not taken apart, so that a checklist of it would be no measure."""
    return concepts is not None and [check.id for check in concepts.checks] == [WHOLE]


class NoCritic:
    """Looks at nothing: every check stays unknown, and the method has to do without."""

    model = "no critic"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """No answer, at no cost."""
        verdicts = tuple(
            Verdict(check=check.id, answer="unknown", reason="no critic takes part in this method")
            for check in concepts.checks
        )
        return Critique(image=image.id, verdicts=verdicts, looks=0)
