"""The critic of the embedded world: a network's answers to the checklist, and the corrected prompt."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ...state import Check, ConceptGraph, Critique, Exchange, ImageRecord, Verdict
from ..files import Store
from ..roles import Explicitness
from .corrections import corrected_prompt
from .decomposer import spec_of
from .reading import Sights, settle

if TYPE_CHECKING:
    from .eyes import Eyes

_WEIGHT = {"presence": 0, "relation": 1, "attribute": 2, "count": 3, "scene": 4, "nothing_else": 5}
"""Rank of issues by aspect, the worst first."""


class EmbeddedCritic:
    """Answers every check with a probability and words a correction, as explicit as it is asked to be; as ``oracle`` it
    states a layout that passes every check."""

    def __init__(self, eyes: "Eyes", corrections: Explicitness = "oracle") -> None:
        self._eyes = eyes
        self.corrections: Explicitness = corrections
        self.model = eyes.model + ("" if corrections == "oracle" else f" (corrections={corrections})")
        """Name and content hash, and how it corrects where that is not ``oracle``."""

    @classmethod
    def load(cls, folder: Path | None = None, corrections: Explicitness = "oracle") -> "EmbeddedCritic":
        """The critic inside the package, or of ``folder``; ``ModelError`` if its weights cannot be read."""
        from .eyes import WEIGHTS, Eyes

        return cls(Eyes.load("critic", folder or WEIGHTS), corrections)

    def correcting(self, corrections: Explicitness) -> "EmbeddedCritic":
        """The same eyes, with other words."""
        return EmbeddedCritic(self._eyes, corrections)

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """One verdict for each check; ``PromptError`` for concepts from outside the embedded world."""
        return await asyncio.to_thread(lambda: self.examine(store.picture(image.path), image.id, concepts))

    async def correct(
        self, image: ImageRecord, concepts: ConceptGraph, verdicts: tuple[Verdict, ...], store: Store
    ) -> str | None:
        """The corrected prompt that these verdicts on the image call for, be they true or not; None if all pass."""
        [seen] = await asyncio.to_thread(lambda: self._eyes.look([store.picture(image.path)]))
        return self._corrected(concepts, verdicts, seen, image.id)

    def examine(self, picture: Image.Image, name: str, concepts: ConceptGraph) -> Critique:
        """The critique of a picture that no store holds."""
        started = time.perf_counter()
        [seen] = self._eyes.look([picture])
        verdicts = settle(concepts, spec_of(concepts), seen)
        issues = (
            f"{c.question} {'No' if v.answer == 'fail' else 'Perhaps not'}: {v.evidence}"
            for c, v in _gravest_first(concepts, verdicts)
        )
        likely = ("-" if v.probability is None else f"{v.probability:.3f}" for v in verdicts)
        exchange = Exchange(
            model=self.model,
            prompt="\n".join(check.question for check in concepts.checks),
            reply="\n".join(f"{v.answer} {p} {v.evidence}" for v, p in zip(verdicts, likely, strict=True)),
            seconds=time.perf_counter() - started,
        )
        return Critique(
            image=name,
            verdicts=verdicts,
            issues=tuple(issues),
            refined_prompt=self._corrected(concepts, verdicts, seen, name),
            exchanges=(exchange,),
        )

    def _corrected(self, concepts: ConceptGraph, verdicts: Iterable[Verdict], seen: Sights, name: str) -> str | None:
        wrong = [check for check, verdict in _gravest_first(concepts, verdicts) if verdict.settled_by is None]
        return corrected_prompt(concepts, seen, name, wrong, self.corrections) if wrong else None


def _gravest_first(concepts: ConceptGraph, verdicts: Iterable[Verdict]) -> list[tuple[Check, Verdict]]:
    """The verdicts that are no pass, each with its check."""
    wrong = [(concepts.check(v.check), v) for v in verdicts if v.answer != "pass"]
    return sorted(wrong, key=lambda pair: _WEIGHT[pair[0].aspect])


class EmbeddedJudge:
    """The independent judge: a network of another kind, trained on other pictures, than the critic's."""

    def __init__(self) -> None:
        """Raises ``ModelError`` if its weights cannot be read."""
        from .eyes import Eyes

        self._eyes = Eyes.load("judge")
        self.model = self._eyes.model

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """Verdicts alone: a judge corrects nothing; ``PromptError`` for concepts from outside the embedded world."""
        [seen] = await asyncio.to_thread(lambda: self._eyes.look([store.picture(image.path)]))
        return Critique(image=image.id, verdicts=settle(concepts, spec_of(concepts), seen))
