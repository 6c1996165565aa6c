"""The decomposer of full-size runs: a chat model takes the prompt apart."""

import re
from pathlib import Path

from ...prompts import TemplateError, load, render
from ...state import Check, ConceptGraph, default_checks, parse_concepts
from ..errors import PromptError, SettingsError
from .chat import ChatModel
from .concept_answer import ConceptAnswer
from .mending import Concepts, mended
from .question import Question
from .wire import json_object, portable_schema, without_thoughts

_NOTATION = re.compile(r"\(\s*concept\s*:.*\)", re.DOTALL)


class ChatDecomposer:
    """Asks a chat model for the concepts of a prompt; any prompt that says something can be read."""

    def __init__(self, chat: ChatModel, templates: Path | None = None) -> None:
        """``templates`` is a folder of templates that stand in for those that ship.

        Raises:
            SettingsError: a template there cannot be read, or has other variables than the one it stands in for.
        """
        self._chat = chat
        try:
            self._system, self._user = load("decompose_system", templates), load("decompose", templates)
        except TemplateError as error:
            raise SettingsError(str(error)) from error

    @property
    def model(self) -> str:
        """Model and server."""
        return self._chat.name

    async def decompose(self, prompt: str) -> ConceptGraph:
        """The prompt's concepts with the default checklist, and what was asked to get them.

        Raises:
            PromptError: the prompt is empty.
            ModelError: the model or its server cannot be used.
            ReplyError: no answer of the model is a concept graph.
        """
        question = self.question(prompt)
        schema = portable_schema(ConceptAnswer, strict=self._chat.is_openai)
        reply = await self._chat.ask_for(question, schema, lambda text: read_concepts(text, prompt))
        return reply.value.model_copy(update={"exchanges": reply.exchanges})

    def question(self, prompt: str) -> Question:
        """What is asked about a prompt; ``PromptError`` for an empty one."""
        if not prompt.strip():
            raise PromptError("the prompt is empty; say what the picture should show")
        return Question(
            name="concept_graph",
            system=self._system.render(),
            text=self._user.render(prompt=prompt),
            template=" ".join(template.label for template in (self._system, self._user)),
        )


def read_concepts(text: str, prompt: str) -> ConceptGraph:
    """The concept graph that a reply stands for: JSON, or the flat notation of the paper.

    Raises:
        ValueError: what is wrong with it.
    """
    flat = _NOTATION.search(without_thoughts(text))
    if flat is not None and "{" not in flat.group():
        concepts = parse_concepts(flat.group())
        return _graph(prompt, Concepts(concepts.entities, concepts.interactions))
    return _graph(prompt, mended(ConceptAnswer.model_validate_json(json_object(text))))


def _graph(prompt: str, concepts: Concepts) -> ConceptGraph:
    """The validated graph; a reference that dangles is found before a check is made of it."""
    entities, interactions, scene, counted = concepts
    bare = ConceptGraph(prompt=prompt, entities=entities, interactions=interactions, scene=scene)
    checks = default_checks(entities, interactions, counted)
    if scene is not None:
        checks += (Check(id="scene", question=render("check_scene", scene=scene), aspect="scene"),)
    return ConceptGraph.model_validate({**dict(bare), "checks": checks})
