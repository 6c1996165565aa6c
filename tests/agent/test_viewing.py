"""``detailscribe view``: real requests to a real server, and its pages in a real browser."""

import json
import re
import shutil
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import uvicorn
from starlette.testclient import TestClient
from typer.testing import CliRunner

from detailscribe.agent import Adaptive, BestOfN, read_run, run, run_batch
from detailscribe.agent.cli import app
from detailscribe.agent.records.notes import NOTES, read_notes
from detailscribe.agent.records.rows import PLAN, Plan
from detailscribe.agent.runs.folder import locked
from detailscribe.agent.viewing import Viewer, batches_in

from .browser import CHROMIUM, Browser
from .fakes import PROMPT, ScriptedCritic, roles
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


class PointingCritic(ScriptedCritic):
    """Says where it looked: the same place for every check."""

    async def critique(self, image, concepts, store):
        said = await super().critique(image, concepts, store)
        boxed = (one.model_copy(update={"boxes": ((0.25, 0.5, 0.75, 1.0),)}) for one in said.verdicts)
        return said.model_copy(update={"verdicts": tuple(boxed)})


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder with a plain run and a hostile one, its server's address, and the viewer."""
    folder = tmp_path_factory.mktemp("served") / "runs"
    run(PROMPT, out=folder / "a", policy=Adaptive(images=2), **roles(SCRIPT, critic=PointingCritic(SCRIPT)))
    run(f"{PROMPT} {HOSTILE}", out=folder / "b", policy=Adaptive(images=2), **roles({}, critic=HostileCritic(SCRIPT)))
    for secret in (folder.parent / "secret.png", folder / "of-no-run.png"):
        secret.write_bytes(b"secret")
    shutil.copytree(folder / "a", folder.parent / "outside")
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
        ("/run/..%2foutside", {}, 404),
        ("/file/..%2fsecret.png", {}, 404),
        ("/file/..%2foutside/images/00-00.png", {}, 404),
        ("/file/of-no-run.png", {}, 404),
        ("/file/a/manifest.json", {}, 404),
        ("/file/a/events.jsonl", {}, 404),
        ("/file/a/images/00-00.png?side=x", {}, 404),
        ("/compare?a=a&b=../outside", {}, 404),
        ("/events?run=../outside", {}, 404),
    ],
)
def test_what_may_be_read_and_what_may_not(served, path, headers, status):
    _, base = served
    assert httpx.get(base + path, headers=headers).status_code == status


@pytest.mark.parametrize("target", ["secret.png", "runs/b/images/00-00.png"])
def test_no_link_leads_out_of_the_folder_or_run(served, target):
    folder, base = served
    link = folder / "a" / "images" / "out.png"
    link.symlink_to(folder.parent / target)
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


def test_only_images_that_are_on_their_way_are_shown_as_previews(served):
    folder, base = served
    shutil.copytree(folder / "a" / "images", folder / "a" / "previews")
    (folder / "a" / "previews" / "00-00.png").rename(folder / "a" / "previews" / "09-00.png")
    try:
        assert re.findall(r"/previews/([\d-]+)\.png", httpx.get(f"{base}/run/a").text) == ["09-00"]
    finally:
        shutil.rmtree(folder / "a" / "previews")


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
    ids = "[...document.querySelectorAll('article.card:not([hidden]) h3 .id')].map((e) => e.textContent).join(' ')"
    decisions = read_run(served[0] / "a").decisions
    rule = decisions["00-01"].rule
    browser.value(f"({choose})('rule', {json.dumps(rule)})")
    assert browser.value(ids).split() == [id for id, decision in decisions.items() if decision.rule == rule]
    browser.value(f"({choose})('rule', '')")
    browser.value(f"({choose})('find', 'images/01-00.png')")
    opened = "[...document.querySelectorAll('article details[open] > summary')].map((e) => e.textContent).join()"
    assert (browser.value(ids), browser.value(opened)) == ("01-00", "How to reproduce it")
    browser.value(f"({choose})('find', '')")
    browser.press("n", 78)
    assert browser.value("location.hash") == "#image-1"
    browser.press("z", 90)
    assert browser.value("document.querySelector('dialog b').textContent") == "00-00"
    browser.press("ArrowRight", 39)
    assert browser.value("document.querySelector('dialog b').textContent") == "00-01"
    browser.press("ArrowDown", 40)
    assert browser.value("document.querySelector('dialog b').textContent") == "01-00"


@browsed
def test_boxes_lie_over_the_enlarged_picture_where_the_critic_looked(served, browser):
    _, base = served
    browser.open(Address(base + "/run/a"))
    for key, code in (("z", 90), ("ArrowDown", 40)):  # a first drawing, and a refinement, whose boxes are folded
        browser.press(key, code)
        browser.value("document.querySelector('dialog img').decode()")
        box, picture = (
            browser.value(f"(({{ x, y, width, height }}) => [x, y, width, height])({found}.getBoundingClientRect())")
            for found in ("document.querySelector('dialog .box')", "document.querySelector('dialog img')")
        )
        x, y, width, height = picture
        assert width == pytest.approx(height, abs=1)
        assert box == pytest.approx([x + width / 4, y + height / 2, width / 2, height / 2], abs=1)
        zoomed = browser.value("(zoom(2), document.querySelector('dialog .box').getBoundingClientRect().width)")
        assert zoomed == pytest.approx(width, abs=1)
        browser.value("zoom(0)")


@browsed
@pytest.mark.parametrize(
    ("words", "choices", "shown"),
    [
        ("", {}, "one two"),
        ("colour=blue", {}, "two"),
        ("-colour=blue", {}, "one"),
        ("number>3", {}, "two"),
        ("number>=12", {}, "two"),
        ("number<12", {}, "one"),
        ("images>1", {}, "one two"),
        ("images>2", {}, ""),
        ("-number>3", {}, "one"),
        ("unknown>3", {}, ""),
        ("", {"fails": "Is the umbrella red?"}, "one"),
        ("", {"rules": "best_of_n"}, "one two"),
        ("", {"state": "all pass"}, "two"),
        ("", {"policy": "BestOfN"}, "one two"),
        ("colour=blue|colour=green", {}, "one two"),
    ],
)
def test_the_gallery_is_found_in_by_words_bounds_failed_checks_and_rules(batch, browser, words, choices, shown):
    browser.open(batch)
    for id, value in {"find": words, **choices}.items():
        browser.value(f"byId('{id}').value = {json.dumps(value)}; byId('{id}').dispatchEvent(new Event('input'))")
        assert browser.value(f"byId('{id}').value") == value
    rows = "[...document.querySelectorAll('tbody tr:not([hidden]) .id')].map(e => e.textContent.split('/').at(-1))"
    assert browser.value(f"{rows}.sort().join(' ')") == shown


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
        until(browser, "document.querySelector('.status')?.textContent === 'finished'")
    finally:
        going.end()
    assert read_run(folder / "live").best.id == "00-01"


@browsed
def test_the_page_shows_an_image_on_its_way_and_raises_any_bound(served, browser):
    folder, base = served
    going = Going(folder / "drawn", held="00-00", policy=Adaptive(images=1))
    previews = folder / "drawn" / "previews"
    try:
        browser.open(Address(base + "/run/drawn"))  # of which no image is there yet
        end = time.monotonic() + WAIT
        while not previews.is_dir():
            assert time.monotonic() < end
            time.sleep(0.02)
        (previews / "00-00.png").write_bytes((folder / "a" / "images" / "00-00.png").read_bytes())
        until(browser, "document.querySelector('.previews .id')?.textContent === '00-00'")
        until(browser, "document.querySelector('.previews img').naturalWidth > 0")
        fill = "document.querySelector('details.budget').open = true;"
        for name, value in {"evaluations": 4000, "critic_calls": 90, "money": 0.25}.items():
            fill += f"document.querySelector('.budget [name={name}]').value = '{value}';"
        browser.value(f"{fill} document.querySelector('.budget form').requestSubmit()")
        until(browser, "document.getElementById('said').textContent !== ''")
        refused = "document.getElementById('said')?.textContent.startsWith('budget.images')"
        wrong = "document.querySelector('.budget [name=images]').value = '0.5'"
        again = f"({wrong}, document.querySelector('.budget form').requestSubmit(), false)"
        until(browser, f"{refused} || {again}")  # again, since the page may be brought up to date between
    finally:
        going.end()
    until(browser, "document.querySelector('.status')?.textContent === 'finished'")
    assert "of 4000 evaluations" in browser.value("document.querySelector('.steer').textContent")
    changed = read_run(folder / "drawn").budget
    assert (changed.evaluations, changed.critic_calls, changed.money, changed.images) == (4000, 90, 0.25, 16)
    assert not previews.exists()


def test_a_page_gets_at_once_what_happened_since_it_was_made(served):
    _, base = served
    [seen] = re.findall(r'data-events="[^"]*seen=([^"]*)"', httpx.get(f"{base}/run/a").text)
    for state, line in ((seen, ": open"), ("0.0", "data: ")):
        with httpx.stream("GET", f"{base}/events?run=a&seen={state}", timeout=WAIT) as stream:
            assert next(stream.iter_lines()).startswith(line)


def test_the_gallery_tells_of_a_run_that_comes(served):
    folder, base = served
    with httpx.stream("GET", f"{base}/events", timeout=WAIT) as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": open"
        run(PROMPT, out=folder / "late", policy=Adaptive(images=1), **roles({}))
        told = next(line for line in lines if line.startswith("data:"))
    assert json.loads(told[5:]).endswith("runs")


def test_the_events_of_a_run_end_quietly_when_its_folder_is_removed(served, caplog):
    folder, base = served
    shutil.copytree(folder / "a", folder / "gone")
    with httpx.stream("GET", f"{base}/events?run=gone", timeout=WAIT) as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": open"
        shutil.rmtree(folder / "gone")
        assert [line for line in lines if line] == []
    assert "Traceback" not in caplog.text
    assert httpx.get(f"{base}/events?run=gone").status_code == 404


START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("plan", "rows", "seconds"),
    [
        (Plan(jobs=10, rows=0, time=START), 0, None),
        (Plan(jobs=10, rows=0, time=START), 5, 60),
        (Plan(jobs=10, rows=4, time=START), 4, None),
        (Plan(jobs=10, rows=4, time=START), 7, 60),
        (Plan(jobs=10, rows=0, time=START), 10, 0),
        (Plan(jobs=10, rows=0, time=START), 12, 0),
    ],
)
def test_the_end_is_estimated_from_the_rows_since_the_start(plan, rows, seconds):
    assert plan.remaining(rows, START + timedelta(minutes=1)) == seconds


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """The page of a batch of two runs, of which one fails a check."""
    from detailscribe.agent.views.gallery import write_collection

    folder = tmp_path_factory.mktemp("batch") / "p"
    for name, colour, number, fails in (("one", "green", 3, "red"), ("two", "blue", 12, "")):
        asks = [{"id": name, "prompt": PROMPT, "colour": colour, "number": number, "seed": number}]
        run_batch(asks, out=folder, policy=BestOfN(n=2), **roles(lambda image, fails=fails: fails))
    return write_collection(folder)


def test_a_batch_says_how_far_it_is_and_when_it_will_end(batch):
    folder = batch.parent
    assert batches_in(folder.parent) == [{"place": "p", "rows": 2, "total": 2, "words": ""}]
    before = (folder / PLAN).read_bytes()
    try:
        early = datetime.now(UTC) - timedelta(seconds=60)
        (folder / PLAN).write_text(Plan(jobs=6, rows=0, time=early).model_dump_json())
        assert batches_in(folder)[0]["words"] == "stopped"
        with locked(folder):
            [going] = batches_in(folder)
        assert (going["rows"], going["total"]) == (2, 6)
        assert re.fullmatch(r"about 2 min 0\d s left, until \d\d \w+ \d\d:\d\d", going["words"])
        page = TestClient(Viewer(folder.parent, "the-token", frozenset()).app).get("/").text
        assert re.search(r'<progress max="6" value="2" .*<span>2 of 6 rows, stopped</span>', page)
        (folder / PLAN).write_text("torn")
        assert batches_in(folder)[0]["total"] == 2
    finally:
        (folder / PLAN).write_bytes(before)


def compared(page, *given):
    done = CliRunner().invoke(app, ["compare", *map(str, given), "--page", str(page)])
    assert done.exit_code == 0, done.output
    return page.read_text()


@browsed
@pytest.mark.parametrize(("one", "other", "pairs"), [("a", "b", 1), ("a@00-00", "a@00-01", 1), ("batch", "batch", 2)])
def test_runs_are_compared_in_a_page_that_needs_nothing_else(served, batch, browser, tmp_path, one, other, pairs):
    places = [batch.parent if name == "batch" else served[0] / name for name in (one, other)]
    text = compared(tmp_path / "page.html", *places)
    browser.open(tmp_path / "page.html")
    addresses = re.findall(r"""(?:src|href)="([^"]*)"|url\(([^)]*)\)""", text)
    assert addresses
    assert all("".join(one).startswith(("data:", "#")) for one in addresses)
    assert browser.fetched() == [(tmp_path / "page.html").as_uri()]
    assert browser.complaints() == []
    images = "[...document.querySelectorAll('.pair img')]"
    assert browser.value(f"{images}.every((one) => one.src.startsWith('data:') && one.naturalWidth > 0)")
    assert browser.value(f"{images}.length") == 2 * pairs
    assert browser.value("document.querySelectorAll('input[type=range]:not([hidden])').length") == pairs
    clip = "getComputedStyle(document.querySelector('.before')).clipPath"
    before = browser.value(clip)
    browser.value(
        "(() => { const e = document.querySelector('.pair input'); e.value = 80; "
        "e.dispatchEvent(new Event('input')); })()"
    )
    assert browser.value(clip) != before
    assert bool(browser.value("document.querySelectorAll('h1 ins, summary ins').length")) == (other == "b")
    assert bool(browser.value("document.querySelectorAll('.differs').length")) == (other == "a@00-01")


def test_batches_are_compared_prompt_by_prompt(tmp_path):
    for name, colour in (("x", "red"), ("y", "")):
        run_batch([PROMPT, "a dog"], out=tmp_path / name, policy=BestOfN(n=1), **roles(lambda _, fails=colour: fails))
    text = compared(tmp_path / "page.html", tmp_path / "x", tmp_path / "y", "--prompts", "1")
    assert text.count('class="pair"') == 1
    text = compared(tmp_path / "page.html", tmp_path / "x", tmp_path / "y")
    assert text.count('class="pair"') == 2
    assert "2 pairs of runs" in text
    wrong = CliRunner().invoke(app, ["compare", str(tmp_path / "x"), str(tmp_path / "none"), "--open"])
    assert wrong.exit_code == 2
