"""Decomposers that ask no model of their own: around another one, or without decomposition."""

import asyncio

from ...prompts import render
from ...state import Check, ConceptGraph, Entity
from ..roles import Decomposer, Rewriter

WHOLE = "whole"
"""Id of the one check of a prompt that is not decomposed."""


class WholeDecomposer:
    """Does not decompose: one check asks for all of the prompt."""

    model = "no decomposition"

    async def decompose(self, prompt: str) -> ConceptGraph:
        """A graph of the picture alone, with the prompt's whole meaning in one check."""
        check = Check(id=WHOLE, question=render("check_whole"), aspect="scene")
        return ConceptGraph(prompt=prompt, entities=(Entity(id="picture", name="picture"),), checks=(check,))


def is_whole(concepts: ConceptGraph | None) -> bool:
    """Whether the prompt was not decomposed, so that a checklist of it would be no measure."""
    return concepts is not None and [check.id for check in concepts.checks] == [WHOLE]


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
        exchanges = (*concepts.exchanges, *rewritten.exchanges)
        return concepts.model_copy(update={"drawn_from": rewritten.prompt, "exchanges": exchanges})
