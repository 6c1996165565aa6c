"""Asks a person in the terminal about each image: shows its checks and the proposal, and reads a key."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...state import Action, Decision
from ...tools.blocking import on_ctrl_c
from ...tools.errors import Interrupted
from ...tools.files import Store
from ...tools.text import plain
from ..graph.person import Question, meant

KEYS = "Enter as proposed, r refine, n new seed, s stop, w own words"
"""Possible answers about an image."""
ACTIONS: dict[str, Action] = {"r": "refine", "n": "reseed", "s": "stop"}


@dataclass(frozen=True)
class TerminalAsker:
    """An ``ask`` for ``run``, in lines of text.

    >>> run("a cat holding an umbrella", ask=TerminalAsker())  # doctest: +SKIP
    """

    say: Callable[[str], object] = lambda line: print(plain(line))
    """Prints a line."""
    read: Callable[[str], str] = lambda question: input(plain(question))
    """Shows the question and returns the answer, a line."""
    show: Callable[[Path], object] = lambda path: None
    """Draws a picture, where the terminal can."""

    def __call__(self, question: Question) -> list[Decision]:
        """One decision for each waiting image; ``EOFError`` if nobody answers, ``Interrupted`` on Ctrl-C."""
        self.say(f"round {question.population.round}: decide about {len(question.proposed)}; {KEYS}")
        try:
            with on_ctrl_c():
                return [self._decide(question, decision) for decision in question.proposed]
        except KeyboardInterrupt as pressed:
            raise Interrupted(
                f"stopped at the question; go on with: detailscribe resume {question.folder}"
            ) from pressed

    def _decide(self, question: Question, proposed: Decision) -> Decision:
        population, image = question.population, question.population.images[proposed.image]
        critique = population.critiques[image.id]
        path = Store(question.folder).path(image.path)
        self.say(f"{image.id}  {path}")
        self.show(path)
        self.say(f"  {critique.passed} of {len(critique.verdicts)} checks pass")
        for verdict in critique.verdicts:
            if verdict.answer != "pass":
                self.say(f"  {verdict.answer}: {population.concepts.check(verdict.check).question}")
        if image.id in question.earlier:
            self.say(f"  you said before: {question.earlier[image.id].action}")
        self.say(f"  proposed: {proposed.action} ({proposed.rule}): {proposed.reason}")
        while True:
            key = self.read(f"{image.id} > ").strip().lower()
            if not key:
                return proposed
            if key == "w":
                return meant("refine", population, image, self.read("  words to draw from > ").strip())
            if key in ACTIONS:
                return meant(ACTIONS[key], population, image)
            self.say(f"  {key!r} is none of: {KEYS}")
