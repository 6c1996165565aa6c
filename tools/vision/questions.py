"""What a critic asks, put into words by templates."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...prompts import Template, load
from ...state import Check, Verdict
from ..language.question import Picture, Question
from .answers import one_line

UNSEEN = "no evidence given"
"""What stands for evidence where there is none."""


class Questions:
    """The critic's questions, from the templates that ship or a user's own.

    Raises:
        TemplateError: a template of ``folder`` has other variables than the one it stands in for.
    """

    def __init__(self, folder: Path | None = None) -> None:
        names = ("critique", "likelihood", "refine", "compare")
        self._systems = {name: load(f"{name}_system", folder) for name in names}
        self._texts = {name: load(name, folder) for name in names}
        self._again = load("refine_again", folder)

    def critique(self, prompt: str, checks: Iterable[Check], picture: Picture, vote: int) -> Question:
        """Answer these checks, each with evidence."""
        text = self._texts["critique"].render(prompt=prompt, checks=_checklist(checks))
        return self._question("critique", "critique", text, (picture,), vote=vote)

    def likelihood(self, prompt: str, check: Check, picture: Picture) -> Question:
        """Answer one check in one word."""
        text = self._texts["likelihood"].render(prompt=prompt, checks=_checklist([check]))
        return self._question("likelihood", "likelihood", text, (picture,))

    def comparison(self, prompt: str, checks: Iterable[Check], pictures: tuple[Picture, Picture]) -> Question:
        """Which of two pictures shows more of what is asked for?"""
        text = self._texts["compare"].render(prompt=prompt, checks=_checklist(checks))
        return self._question("compare", "comparison", text, pictures)

    def refined(self, prompt: str, failures: Sequence[tuple[Check, Verdict]], words: int) -> Question:
        """Write a prompt that mends these failures; the worst comes first."""
        lines = "\n".join(f"{wire_line(c)} - {one_line(v.evidence) or UNSEEN}" for c, v in failures)
        text = self._texts["refine"].render(prompt=prompt, failures=lines, words=words)
        return self._question("refine", "refined_prompt", text, words=words)

    def refined_again(self, asked: Question, answer: str, problem: str) -> Question:
        """The same once more, with what is wrong with the answer."""
        again = self._again.render(answer=answer, problem=problem)
        return Question(
            name=asked.name,
            system=asked.system,
            text=f"{asked.text}\n\n{again}",
            template=f"{asked.template} {_mark(self._again)}",
        )

    def _question(
        self, template: str, name: str, text: str, pictures: tuple[Picture, ...] = (), vote: int = 0, **system: int
    ) -> Question:
        return Question(
            name=name,
            system=self._systems[template].render(**system),
            text=text,
            pictures=pictures,
            template=f"{_mark(self._systems[template])} {_mark(self._texts[template])}",
            vote=vote,
        )


def wire_id(check: Check) -> str:
    """The id as it is asked by, on one line."""
    return one_line(check.id)


def wire_line(check: Check) -> str:
    """The check as it is asked, on one line."""
    return f"{wire_id(check)}: {one_line(check.question)}"


def _checklist(checks: Iterable[Check]) -> str:
    return "\n".join(map(wire_line, checks))


def _mark(template: Template) -> str:
    return f"{template.name}@{template.sha256[:12]}"
