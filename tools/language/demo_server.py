"""A chat-completions server that answers from the embedded world: something to try chat models against, offline.

``python -m detailscribe.tools.language.demo_server --port 8000`` prints commands to try. It reads prompts by the
grammar of the embedded world and sees pictures by its network, so it knows no other things; what it is asked about
those it refuses. Its replies are bound by no schema, but keep to the one that is asked for.
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
from ..world.eyes import Eyes
from ..world.grammar import parse
from ..world.reading import Sights, probability, settle
from ..world.relations import RELATIONS
from ..world.spec import Link, Spec, Wanted
from ..world.vocabulary import COLOURS, NOUNS
from .question import NUMBER, picture_of_number

MODEL = "embedded-world"
"""The one model that the server has."""
YES = {"Yes": 0.6, " yes": 0.3, "YES": 0.1}
NO = {"No": 0.7, " no": 0.3}
"""How yes and no are spelt, and how often so."""
OTHER = {"The": 0.02, "I": 0.01}
"""What else a reply might begin with."""
_IMPOSSIBLE = -9999.0
"""Log-probability that servers give for what is all but impossible."""
_REMEMBERED = 1024
"""Pictures that corrections can be asked for; those shown longest ago are forgotten."""
_MARK = re.compile(r"\[picture (\w+)\]")
"""In evidence: a corrected prompt is asked for with what was seen, but without the picture."""
_FIGURE = re.compile(r'Does this figure show "(?P<prompt>.*)"\?', re.DOTALL)
_BARE = re.compile(r"\?\nAnswer in one word\.")
_FORM = re.compile(r"(?P<form>an? .+?|three .+?) made of (?P<parts>.+)")
_DOES = re.compile(r"(?P<who>[^,]+), (?P<what>.+)")
_QUESTIONS = (
    {"entities": "concept_graph", "answers": "critique", "better": "comparison", "decisions": "decision"}
    | {"rating": "rating", "phrases": "noun_phrases", "prompts": "new_prompts", "number": "vision_check"}
    | {"prompt": "refined_prompt"}
)
"""What is asked, by a field of the answer; for questions that name no schema."""


Reply = tuple[int, dict[str, Any]]
"""Status and JSON body of a response."""


class BadRequestError(Exception):
    """The request breaks the protocol; answered by a 400."""


@dataclass(frozen=True)
class Request:
    """One ``POST /v1/chat/completions``."""

    body: dict[str, Any]
    """As it was sent."""
    text: str
    """Every text part of every message, a blank line between them."""
    pictures: tuple[bytes, ...]
    """Files of every image part, in order."""
    schema_name: str | None
    """Of the JSON schema that was asked for; None where none was."""
    limit: int | None
    """Most tokens of the reply."""

    @property
    def about(self) -> str:
        """The schema's name; without a schema, the one whose fields the text names."""
        named = (name for field, name in _QUESTIONS.items() if f'"{field}"' in self.text)
        return self.schema_name or next(named, "nothing known")

    def section(self, tag: str) -> str:
        """What stands between the last lines ``<tag>`` and ``</tag>``; empty where there are none."""
        found = re.findall(rf"^<{tag}>\n(.*?)\n</{tag}>$", self.text, re.DOTALL | re.MULTILINE)
        return found[-1] if found else ""

    @property
    def checks(self) -> list[tuple[str, str]]:
        """Id and question of each check that is listed."""
        return [(id, question) for id, _, question in (x.partition(": ") for x in self.section("checks").splitlines())]

    def shown(self, number: int = 1) -> tuple[bytes, ...]:
        """The pictures, of which there must be this many."""
        if len(self.pictures) != number:
            raise BadRequestError(f"{number} picture(s) are wanted, and {len(self.pictures)} came")
        return self.pictures


@dataclass(frozen=True)
class Answer:
    """What the model says."""

    text: str
    first: dict[str, float] | None = None
    """Probability of each candidate for the first token; what ``logprobs`` shows."""
    refusal: str | None = None
    """Said in place of the text."""


def read_request(data: bytes) -> Request:
    """The request in a body; ``BadRequestError`` if it is no JSON, or a part is not what the protocol wants."""
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
    """The text in pieces of up to four characters: what this server counts as tokens."""
    return [text[i : i + 4] for i in range(0, len(text), 4)]


def completion(request: Request, answer: Answer) -> dict[str, Any]:
    """The body that answers a request."""
    said = tokens(answer.text)
    text = "".join(said[: request.limit])
    finish = "stop" if len(text) == len(answer.text) else "length"
    message = {"role": "assistant", "content": text if answer.refusal is None else None, "refusal": answer.refusal}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": _logprobs(request, answer)}
    sent, replied = len(tokens(request.text)) + 85 * len(request.pictures), len(tokens(text))
    usage = {"prompt_tokens": sent, "completion_tokens": replied, "total_tokens": sent + replied}
    about = {"id": "chatcmpl-demo", "object": "chat.completion", "created": 0, "model": request.body["model"]}
    return about | {"choices": [choice], "usage": usage}


def error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> Reply:
    """An error as OpenAI's server sends it."""
    return status, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def _logprobs(request: Request, answer: Answer) -> dict[str, Any] | None:
    """Of the first token alone, which is what a yes or no is read from."""
    if answer.first is None or not request.body.get("logprobs"):
        return None

    def candidate(token: str, likely: float) -> dict[str, Any]:
        logprob = math.log(likely) if likely > 0 else _IMPOSSIBLE
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    ranked = sorted(answer.first.items(), key=lambda item: -item[1])
    shown = [candidate(*one) for one in ranked[: int(request.body.get("top_logprobs") or 0)]]
    return {"content": [candidate(*ranked[0]) | {"top_logprobs": shown}], "refusal": None}


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
        default = default_checks(concepts.entities, concepts.interactions, [entity.id for entity in concepts.entities])
        return cls(spec, concepts, {check.question: check for check in (*default, *concepts.checks)})

    @classmethod
    def of_question(cls, question: str) -> "Subject":
        """Of a question that comes without the prompt: the things, the colour and the relation that it names."""
        words = re.findall(r"\w+", question.lower())
        colour = next((word for word in words if word in COLOURS), None)
        things = tuple(Wanted(noun, colour) for noun in dict.fromkeys(words) if noun in NOUNS)
        if not things:
            raise PromptError(f"the embedded world knows nothing of {question!r}")
        fits = (name for name in sorted(RELATIONS, key=len, reverse=True) if f" {name} " in question)
        spec = Spec(things, tuple(Link(name, tuple(range(len(things)))) for name in fits if len(things) > 1)[:1])
        concepts = concepts_of(spec, question)
        return cls(spec, concepts, {check.question: check for check in concepts.checks})


class Mind:
    """Answers by the grammar and the network of the embedded world."""

    def __init__(self) -> None:
        self._shown: dict[str, bytes] = {}
        """Pictures by their mark, in the order of the last question about each."""
        self._eyes = Eyes.load("critic")
        self._lock = threading.Lock()
        self.look = functools.lru_cache(maxsize=_REMEMBERED)(self._seen)
        """What is in a picture, given as a file."""

    def name(self, picture: bytes) -> str:
        """What a picture is called; the corrections of the embedded critic depend on it."""
        return "a picture"

    def answer(self, request: Request) -> Answer:
        """The answer to one request; a refusal for what is not of the embedded world. ``BadRequestError`` if a picture
        is missing, or cannot be opened."""
        if request.about == "vision_check":
            # The one number that this model can read is that of the picture that tests a model's sight.
            shown, wanted = opened(request.shown()[0]), opened(picture_of_number())
            far = shown.size != wanted.size or max(ImageStat.Stat(ImageChops.difference(shown, wanted)).mean) >= 16
            return Answer(json.dumps({"number": "none" if far else NUMBER}))
        if request.about == "new_prompts":
            return Answer(json.dumps(new_prompts(request.section("combinations"))))
        figure = _FIGURE.search(request.text)
        try:
            if request.about == "own_question" or _BARE.search(request.text):
                subject = Subject.of_question(request.text)
            else:
                subject = Subject.of(figure["prompt"] if figure else request.section("prompt"))
            if request.body.get("logprobs"):
                return self._likelihood(request, subject)
            return Answer(json.dumps(self._content(request, subject)))
        except PromptError as error:
            return Answer("", refusal=f"I cannot help with that: {error}")

    def _content(self, request: Request, subject: Subject) -> dict[str, object]:
        match request.about:
            case "concept_graph":
                concepts = subject.concepts.model_dump(mode="json")
                return {name: concepts[name] for name in ("entities", "interactions", "scene")}
            case "critique":
                return self._critique(request, subject)
            case "refined_prompt":
                picture = self._meant(request)
                seen = self.look(picture)
                return {"prompt": corrected_prompt(subject.concepts, seen, self.name(picture))}
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
                check = next((check for question, check in subject.known.items() if question in request.text), None)
                return {"answer": verdict_on(check, subject, self._show(request)[1])[0]}
            case "noun_phrases":
                return {"phrases": noun_phrases(subject.concepts)}
            case "rating":
                share = self._rank(request.shown()[0], subject)[0]
                return {"reason": f"{share:.0%} of the checks pass", "rating": 1 + round(4 * share)}
            case _:
                return {"text": "I am not sure what you want to know."}

    def _critique(self, request: Request, subject: Subject) -> dict[str, object]:
        mark, seen = self._show(request)
        found = [(id, *verdict_on(subject.known.get(question), subject, seen)) for id, question in request.checks]
        answers = [{"check": id, "evidence": f"{why} [picture {mark}]", "answer": said} for id, said, why in found]
        return {"answers": answers}

    def _likelihood(self, request: Request, subject: Subject) -> Answer:
        """P(yes) of the check that the text holds; of all checks for a figure and its prompt."""
        if _FIGURE.search(request.text):
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
        [picture] = request.shown()
        mark = hashlib.sha256(picture).hexdigest()[:8]
        with self._lock:
            self._shown.pop(mark, None)
            self._shown[mark] = picture
            if len(self._shown) > _REMEMBERED:
                del self._shown[next(iter(self._shown))]
        return mark, self.look(picture)

    def _meant(self, request: Request) -> bytes:
        """The picture that the failures were seen in; the one shown last where they do not say."""
        marks = _MARK.findall(request.section("failures"))
        mark = marks[0] if marks else next(reversed(self._shown), None)
        if mark not in self._shown:
            raise BadRequestError("the picture that these failures were seen in was never shown")
        return self._shown[mark]

    def _rank(self, picture: bytes, subject: Subject) -> tuple[float, float]:
        seen = Critique(image="a picture", verdicts=settle(subject.concepts, subject.spec, self.look(picture)))
        return seen.score, seen.confidence

    def _seen(self, picture: bytes) -> Sights:
        with self._lock:
            [seen] = self._eyes.look([opened(picture)])
        return seen


def verdict_on(check: Check | None, subject: Subject, seen: Sights) -> tuple[str, str]:
    if check is None:
        return "unclear", "I do not understand the question"
    alone = subject.concepts.model_copy(update={"checks": (check.model_copy(update={"depends_on": ()}),)})
    [verdict] = settle(alone, subject.spec, seen)
    return {"pass": "yes", "fail": "no", "unknown": "unclear"}[verdict.answer], verdict.evidence


def new_prompts(combinations: str) -> dict[str, object]:
    """One plain sentence for each numbered combination; after a dash stands what was wrong with an earlier one."""
    found = [re.fullmatch(r"(\d+): (.*?)(?: - '.*)?", line) for line in combinations.splitlines()]
    return {"prompts": [{"number": int(one[1]), "prompt": sentence(one[2])} for one in found if one]}


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
    """Serves in threads from ``start`` to ``stop``, on a free port unless one is named."""

    def __init__(self, mind: Mind | None = None, port: int = 0, key: str | None = None) -> None:
        self.mind = mind or Mind()
        self.key = key
        """The only key that it takes; None takes all."""
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
            return self.refuse_key(key) or (200, {"object": "list", "data": [model]})
        if path != "/v1/chat/completions":
            return 404, {"detail": "Not Found"}
        try:
            request = read_request(data)
            refused = self.refuse_key(key) or self.refuse_request(request)
            return refused or (200, completion(request, self.mind.answer(request)))
        except BadRequestError as wrong:
            return error(400, str(wrong))

    def refuse_key(self, key: str) -> Reply | None:
        """The response to a wrong key; None for the right one."""
        right = self.key in (None, key)
        return None if right else error(401, "Incorrect API key provided.", code="invalid_api_key")

    def refuse_request(self, request: Request) -> Reply | None:
        """The response to a request for another model; None for its own."""
        if (model := request.body.get("model")) == MODEL:
            return None
        message = f"The model `{model}` does not exist or you do not have access to it."
        return error(404, message, code="model_not_found")

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
    parser.add_argument("--key", help="the only API key that it takes")
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
