"""A chat-completions server for the embedded world, to try chat models offline.

``python -m detailscribe.tools.language.demo_server --port 8000`` prints commands to try. It parses prompts with the
grammar of the embedded world and looks at pictures with its network; it refuses questions about anything else. It
answers by the name of the JSON schema that is asked for, or by the fields that the text of the question names.
"""

import argparse
import base64
import functools
import hashlib
import io
import json
import math
import re
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from PIL import Image, ImageChops, ImageStat

from ...prompts import noun_phrases, with_article
from ...state import Check, ConceptGraph, Critique, default_checks
from ..errors import PromptError
from ..world.critic import corrected_prompt
from ..world.decomposer import concepts_of, laid_out
from ..world.detector import Detector
from ..world.grammar import parse
from ..world.reading import Detections, probability, settle
from ..world.relations import RELATIONS
from ..world.spec import Link, Spec, Wanted
from ..world.vocabulary import COLOURS, NOUNS
from .question import NUMBER, picture_of_number

MODEL = "embedded-world"
"""The one model that the server has."""
YES = {"Yes": 0.6, " yes": 0.3, "YES": 0.1}
NO = {"No": 0.7, " no": 0.3}
"""How often yes and no are spelt in which way."""
OTHER = {"The": 0.02, "I": 0.01}
"""Other first words of a reply."""
_REMEMBERED = 1024
"""Questions about pictures that are remembered, so that corrections can be asked for."""
_MARK = re.compile(r"\[picture (\w+)\]")
"""In evidence: the question for a corrected prompt repeats the evidence, but has no picture."""
_FIGURE = re.compile(r'Does this figure show "(?P<prompt>.*)"\?', re.DOTALL)
_BARE = re.compile(r"\?\nAnswer in one word\.")
_FORM = re.compile(r"(?P<form>an? .+?|three .+?) made of (?P<parts>.+)")
_DOES = re.compile(r"(?P<who>[^,]+), (?P<what>.+)")
_SCHEMA_WITH = dict(
    re.findall(
        r"(\w+):(\w+)",
        "entities:concept_graph answers:critique better:comparison decisions:decision rating:rating prompts:new_prompts"
        " phrases:noun_phrases number:vision_check prompt:refined_prompt",
    )
)
"""Names of schemas by one of their fields."""

Reply = tuple[int, dict[str, Any]]
"""Status and JSON body of a response."""


class BadRequestError(Exception):
    """The request breaks the protocol; the response is a 400."""


@dataclass(frozen=True)
class Request:
    """One ``POST /v1/chat/completions``."""

    body: dict[str, Any]
    """As it was sent."""
    text: str
    """Every text part of every message, with a blank line between them."""
    pictures: tuple[bytes, ...]
    """The file of every image part, in order."""
    schema_name: str | None
    """Name of the JSON schema that was asked for, if any."""
    limit: int | None
    """Most tokens of the reply."""

    @property
    def about(self) -> str:
        """The schema's name; without a schema, that of the first one of which the text names a field."""
        names = (name for field, name in _SCHEMA_WITH.items() if f'"{field}"' in self.text)
        return self.schema_name or next(names, "nothing known")

    def section(self, tag: str) -> str:
        """What stands between the last lines ``<tag>`` and ``</tag>``; empty where there are none."""
        sections = re.findall(rf"^<{tag}>\n(.*?)\n</{tag}>$", self.text, re.DOTALL | re.MULTILINE)
        return sections[-1] if sections else ""

    @property
    def checks(self) -> list[tuple[str, str]]:
        """Id and question of each check that is listed."""
        return [(id, question) for id, _, question in (x.partition(": ") for x in self.section("checks").splitlines())]

    def shown(self, number: int = 1) -> tuple[bytes, ...]:
        """The pictures; ``BadRequestError`` unless there are this many."""
        if len(self.pictures) != number:
            raise BadRequestError(f"the question needs {number} picture(s), and has {len(self.pictures)}")
        return self.pictures


@dataclass(frozen=True)
class Answer:
    """What the model answers."""

    text: str
    first: dict[str, float] | None = None
    """Probabilities of the first token, for ``logprobs``."""
    refusal: str | None = None
    """In place of the text."""


def read_request(data: bytes) -> Request:
    """The request in a body; ``BadRequestError`` if it is not JSON of the protocol."""
    try:
        body = json.loads(data)
        texts, pictures = list[str](), list[bytes]()
        for message in body["messages"]:
            content: Any = message["content"]
            parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
            for part in parts:
                if part["type"] == "text":
                    texts.append(part["text"])
                else:
                    encoded = part["image_url"]["url"].removeprefix("data:image/").partition(";base64,")[2]
                    pictures.append(base64.b64decode(encoded, validate=True))
        form = body.get("response_format") or {}
        name = form["json_schema"]["name"] if form.get("type") == "json_schema" else None
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        return Request(body, "\n\n".join(texts), tuple(pictures), name, limit and int(limit))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadRequestError(f"{type(error).__name__}: {error}") from error


def tokens(text: str) -> list[str]:
    """The text in pieces of four characters, which this server counts as tokens."""
    return [text[i : i + 4] for i in range(0, len(text), 4)]


def completion(request: Request, answer: Answer) -> dict[str, Any]:
    """The response body with an answer."""
    whole = tokens(answer.text)
    kept = whole[: request.limit]
    content = "".join(kept) if answer.refusal is None else None
    message = {"role": "assistant", "content": content, "refusal": answer.refusal}
    finish = "stop" if len(kept) == len(whole) else "length"
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": _logprobs(request, answer)}
    sent, replied = len(tokens(request.text)) + 85 * len(request.pictures), len(kept)
    usage = {"prompt_tokens": sent, "completion_tokens": replied, "total_tokens": sent + replied}
    about = {"id": "chatcmpl-demo", "object": "chat.completion", "created": 0, "model": request.body["model"]}
    return about | {"choices": [choice], "usage": usage}


def error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> Reply:
    """An error as OpenAI's server sends it."""
    return status, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def _logprobs(request: Request, answer: Answer) -> dict[str, Any] | None:
    """Those of the first token alone, from which a yes or no is read."""
    if answer.first is None or not request.body.get("logprobs"):
        return None
    ranked = [
        {"token": token, "logprob": math.log(p) if p > 0 else -9999.0, "bytes": list(token.encode())}
        for token, p in sorted(answer.first.items(), key=lambda item: -item[1])
    ]
    top = ranked[: int(request.body.get("top_logprobs") or 0)]
    return {"content": [ranked[0] | {"top_logprobs": top}], "refusal": None}


@dataclass(frozen=True)
class Subject:
    """What a question is about."""

    spec: Spec
    concepts: ConceptGraph
    known: Mapping[str, Check]
    """Checks by their question, as the embedded and the default checklist word it."""

    @classmethod
    def of(cls, prompt: str) -> "Subject":
        """The subject of a user's prompt; ``PromptError`` if it is from outside the embedded world."""
        spec = parse(prompt)
        concepts = concepts_of(spec, prompt)
        default = default_checks(concepts.entities, concepts.interactions, [entity.id for entity in concepts.entities])
        return cls(spec, concepts, {check.question: check for check in (*default, *concepts.checks)})

    @classmethod
    def of_question(cls, question: str) -> "Subject":
        """The things, the colour and the relation that a question without a prompt names."""
        words = re.findall(r"\w+", question.lower())
        colour = next((word for word in words if word in COLOURS), None)
        things = tuple(Wanted(noun, colour) for noun in dict.fromkeys(words) if noun in NOUNS)
        if not things:
            raise PromptError(f"the embedded world knows nothing of {question!r}")
        relations = (name for name in sorted(RELATIONS, key=len, reverse=True) if f" {name} " in question)
        spec = Spec(things, tuple(Link(name, tuple(range(len(things)))) for name in relations if len(things) > 1)[:1])
        concepts = concepts_of(spec, question)
        return cls(spec, concepts, {check.question: check for check in concepts.checks})

    def asked_in(self, text: str) -> Check | None:
        """The last check whose question stands in a text."""
        return next((check for question, check in reversed([*self.known.items()]) if question in text), None)


class Mind:
    """Answers with the grammar and the network of the embedded world."""

    def __init__(self) -> None:
        self._shown: deque[tuple[str, bytes]] = deque(maxlen=_REMEMBERED)
        """Mark and file of the picture of each question."""
        self._detector = Detector.load("critic")
        self.look = functools.lru_cache(maxsize=_REMEMBERED)(self._look)
        """What is in a picture, given as a file."""

    def name(self, picture: bytes) -> str:
        """The id of a picture, on which the corrections of the embedded critic depend."""
        return "a picture"

    def answer(self, request: Request) -> Answer:
        """The answer to one request; a refusal for what is not of the embedded world. ``BadRequestError`` if a picture
        is missing, or cannot be opened."""
        if request.about == "vision_check":
            # The one number that this model can read is that of the picture that tests a model's sight.
            shown, test = opened(request.shown()[0]), opened(picture_of_number())
            differs = shown.size != test.size or max(ImageStat.Stat(ImageChops.difference(shown, test)).mean) >= 16
            return Answer(json.dumps({"number": "none" if differs else NUMBER}))
        if request.about == "new_prompts":
            return Answer(json.dumps(new_prompts(request.section("combinations"))))
        figure = _FIGURE.search(request.text)
        try:
            if request.about == "own_question" or _BARE.search(request.text):
                subject = Subject.of_question(request.text)
            else:
                subject = Subject.of(figure["prompt"] if figure else request.section("prompt"))
            if request.body.get("logprobs"):
                check = subject.asked_in(request.text)
                checks = list(subject.concepts.checks) if figure else [check] if check else []
                return self._yes_or_no(request, subject, checks)
            return Answer(json.dumps(self._content(request, subject)))
        except PromptError as error:
            return Answer("", refusal=f"I cannot help with that: {error}")

    def _content(self, request: Request, subject: Subject) -> dict[str, object]:
        match request.about:
            case "concept_graph":
                return subject.concepts.model_dump(mode="json", include={"entities", "interactions", "scene"})
            case "critique":
                mark, sights = self._show(request)
                answers: list[dict[str, str]] = []
                for id, question in request.checks:
                    word, evidence = verdict_on(subject.known.get(question), subject, sights)
                    answers.append({"check": id, "evidence": f"{evidence} [picture {mark}]", "answer": word})
                return {"answers": answers}
            case "refined_prompt":
                picture = self._picture_with_failures(request)
                return {"prompt": corrected_prompt(subject.concepts, self.look(picture), self.name(picture))}
            case "rewritten_prompt":
                return {"prompt": laid_out(subject.concepts.prompt)}
            case "comparison":
                first, second = (self._rank(picture, subject) for picture in request.shown(2))
                better = "equal" if first == second else "first" if first > second else "second"
                reason = f"{first[0]:.0%} of the checks pass on the first, {second[0]:.0%} on the second"
                return {"better": better, "reason": reason}
            case "decision":
                ahead = {"reason": "it is ahead", "action": "refine", "strength": "light"}
                behind = {"reason": "others are ahead of it", "action": "stop", "strength": "light"}
                waiting = enumerate(request.section("waiting").split())
                return {"decisions": [{"image": id} | (behind if n else ahead) for n, id in waiting]}
            case "own_question":
                return {"answer": verdict_on(subject.asked_in(request.text), subject, self._show(request)[1])[0]}
            case "noun_phrases":
                return {"phrases": noun_phrases(subject.concepts)}
            case "rating":
                share = self._rank(request.shown()[0], subject)[0]
                return {"reason": f"{share:.0%} of the checks pass", "rating": 1 + round(4 * share)}
            case _:
                return {"text": "I am not sure what you want to know."}

    def _yes_or_no(self, request: Request, subject: Subject, checks: list[Check]) -> Answer:
        """Whether these checks hold, with the probabilities of the first word."""
        if not checks:
            return Answer("Perhaps", first=OTHER)
        _, sights = self._show(request)
        likely = math.prod(probability(check, subject.concepts, subject.spec, sights) for check in checks)
        first = {w: likely * share for w, share in YES.items()} | {w: (1 - likely) * share for w, share in NO.items()}
        rest = 1 - sum(OTHER.values())
        return Answer("Yes" if likely > 0.5 else "No", first={w: rest * p for w, p in first.items()} | OTHER)

    def _show(self, request: Request) -> tuple[str, Detections]:
        """Mark of the request's picture, and what is in it."""
        [picture] = request.shown()
        mark = hashlib.sha256(picture).hexdigest()[:8]
        self._shown.append((mark, picture))
        return mark, self.look(picture)

    def _picture_with_failures(self, request: Request) -> bytes:
        """The picture that the evidence marks; the last one where there is no mark."""
        marks, shown = _MARK.findall(request.section("failures")), list(self._shown)
        pictures = [picture for mark, picture in shown if mark in marks[:1] or not marks]
        if not pictures:
            raise BadRequestError("the picture that these failures were seen in was never shown")
        return pictures[-1]

    def _look(self, picture: bytes) -> Detections:
        return self._detector.detect([opened(picture)])[0]

    def _rank(self, picture: bytes, subject: Subject) -> tuple[float, float]:
        verdicts = settle(subject.concepts, subject.spec, self.look(picture))
        critique = Critique(image="a picture", verdicts=verdicts)
        return critique.score, critique.confidence


def verdict_on(check: Check | None, subject: Subject, sights: Detections) -> tuple[str, str]:
    """Yes, no or unclear, and the evidence."""
    if check is None:
        return "unclear", "I do not understand the question"
    alone = subject.concepts.model_copy(update={"checks": (check.model_copy(update={"depends_on": ()}),)})
    [verdict] = settle(alone, subject.spec, sights)
    return {"pass": "yes", "fail": "no", "unknown": "unclear"}[verdict.answer], verdict.evidence


def new_prompts(combinations: str) -> dict[str, object]:
    """One plain sentence for each numbered combination; what follows a dash was wrong with an earlier sentence."""
    lines = [re.fullmatch(r"(\d+): (.*?)(?: - '.*)?", line) for line in combinations.splitlines()]
    return {"prompts": [{"number": int(line[1]), "prompt": sentence(line[2])} for line in lines if line]}


def sentence(brief: str) -> str:
    """Who does what, or what makes up which form, in the present tense."""
    if form := _FORM.fullmatch(brief):
        return f"{form['parts'].capitalize()} form {form['form']}."
    if does := _DOES.fullmatch(brief):
        who = [with_article(name) for name in does["who"].split(" and ")]
        return f"{' and '.join(who).capitalize()} {'are' if len(who) > 1 else 'is'} {does['what']}."
    return brief


def opened(picture: bytes) -> Image.Image:
    """The pixels of a file; ``BadRequestError`` if it is no picture."""
    try:
        return Image.open(io.BytesIO(picture)).convert("RGB")
    except OSError as error:
        raise BadRequestError(f"Invalid image: {error}") from error


class DemoServer:
    """Serves in threads from ``start`` to ``stop``, on a free port unless one is given."""

    def __init__(self, mind: Mind | None = None, port: int = 0, key: str | None = None) -> None:
        self.mind = mind or Mind()
        self.key = key
        """The only key that is accepted; None for any."""
        self._http = ThreadingHTTPServer(("127.0.0.1", port), self.handler())
        self._http.handle_error = lambda request, client_address: None  # clients may hang up

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def start(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def reply(self, path: str, data: bytes, key: str) -> Reply:
        """The response to a request; ``data`` is empty for GET."""
        if path == "/v1/models" and not data:
            model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "detailscribe"}
            return self.refusal(key, MODEL) or (200, {"object": "list", "data": [model]})
        if path != "/v1/chat/completions":
            return 404, {"detail": "Not Found"}
        try:
            request = read_request(data)
            refusal = self.refusal(key, request.body.get("model"))
            return refusal or (200, completion(request, self.mind.answer(request)))
        except BadRequestError as wrong:
            return error(400, str(wrong))

    def refusal(self, key: str, model: object) -> Reply | None:
        """The response to a wrong key or to a request for another model."""
        if self.key not in (None, key):
            return error(401, "Incorrect API key provided.", code="invalid_api_key")
        if model != MODEL:
            message = f"The model `{model}` does not exist or you do not have access to it."
            return error(404, message, code="model_not_found")
        return None

    def handler(self) -> type[BaseHTTPRequestHandler]:
        demo = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                status, reply = demo.reply(self.path.partition("?")[0], data, key)
                body = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None: ...

        return Handler


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m detailscribe.tools.language.demo_server", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--key", help="the only API key that is accepted")
    chosen = parser.parse_args()
    try:
        server = DemoServer(port=chosen.port, key=chosen.key).start()
    except (OSError, OverflowError) as wrong:
        parser.error(f"port {chosen.port}: {wrong}; name another with --port")
    chat = f"--chat-url {server.url} --chat-model {MODEL}"
    key = "" if chosen.key is None else f"OPENAI_API_KEY={chosen.key} "
    print(f"{key}detailscribe doctor {chat}")
    print(f'{key}detailscribe run "a cat holding a red umbrella" {chat}', flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
