"""Drawing from a prompt that was rewritten before any image was seen."""

import asyncio

from ...state import ConceptGraph
from ...tools.language.rewriter import Rewriter
from ...tools.roles import Decomposer


class RewritingDecomposer:
    """Another decomposer, whose concepts also say what to draw from; the checks stay those of the user's prompt."""

    def __init__(self, decomposer: Decomposer, rewriter: Rewriter) -> None:
        self._decomposer = decomposer
        self._rewriter = rewriter

    @property
    def model(self) -> str:
        """Of both."""
        names = (str(getattr(part, "model", type(part).__qualname__)) for part in (self._decomposer, self._rewriter))
        return ", rewritten by ".join(names)

    async def decompose(self, prompt: str) -> ConceptGraph:
        """Raises as the two do; what both asked is in the exchanges, and so in what the run cost."""
        concepts, rewritten = await asyncio.gather(self._decomposer.decompose(prompt), self._rewriter.rewrite(prompt))
        return concepts.model_copy(
            update={
                "drawn_from": rewritten.prompt,
                "exchanges": (*concepts.exchanges, *rewritten.exchanges),
            }
        )
