"""A model that knows the embedded world alone, behind the questions that chat models are asked."""

import functools
import hashlib
import io
import json
import math
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from detailscribe.agent.doctor.chat import NUMBER, picture_of_number
from detailscribe.state import Check, ConceptGraph, default_checks
from detailscribe.tools.errors import PromptError
from detailscribe.tools.world.critic import EmbeddedCritic, corrected_prompt
from detailscribe.tools.world.decomposer import concepts_of
from detailscribe.tools.world.eyes import Eyes
from detailscribe.tools.world.grammar import parse
from detailscribe.tools.world.reading import Sights, evidence, probability
from detailscribe.tools.world.rewriter import laid_out
from detailscribe.tools.world.spec import Spec

from .protocol import Answer, BadRequestError, Request
from .words import new_prompts, phrases

UNSURE = 0.05
"""Likelihoods nearer to one half than this are answered with unclear, as the embedded critic does."""
YES = {"Yes": 0.6, " yes": 0.3, "YES": 0.1}
NO = {"No": 0.7, " no": 0.3}
"""How yes and no are spelt, and how often so."""
OTHER = {"The": 0.02, "I": 0.01}
"""What else a reply might begin with."""
MARK = re.compile(r"\[picture (\w+)\]")
"""In evidence: a corrected prompt is asked for with what was seen, but without the picture."""
FIGURE = re.compile(r'Does this figure show "(?P<prompt>.*)"\?', re.DOTALL)


def prompt_of(text: str) -> str:
    """The user's prompt; the question whether a figure shows it holds it in its own words."""
    figure = FIGURE.search(text)
    return figure["prompt"] if figure else section(text, "prompt") or ""


def section(text: str, tag: str) -> str | None:
    """What stands between the last lines ``<tag>`` and ``</tag>``; None where there are none."""
    found = re.findall(rf"^<{tag}>\n(.*?)\n</{tag}>$", text, re.DOTALL | re.MULTILINE)
    return found[-1] if found else None


@dataclass(frozen=True)
class Subject:
    """What a question is about."""

    spec: Spec
    concepts: ConceptGraph
    known: Mapping[str, Check]
    """Checks by their question, in the words of the embedded checklist and of the default one."""

    @classmethod
    def of(cls, prompt: str) -> "Subject":
        """Of the user's prompt; ``PromptError`` if it is from outside the embedded world."""
        spec = parse(prompt)
        concepts = concepts_of(spec, prompt)
        counted = [entity.id for entity in concepts.entities]
        checks = (*default_checks(concepts.entities, concepts.interactions, counted), *concepts.checks)
        return cls(spec, concepts, {check.question: check for check in checks})


class Mind:
    """Answers by the grammar and the network of the embedded world; a picture is looked at once."""

    def __init__(self) -> None:
        self.album: Path | None = None
        """A run folder. Its images go by their own ids, on which the embedded critic's corrections depend."""
        self._shown: dict[str, bytes] = {}
        """Pictures by their mark, in the order of the last question about each."""
        self._eyes = Eyes.load("critic")
        self._critic = EmbeddedCritic(self._eyes)
        self._lock = threading.Lock()
        self.look = functools.lru_cache(maxsize=256)(self._seen)
        """What is in a picture, given as a file."""

    def answer(self, request: Request) -> Answer:
        """The answer to one request; a refusal for what is not of the embedded world.

        Raises:
            BadRequestError: a picture is missing, or cannot be opened.
        """
        match asked_for(request):
            case "vision_check":
                return Answer(json.dumps({"number": number_in(*_pictures(request, 1))}))
            case "new_prompts":
                return Answer(json.dumps(new_prompts(section(request.text, "combinations") or "")))
        try:
            subject = Subject.of(prompt_of(request.text))
            if request.wants_logprobs:
                return self._likelihood(request, subject)
            return Answer(json.dumps(self._content(request, subject)))
        except PromptError as error:
            return Answer("", refusal=f"I cannot help with that: {error}")

    def _content(self, request: Request, subject: Subject) -> dict[str, object]:
        match asked_for(request):
            case "concept_graph":
                return concept_graph(subject.concepts)
            case "critique":
                return self._critique(request, subject)
            case "refined_prompt":
                return {"prompt": self._refined(self._meant(request), subject)}
            case "rewritten_prompt":
                return {"prompt": laid_out(subject.concepts.prompt)}
            case "comparison":
                return self._comparison(request, subject)
            case "decision":
                return decisions(request)
            case "noun_phrases":
                return phrases(subject.concepts)
            case "rating":
                return self._rating(request, subject)
            case _:
                return {"text": "I am not sure what you want to know."}

    def _critique(self, request: Request, subject: Subject) -> dict[str, object]:
        mark, seen = self._show(request)
        verdicts = [(id, *verdict_on(subject.known.get(question), subject, seen)) for id, question in checks(request)]
        return {
            "answers": [
                {"check": id, "evidence": f"{why} [picture {mark}]", "answer": answer} for id, answer, why in verdicts
            ]
        }

    def _likelihood(self, request: Request, subject: Subject) -> Answer:
        if FIGURE.search(request.text):
            asked = list(subject.concepts.checks)
        else:
            asked = [check for question, check in subject.known.items() if question in request.text][-1:]
        if not asked:
            return Answer("Perhaps", first=OTHER)
        _, seen = self._show(request)
        likely = math.prod(probability(check, subject.concepts, subject.spec, seen) for check in asked)
        first = {w: likely * share for w, share in YES.items()} | {w: (1 - likely) * share for w, share in NO.items()}
        rest = 1 - sum(OTHER.values())
        return Answer("Yes" if likely > 0.5 else "No", first={w: rest * p for w, p in first.items()} | OTHER)

    def _show(self, request: Request) -> tuple[str, Sights]:
        """Mark of the picture that the request is about, and what is in it."""
        [picture] = _pictures(request, 1)
        mark = hashlib.sha256(picture).hexdigest()[:8]
        with self._lock:
            self._shown.pop(mark, None)
            self._shown[mark] = picture
        return mark, self.look(picture)

    def _meant(self, request: Request) -> bytes:
        """The picture that the failures were seen in; the one shown last where they do not say."""
        marks = MARK.findall(section(request.text, "failures") or "")
        mark = marks[0] if marks else next(reversed(self._shown), None)
        if mark not in self._shown:
            raise BadRequestError("the picture that these failures were seen in was never shown")
        return self._shown[mark]

    def _refined(self, picture: bytes, subject: Subject) -> str:
        return corrected_prompt(subject.concepts, subject.spec, self.look(picture), self._name(picture))

    def _comparison(self, request: Request, subject: Subject) -> dict[str, object]:
        first, second = (self._rank(picture, subject) for picture in _pictures(request, 2))
        better = "equal" if first == second else "first" if first > second else "second"
        return {"better": better, "reason": f"{first[0]:.0%} of the checks pass on the first, {second[0]:.0%} after it"}

    def _rating(self, request: Request, subject: Subject) -> dict[str, object]:
        """5 where every check passes, 1 where none does."""
        share = self._rank(*_pictures(request, 1), subject)[0]
        return {"reason": f"{share:.0%} of the checks pass", "rating": 1 + round(4 * share)}

    def _rank(self, picture: bytes, subject: Subject) -> tuple[float, float]:
        with self._lock:
            critique = self._critic.examine(opened(picture), "a picture", subject.concepts)
        return critique.score, critique.confidence

    def _seen(self, picture: bytes) -> Sights:
        with self._lock:
            [seen] = self._eyes.look([opened(picture)])
        return seen

    def _name(self, picture: bytes) -> str:
        files = sorted(self.album.glob("images/*.png")) if self.album else []
        pixels = opened(picture).tobytes()
        names = (path.stem for path in files if opened(path.read_bytes()).tobytes() == pixels)
        return next(names, "a picture")


def _pictures(request: Request, number: int) -> tuple[bytes, ...]:
    if len(request.pictures) != number:
        raise BadRequestError(f"{number} picture(s) are wanted, and {len(request.pictures)} came")
    return request.pictures


def verdict_on(check: Check | None, subject: Subject, seen: Sights) -> tuple[str, str]:
    """Answer and evidence."""
    if check is None:
        return "unclear", "I do not understand the question"
    likely = probability(check, subject.concepts, subject.spec, seen)
    answer = "unclear" if abs(likely - 0.5) < UNSURE else "yes" if likely > 0.5 else "no"
    return answer, evidence(check, subject.concepts, subject.spec, seen)


def asked_for(request: Request) -> str:
    """The schema's name; without a schema, the one whose fields the text speaks of."""
    if request.schema_name is not None:
        return request.schema_name
    fields = {
        "concept_graph": "entities",
        "critique": "answers",
        "comparison": "better",
        "decision": "decisions",
        "rating": "rating",
        "noun_phrases": "phrases",
        "new_prompts": "prompts",
        "vision_check": "number",
        "refined_prompt": "prompt",
    }
    return next((name for name, field in fields.items() if f'"{field}"' in request.text), "nothing known")


def checks(request: Request) -> list[tuple[str, str]]:
    """Id and question of each check that the request lists."""
    lines = (section(request.text, "checks") or "").splitlines()
    return [(id, question) for id, _, question in (line.partition(": ") for line in lines)]


def decisions(request: Request) -> dict[str, object]:
    """A light refinement of the picture named first, and an end to the others."""
    waiting = (section(request.text, "waiting") or "").split()
    return {
        "decisions": [
            {
                "reason": "others are ahead of it" if n else "it is ahead",
                "image": id,
                "action": "stop" if n else "refine",
                "strength": "light",
            }
            for n, id in enumerate(waiting)
        ]
    }


def number_in(picture: bytes) -> str:
    """The number in doctor's own test picture, which is all that this model can read."""
    return NUMBER if opened(picture) == opened(picture_of_number()) else "none"


def concept_graph(concepts: ConceptGraph) -> dict[str, object]:
    return {
        "entities": [e.model_dump(mode="json") for e in concepts.entities],
        "interactions": [i.model_dump(mode="json") for i in concepts.interactions],
        "scene": concepts.scene,
    }


def opened(picture: bytes) -> Image.Image:
    """The pixels of a file; ``BadRequestError`` if it is no picture."""
    try:
        return Image.open(io.BytesIO(picture)).convert("RGB")
    except OSError as error:
        raise BadRequestError(f"Invalid image: {error}") from error
