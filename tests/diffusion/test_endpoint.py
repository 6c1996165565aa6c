"""An images endpoint draws, and says in one line what it cannot do."""

import asyncio
import base64
import contextlib
import email
import gzip
import io
import json
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from detailscribe.state import Attempt, Region
from detailscribe.tools.diffusion import EndpointDiffusion
from detailscribe.tools.diffusion.job import read_record
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.errors import MissingLatentError, ModelError, ReplyError, SettingsError
from detailscribe.tools.files import picture_in
from detailscribe.tools.language.settings import ChatSettings, ImageOptions

KEY = "sk-very-secret"


def picture(colour: str = "red", kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (48, 32), colour).save(file, kind)
    return file.getvalue()


def reply(**fields: Any) -> tuple[int, dict[str, Any]]:
    return 200, {"created": 1, "data": [fields]}


def drawn(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The colour that the prompt ends with."""
    return reply(b64_json=base64.b64encode(picture(asked["prompt"].split()[-1])).decode())


def refusal(status: int, message: str) -> Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]:
    return lambda asked: (status, {"error": {"message": message, "type": "error", "code": None}})


class Endpoint(ThreadingHTTPServer):
    """Speaks the images protocol; ``answer`` is what it says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: Callable[[dict[str, Any]], tuple[int, Any]] = drawn
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.at_once, self.most_at_once = 0, 0

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left is no trouble."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        server = self.server
        server.at_once += 1
        server.most_at_once = max(server.most_at_once, server.at_once)
        asked = self.read()
        server.asked.append(asked)
        server.keys.append(self.headers["Authorization"])
        known = self.path in ("/v1/images/generations", "/v1/images/edits")
        status, body = server.answer(asked) if known else (404, {"error": {"message": "no such route"}})
        server.at_once -= 1
        self.say(status, body if isinstance(body, bytes) else json.dumps(body).encode(), "application/json")

    def read(self) -> dict[str, Any]:
        """The body: JSON, or a form of which files are pictures."""
        body, kind = self.rfile.read(int(self.headers["Content-Length"])), self.headers["Content-Type"]
        if kind == "application/json":
            return json.loads(body)
        form = email.message_from_bytes(f"Content-Type: {kind}\n\n".encode() + body).get_payload()
        fields = {part.get_param("name", header="content-disposition"): part for part in form}
        return {
            name: Image.open(io.BytesIO(part.get_payload(decode=True))) if part.get_filename() else part.get_payload()
            for name, part in fields.items()
        }

    def do_GET(self) -> None:
        self.server.keys.append(self.headers["Authorization"])
        moved = {"/elsewhere": "http://127.0.0.1:9/x.png", "/file": "file:///etc/passwd", "/round": "/round"}
        moved["/moved.jpg"] = "/red.jpg"
        if self.path == "/red.jpg":
            self.say(200, picture("red", "JPEG"), "image/jpeg")
        elif self.path == "/bomb.png":
            self.say(200, gzip.compress(bytes(2**26 + 1), 1), "image/png", ("Content-Encoding", "gzip"))
        elif self.path in moved:
            self.say(302, b"", "text/plain", ("Location", moved[self.path]))
        else:
            self.say(404, b"", "text/plain")

    def say(self, status: int, body: bytes, kind: str, *more: tuple[str, str]) -> None:
        self.send_response(status)
        for header in more:
            self.send_header(*header)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def endpoint():
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def diffusion(
    endpoint: Endpoint, path: str = "/v1", server: dict[str, Any] | None = None, extra: Any = None, **more: Any
):
    chat = {"model": "draw-3", "base_url": endpoint.url + path, "api_key": KEY, "transport_retries": 0}
    return EndpointDiffusion(ChatSettings(**chat | (server or {})), ImageOptions(**more), extra)


def a(prompt: str = "a cat in red", id: str = "a", **more: Any) -> Attempt:
    return Attempt(id=id, prompt=prompt, seed=7, **more)


async def test_a_prompt_becomes_an_image(endpoint, store):
    told: list[tuple[str, int, int]] = []
    model = diffusion(endpoint, price=0.04, quality="hd", extra={"style": "natural"})
    image = await model.draw(a(keep_steps=(1, 2)), store, progress=lambda *part: told.append(part))
    assert endpoint.asked == [
        {
            "prompt": "a cat in red",
            "model": "draw-3",
            "n": 1,
            "size": "1024x1024",
            "quality": "hd",
            "style": "natural",
        }
    ]
    assert endpoint.keys == [f"Bearer {KEY}"]
    assert (image.origin, image.prompt, image.revised_prompt) == ("generate", "a cat in red", None)
    assert (image.width, image.height, image.money, image.evaluations) == (48, 32, 0.04, 0)
    assert image.model == f"draw-3@127.0.0.1:{endpoint.server_port}"
    assert image.seconds > 0
    assert told == [("a", 1, 1)]
    assert read_record(store.path(image.path)) == image
    with Image.open(store.path(image.path)) as seen:
        assert seen.getpixel((0, 0)) == (255, 0, 0)


async def test_a_picture_may_come_as_a_url_and_in_another_format(endpoint, store):
    endpoint.answer = lambda asked: reply(url=f"{endpoint.url}/red.jpg", revised_prompt="A red cat.")
    image = await diffusion(endpoint).draw(a(parent="b"), store)
    assert (image.origin, image.parent, image.revised_prompt) == ("reseed", "b", "A red cat.")
    with Image.open(store.path(image.path)) as seen:
        assert (seen.format, seen.size) == ("PNG", (48, 32))


async def test_a_seed_is_said_to_count_only_where_it_is_sent(endpoint, store):
    without = await diffusion(endpoint).draw(a(), store)
    sent = await diffusion(endpoint, send_seed=True).draw(a(), store)
    assert (without.seed, without.seeded, sent.seed, sent.seeded) == (7, False, 7, True)
    assert ["seed" in asked for asked in endpoint.asked] == [False, True]


async def test_there_is_no_latent_and_that_is_said(endpoint, store):
    image = await diffusion(endpoint).draw(a(), store)
    assert (image.latent, image.trajectory) == (None, {})
    with pytest.raises(MissingLatentError, match="gives no latents"):
        read_latent(store, image.latent)


async def test_images_come_in_the_order_of_the_requests_and_only_so_many_at_once(endpoint, store):
    delays = {"red": 0.1, "green": 0.05, "blue": 0.0}

    def slowly(asked):
        time.sleep(delays[asked["prompt"].split()[-1]])
        return drawn(asked)

    endpoint.answer = slowly
    model = diffusion(endpoint, server={"concurrency": 2})
    images = await asyncio.gather(*(model.draw(a(f"a cat in {colour}", colour), store) for colour in delays))
    assert [image.id for image in images] == ["red", "green", "blue"]
    for image in images:
        with Image.open(store.path(image.path)) as seen, Image.new("RGB", (1, 1), image.id) as wanted:
            assert seen.getpixel((0, 0)) == wanted.getpixel((0, 0))
    assert endpoint.most_at_once == 2


def test_one_model_serves_one_event_loop_after_another(endpoint, store):
    model = diffusion(endpoint)
    for id in "ab":
        assert asyncio.run(model.draw(a(id=id), store)).id == id


async def test_a_refinement_is_refused_in_one_line(endpoint, store):
    model = diffusion(endpoint)
    image = await model.draw(a(), store)
    attempt = a(id="b", source="a", parent="a", operator="inject", start_step=4)
    with pytest.raises(SettingsError, match=r"\A.*cannot refine.*use the policy 'best_of_n'.*\Z"):
        await model.draw(attempt, store, source=image)
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize("asked", [{"stop_step": 2}, {"steps": 20}, {"guidance": 7.0}])
async def test_what_only_a_model_of_ones_own_can_do_is_refused_before_anything_is_paid(endpoint, store, asked):
    with pytest.raises(SettingsError, match=f"takes no {next(iter(asked))}"):
        await diffusion(endpoint).draw(a(**asked), store)
    assert not endpoint.asked


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        (401, "bad key sk-very-secret", r"refuses the key .*bad key \*\*\*"),
        (404, "the model draw-3 does not exist", "has no model 'draw-3'"),
        (404, "not found", "the URL ends in /v1"),
        (429, "insufficient_quota", "wants to be paid first"),
        (400, "size must be 512x512", "change size, quality or extra"),
    ],
)
async def test_what_the_user_must_mend_is_one_line(endpoint, store, status, message, says):
    endpoint.answer = refusal(status, message)
    with pytest.raises(ModelError, match=rf"\A.*{says}.*\Z") as caught:
        await diffusion(endpoint).draw(a(), store)
    assert KEY not in str(caught.value)


async def test_a_wrong_path_and_a_server_that_is_not_there_are_one_line(endpoint, store):
    with pytest.raises(ModelError, match=r"draws no images \(404\)"):
        await diffusion(endpoint, "/elsewhere").draw(a(), store)
    with pytest.raises(ModelError, match="cannot be reached: is it running"):
        await diffusion(endpoint, server={"base_url": "http://127.0.0.1:9/v1"}).draw(a(), store)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refusal(400, "content_policy_violation"), "answered 400"),
        (refusal(500, "oops"), "answered 500"),
        (refusal(429, "slow down"), "answered 429"),
        (lambda asked: (200, {"created": 1, "data": []}), "holds no picture"),
        (lambda asked: (200, {"created": 1}), "holds no picture"),
        (lambda asked: (200, b"<html>"), "none of an images endpoint"),
        (lambda asked: (200, b'"text"'), "none of an images endpoint"),
        (lambda asked: reply(), "neither a picture nor its URL"),
        (lambda asked: reply(url="file:///etc/passwd"), "neither a picture nor its URL"),
        (lambda asked: reply(b64_json="%%%"), "none of an images endpoint"),
        (lambda asked: reply(b64_json=base64.b64encode(b"no picture").decode()), "is no picture"),
        (lambda asked: reply(b64_json=base64.b64encode(picture()[:-40]).decode()), "is no picture"),
    ],
)
async def test_no_picture_is_a_reply_error_that_keeps_what_was_asked(endpoint, store, answer, reason):
    endpoint.answer = answer
    with pytest.raises(ReplyError, match=r"\Adraw-3@127.0.0.1:\d+ drew no picture: .*\Z") as caught:
        await diffusion(endpoint).draw(a(), store)
    assert reason in caught.value.reason
    [exchange] = caught.value.exchanges
    assert (exchange.prompt, exchange.money) == ("a cat in red", 0)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("{}/gone.png", "URL answered 404"),
        ("http://127.0.0.1:9/x.png", "another server, 127.0.0.1:9: allow it with images.picture_hosts"),
        ("http://169.254.169.254/latest/meta-data", "lies on another server"),
        ("http://[::1]/x.png", "lies on another server"),
        ("{}@localhost:9/x.png", "lies on another server"),
        ("http://user:word@localhost:9/x.png", "lies on another server"),
        ("{}\\@localhost/x.png", "lies on another server"),
        ("{}/elsewhere", "URL cannot be fetched"),
        ("{}/file", "URL cannot be fetched"),
        ("{}/round", "URL answered 302"),
        ("{}/bomb.png", "larger than 64 MiB"),
        ("http://[bad/x.png", "lies on another server"),
        ("http://\0/x.png", "URL cannot be fetched"),
    ],
)
async def test_a_url_with_no_picture_behind_it_is_a_reply_error(endpoint, store, url, reason):
    endpoint.answer = lambda asked: reply(url=url.format(endpoint.url))
    with pytest.raises(ReplyError, match=reason):
        await diffusion(endpoint).draw(a(), store)


async def test_a_picture_may_lie_on_a_server_that_is_allowed(endpoint, store):
    with Endpoint() as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        place = other.url.removeprefix("http://")
        endpoint.answer = lambda asked: reply(url=f"{other.url}/moved.jpg")
        assert (await diffusion(endpoint, picture_hosts=("example.org", place)).draw(a(), store)).width == 48
        assert other.keys == [None, None], "the second is of the redirect, which stays on that server"
        with pytest.raises(ReplyError, match="lies on another server"):
            await diffusion(endpoint, picture_hosts=("127.0.0.1",)).draw(a(), store)
        other.shutdown()


def file_of(kind: str, side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICNS", "ICO", "DDS", "AVIF", "JPEG2000", "PPM", "TGA", "PDF"])
async def test_no_other_decoder_sees_what_a_server_sends(endpoint, store, kind):
    data = {"ICNS": b"icns" + bytes(60), "DDS": b"DDS " + bytes(200)}.get(kind) or file_of(kind)
    endpoint.answer = lambda asked: reply(b64_json=base64.b64encode(data).decode())
    with pytest.raises(ReplyError, match="no picture of PNG, JPEG, WEBP"):
        await diffusion(endpoint).draw(a(), store)


@pytest.mark.parametrize("side", [4097, 10_000, 13_300, 20_000])
async def test_a_picture_of_too_many_pixels_is_not_decoded(endpoint, store, side):
    whole = file_of("PNG")
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + whole[24:29]
    data = whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:]
    endpoint.answer = lambda asked: reply(b64_json=base64.b64encode(data).decode())
    with pytest.raises(ReplyError, match="pixels"):
        await diffusion(endpoint).draw(a(), store)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_damaged_picture_is_a_value_error_wherever_it_is_damaged(kind):
    whole = file_of(kind, 24)
    for place in range(0, len(whole), 3):
        for data in (
            whole[:place],
            whole[:place] + bytes(4) + whole[place + 4 :],
            whole[:place] + b"\xff" + whole[place + 1 :],
        ):
            with contextlib.suppress(ValueError):
                picture_in(data)


async def test_dalle_is_asked_for_the_picture_itself(endpoint, store):
    await diffusion(endpoint, server={"model": "dall-e-3"}).draw(a(), store)
    assert endpoint.asked[0]["response_format"] == "b64_json"


@pytest.mark.parametrize("levels", [60, 900, 100_000])
async def test_a_deep_reply_is_a_reply_error(endpoint, store, levels):
    endpoint.answer = lambda asked: (200, b'{"data": ' + b"[" * levels + b"]" * levels + b"}")
    with pytest.raises(ReplyError, match=r"no picture|none of an images endpoint"):
        await diffusion(endpoint).draw(a(), store)


async def test_the_key_is_not_sent_to_where_the_picture_lies(endpoint, store):
    endpoint.answer = lambda asked: reply(url=f"{endpoint.url}/red.jpg")
    await diffusion(endpoint).draw(a(), store)
    assert endpoint.keys == [f"Bearer {KEY}", None]


async def test_a_slow_server_is_a_reply_error(endpoint, store):
    late = threading.Event()
    endpoint.answer = lambda asked: (late.wait(5), drawn(asked))[1]
    with pytest.raises(ReplyError, match=r"timed out after 0.1 s"):
        await diffusion(endpoint, server={"timeout": 0.1}).draw(a(), store)
    late.set()


async def test_trouble_is_tried_again_and_one_failure_spoils_no_other_image(endpoint, store):
    said = iter([refusal(500, "oops")({}), drawn({"prompt": "red"})])
    endpoint.answer = lambda asked: next(said)
    image = await diffusion(endpoint, server={"transport_retries": 1}).draw(a(), store)
    assert image.id == "a"
    endpoint.answer = lambda asked: refusal(500, "oops")(asked) if "bad" in asked["prompt"] else drawn(asked)
    model = diffusion(endpoint)
    bad, good = await asyncio.gather(
        model.draw(a("bad"), store), model.draw(a(id="good"), store), return_exceptions=True
    )
    assert isinstance(bad, ReplyError)
    assert store.path(good.path).exists()


def test_openais_own_server_wants_a_key():
    with pytest.raises(ModelError, match="no key for dall-e-3"):
        EndpointDiffusion(ChatSettings(model="dall-e-3"))


async def test_a_key_is_nowhere_in_a_run_folder(endpoint, store):
    endpoint.answer = lambda asked: reply(**drawn(asked)[1]["data"][0], revised_prompt=f"A cat holding {KEY}.")
    image = await diffusion(endpoint).draw(a(), store)
    assert image.revised_prompt == "A cat holding ***."
    assert not [file for file in store.root.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]


def edit(**more: Any) -> Attempt:
    return a("make it blue", id="b", source="a", parent="a", operator="edit", **more)


def painted(width: int, height: int, kind: str = "PNG", colour: str = "blue", **how: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, kind, **how)
    return file.getvalue()


def sending(data: bytes) -> Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]:
    return lambda asked: reply(b64_json=base64.b64encode(data).decode())


@pytest.fixture
async def source(endpoint, store):
    return await diffusion(endpoint).draw(a(), store)


async def test_an_edit_sends_the_picture_and_the_instruction(endpoint, store, source):
    endpoint.answer = sending(painted(48, 32))
    image = await diffusion(endpoint, size=None, price=0.02).draw(edit(), store, source=source)
    asked = endpoint.asked[-1]
    assert {name: asked[name] for name in asked if name != "image"} == {
        "prompt": "make it blue",
        "model": "draw-3",
        "n": "1",
    }
    assert (asked["image"].size, asked["image"].getpixel((3, 3)), asked["image"].info) == ((48, 32), (255, 0, 0), {})
    assert (image.operator, image.origin, image.parent, image.latent) == ("edit", "refine", "a", None)
    assert (image.prompt, image.money, image.steps, image.start_step) == ("make it blue", 0.02, 1, 0)
    assert Image.open(store.path(image.path)).getpixel((40, 20)) == (0, 0, 255)


async def test_outside_its_region_an_edit_is_its_source_and_the_mask_says_so(endpoint, store, source):
    endpoint.answer = sending(painted(48, 32))
    left = Region(boxes=((0, 0, 0.25, 1),), margin=0.25)
    image = await diffusion(endpoint, size=None).draw(edit(region=left), store, source=source)
    seen = Image.open(store.path(image.path))
    assert [seen.getpixel((x, 9)) for x in (0, 23, 24, 47)] == [(0, 0, 255)] * 2 + [(255, 0, 0)] * 2
    assert "mask" not in endpoint.asked[-1]
    await diffusion(endpoint, size=None, mask=True).draw(edit(region=left), store, source=source)
    mask = endpoint.asked[-1]["mask"].getchannel("A")
    assert [mask.getpixel((x, 9)) for x in (0, 23, 24, 47)] == [0, 0, 255, 255]


async def test_an_edit_of_another_size_is_brought_to_that_of_its_source(endpoint, store, source):
    endpoint.answer = sending(painted(1536, 1024, "JPEG"))
    image = await diffusion(endpoint).draw(edit(), store, source=source)
    assert (image.width, image.height) == (48, 32)
    endpoint.answer = lambda asked: reply(url=f"{endpoint.url}/red.jpg")
    assert (await diffusion(endpoint).draw(edit(), store, source=source)).width == 48


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (sending(painted(64, 64)), "48 by 32 pixels came back as one of another shape, 64 by 64"),
        (sending(painted(48, 32, "PNG", save_all=True, append_images=[Image.new("RGB", (48, 32))])), "animated"),
        (sending(painted(48, 32, "WEBP", save_all=True, append_images=[Image.new("RGB", (48, 32))])), "animated"),
        (sending(painted(6000, 4000)), "pixels are more than"),
        (lambda asked: reply(url="http://127.0.0.1:9/x.png"), "lies on another server, 127.0.0.1:9"),
        (refusal(400, "your request was rejected by our safety system"), "rejected by our safety system"),
        (refusal(500, "oops"), "answered 500"),
        (lambda asked: (200, {"data": []}), "holds no picture"),
    ],
)
async def test_an_edit_that_cannot_be_used_is_one_line_and_writes_nothing(endpoint, store, source, answer, reason):
    endpoint.answer = answer
    with pytest.raises(ReplyError, match=r"\Adraw-3@127.0.0.1:\d+ edited no picture: .*\Z") as caught:
        await diffusion(endpoint).draw(edit(), store, source=source)
    assert reason in caught.value.reason
    assert [path.name for path in store.path("images").iterdir()] == ["a.png"]


async def test_a_server_that_edits_nothing_is_one_line(endpoint, store, source):
    endpoint.answer = refusal(404, "no such route")
    with pytest.raises(ModelError, match=r"\A.* edits no images \(404\).*\Z"):
        await diffusion(endpoint).draw(edit(), store, source=source)
