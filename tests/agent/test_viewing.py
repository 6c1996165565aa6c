"""``detailscribe view``: real requests to a real server, and its pages in a real browser."""

import json
import socket
import threading
import time

import httpx
import pytest
import uvicorn

from detailscribe.agent import Adaptive, read_run, run
from detailscribe.agent.records.notes import NOTES, read_notes
from detailscribe.agent.viewing import Viewer

from .browser import CHROMIUM, Browser
from .fakes import PROMPT, roles
from .hostile import HOSTILE, HostileCritic
from .test_steering import Going

SCRIPT = {"00-00": "red holding", "00-01": "cat", "01-00": "", "01-01": "red"}
WAIT = 20


class Address:
    """A page for ``Browser.open``."""

    def __init__(self, url):
        self.url = url

    def resolve(self):
        return self

    def as_uri(self):
        return self.url


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder with a plain run and a hostile one, its server's address, and the viewer."""
    folder = tmp_path_factory.mktemp("served") / "runs"
    run(PROMPT, out=folder / "a", policy=Adaptive(images=2), **roles(SCRIPT))
    run(f"{PROMPT} {HOSTILE}", out=folder / "b", policy=Adaptive(images=2), **roles({}, critic=HostileCritic(SCRIPT)))
    (folder.parent / "secret.png").write_bytes(b"secret")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    viewer = Viewer(folder, "the-token", frozenset({f"127.0.0.1:{port}"}))
    settings = uvicorn.Config(viewer.app, port=port, log_level="error", timeout_graceful_shutdown=1, ws="none")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield folder, f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(WAIT)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 200),
        ("/run/a", {}, 200),
        ("/run/b", {}, 200),
        ("/compare?a=a&b=b", {}, 200),
        ("/compare?a=a@00-00&b=a@00-01", {}, 200),
        ("/file/a/images/00-00.png", {}, 200),
        ("/file/a/images/00-00.png?side=192", {}, 200),
        ("/", {"Host": "evil.example"}, 403),
        ("/", {"Origin": "http://evil.example"}, 403),
        ("/run/nothing", {}, 404),
        ("/run/..%2f..", {}, 404),
        ("/file/..%2fsecret.png", {}, 404),
        ("/file/a/manifest.json", {}, 404),
        ("/file/a/events.jsonl", {}, 404),
        ("/file/a/images/00-00.png?side=x", {}, 404),
        ("/compare?a=a&b=../..", {}, 404),
        ("/events?run=..", {}, 404),
    ],
)
def test_what_may_be_read_and_what_may_not(served, path, headers, status):
    _, base = served
    assert httpx.get(base + path, headers=headers).status_code == status


def test_no_link_leads_out_of_the_folder(served):
    folder, base = served
    link = folder / "a" / "images" / "out.png"
    link.symlink_to(folder.parent / "secret.png")
    try:
        assert httpx.get(f"{base}/file/a/images/out.png").status_code == 404
    finally:
        link.unlink()


@pytest.mark.parametrize(
    ("headers", "data", "status"),
    [
        ({}, {"image": "00-00", "mark": "reject"}, 403),
        ({"X-Token": "another"}, {"image": "00-00", "mark": "reject"}, 403),
        ({"X-Token": "the-token", "Origin": "http://evil.example"}, {"image": "00-00", "mark": "reject"}, 403),
        ({"X-Token": "the-token"}, {"image": "09-00", "mark": "reject"}, 400),
        ({"X-Token": "the-token"}, {"image": "00-00", "mark": "adored"}, 400),
    ],
)
def test_nothing_is_noted_without_the_token_or_of_what_is_not_there(served, headers, data, status):
    folder, base = served
    assert httpx.post(f"{base}/note/b", json=data, headers=headers).status_code == status
    assert not (folder / "b" / NOTES).exists()


def test_a_finished_run_cannot_be_steered_and_says_why(served):
    _, base = served
    refused = httpx.post(f"{base}/steer/a", json={"action": "pause"}, headers={"X-Token": "the-token"})
    assert (refused.status_code, "no process works on" in refused.json()["error"]) == (400, True)


browsed = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def until(browser, expression):
    end = time.monotonic() + WAIT
    while not (value := browser.value(expression)):
        assert time.monotonic() < end, expression
        time.sleep(0.05)
    return value


@browsed
@pytest.mark.parametrize("width", [360, 1440])
def test_every_page_fits_and_complains_of_nothing(served, browser, width):
    _, base = served
    for path in ("/", "/run/a", "/run/b", "/compare?a=a&b=b"):
        browser.open(Address(base + path), width, dark=width < 800)
        assert browser.value("document.documentElement.scrollWidth") <= width, path
        assert browser.value("window.stolen") is None
        assert browser.complaints() == [], path
        assert all(url.startswith(base) for url in browser.fetched())


@browsed
def test_two_clicks_in_the_gallery_lead_to_two_runs_side_by_side(served, browser):
    _, base = served
    browser.open(Address(base + "/"))
    browser.value("document.querySelectorAll('.pick input').forEach((box) => box.click())")
    assert browser.value("document.getElementById('compare').hidden") is False
    assert browser.value("document.getElementById('compare').getAttribute('href')") == "compare?a=a&b=b"


@browsed
def test_find_and_filters_and_keys_go_through_a_run(served, browser):
    _, base = served
    browser.open(Address(base + "/run/a"))
    shown = "[...document.querySelectorAll('article.card:not([hidden])')].map((c) => c.dataset.state).join()"
    everything = browser.value(shown)
    choose = "(id, value) => { const e = byId(id); e.value = value; e.dispatchEvent(new Event('input')); }"
    browser.value(f"({choose})('state', 'all pass')")
    assert set(browser.value(shown).split(",")) == {"all pass"}
    browser.value(f"({choose})('state', '')")
    browser.value(f"({choose})('failed', 'cat')")
    assert browser.value("document.querySelectorAll('article.card:not([hidden])').length") == 1
    browser.value(f"({choose})('failed', '')")
    assert browser.value(shown) == everything
    browser.press("n", 78)
    assert browser.value("location.hash") == "#image-1"
    browser.press("z", 90)
    assert browser.value("document.querySelector('dialog b').textContent") == "00-00"
    browser.press("ArrowRight", 39)
    assert browser.value("document.querySelector('dialog b').textContent") == "00-01"
    browser.press("ArrowDown", 40)
    assert browser.value("document.querySelector('dialog b').textContent") == "01-00"


@browsed
def test_what_is_marked_in_the_page_is_kept_in_the_folder(served, browser):
    folder, base = served
    browser.open(Address(base + "/run/a"))
    browser.value("document.querySelector('[data-mark=favourite]').click()")
    until(browser, "document.querySelector('[data-mark=favourite]').ariaPressed === 'true'")
    browser.value(
        "(() => { const e = document.querySelector('[data-verdict=red]'); e.value = 'pass';"
        " e.dispatchEvent(new Event('change', { bubbles: true })); })()"
    )
    until(browser, "document.querySelector('[data-verdict=red].said') !== null")
    note = read_notes(folder / "a")["00-00"]
    assert (note.mark, note.verdicts) == ("favourite", {"red": "pass"})


@browsed
def test_a_run_is_followed_and_steered_from_the_page(served, browser):
    folder, base = served
    going = Going(folder / "live")
    try:
        browser.open(Address(base + "/run/live"))
        assert browser.value("document.querySelector('.status').textContent") == "running"
        assert browser.value("document.querySelectorAll('article.card').length") == 2
        browser.value("document.querySelector('[data-steer=pause]').click()")
        until(browser, "document.getElementById('said').textContent !== ''")
        going.model.may.set()
        until(browser, "document.querySelector('.status').textContent === 'paused'")
        until(browser, "document.querySelectorAll('article.card').length > 2")
        browser.value("document.querySelector('[data-steer=accept][data-image=\"00-01\"]').click()")
        until(browser, "document.querySelector('.status').textContent === 'finished'")
    finally:
        going.end()
    assert read_run(folder / "live").best.id == "00-01"


def test_the_gallery_tells_of_a_run_that_comes(served):
    folder, base = served
    with httpx.stream("GET", f"{base}/events", timeout=WAIT) as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": open"
        run(PROMPT, out=folder / "late", policy=Adaptive(images=1), **roles({}))
        told = next(line for line in lines if line.startswith("data:"))
    assert json.loads(told[5:]).endswith("runs")
