"""A chat model of a few lines: a function answers, and every question is kept."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from detailscribe.state import Check, ConceptGraph, Critique, Entity, Exchange, Interaction
from detailscribe.tools.errors import ReplyError
from detailscribe.tools.language.question import Likelihood, Question, Reply

PROMPT = "a cat holding a red umbrella"


def concepts(prompt: str = PROMPT) -> ConceptGraph:
    """Two things, one of them red, one relation that needs both, and a place."""
    return ConceptGraph(
        prompt=prompt,
        entities=(Entity(id="c", name="cat"), Entity(id="u", name="umbrella", attributes=("red",))),
        interactions=(Interaction(id="h", kind="contact", subjects=("c",), relation="holding", object="u"),),
        checks=(
            Check(id="place", question="Is it on a beach?", aspect="scene"),
            Check(id="red", question="Is the umbrella red?", aspect="attribute", about="u", depends_on=("umbrella",)),
            Check(id="umbrella", question="Is there any umbrella?", aspect="presence", about="u"),
            Check(
                id="holding",
                question="Is the cat holding it?",
                aspect="relation",
                about="h",
                depends_on=("cat", "umbrella"),
            ),
            Check(id="cat", question="Is there any cat?", aspect="presence", about="c"),
        ),
    )


def exchange(question: Question, reply: str = "") -> Exchange:
    return Exchange(model="fake@host", prompt=question.text, reply=reply, prompt_tokens=10, reply_tokens=1, money=0.5)


def no_reply(question: Question, reason: str = "timed out after 120 s") -> ReplyError:
    return ReplyError(f"no answer: {reason}", reason=reason, raw="", exchanges=(exchange(question),))


class FakeChat:
    """``answer`` gives the content of the reply to a question, or the error to raise."""

    name = "fake@host"
    picture_side = 1024

    def __init__(
        self,
        answer: Callable[[Question], Any],
        likely: Callable[[Question], float | str] = lambda question: "the server gives no logprobs",
    ) -> None:
        self._answer = answer
        self._likely = likely
        self.questions: list[Question] = []

    async def ask(self, question: Question, answer: type[BaseModel], *, keep: object = None) -> Reply[Any]:
        self.questions.append(question)
        content = self._answer(question)
        if isinstance(content, Exception):
            raise content
        try:
            value = answer.model_validate(content)
        except ValidationError as error:
            raise no_reply(question, str(error)) from error
        made = exchange(question, str(content)).model_copy(update={"picture_side": self.picture_side})
        return Reply(value, (made,))

    async def likelihood(self, question: Question) -> Likelihood:
        self.questions.append(question)
        likely = self._likely(question)
        if isinstance(likely, Exception):
            raise likely
        if isinstance(likely, str):
            return Likelihood(None, likely, exchange(question))
        return Likelihood(likely, None, exchange(question, "Yes"))

    def asked(self, name: str) -> list[Question]:
        return [q for q in self.questions if q.name == name]


def answers(**said: str) -> dict[str, Any]:
    """A reply that answers these checks, with evidence."""
    return {"answers": [{"check": c, "evidence": f"saw {c}", "answer": a} for c, a in said.items()]}


def script(said: Mapping[str, str], refined: str = f"{PROMPT}. It is there.") -> Callable[[Question], Any]:
    """Answers every check that is asked with yes unless ``said`` has it otherwise."""

    def answer(question: Question) -> Any:
        if question.name == "refined_prompt":
            return {"prompt": refined}
        return answers(**{check: said.get(check, "yes") for check in listed(question)})

    return answer


def listed(question: Question, tag: str = "checks") -> list[str]:
    """Ids of the checks between ``<checks>`` and ``</checks>``."""
    found = re.search(rf"^<{tag}>\n(.*?)\n</{tag}>$", question.text, re.DOTALL | re.MULTILINE)
    assert found, question.text
    return [line.partition(": ")[0] for line in found[1].splitlines()]


def said(critique: Critique) -> dict[str, str]:
    return dict(critique.answers())
