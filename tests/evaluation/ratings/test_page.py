"""The page in a real browser: rated by keyboard and by touch, taken up again, and exported as it was answered."""

import json
import time

import pytest

from detailscribe.agent.evaluation.answers import read_answers

from ...agent.browser import CHROMIUM, Browser
from .world import PROMPTS, key_of, leave, told

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")

LEFT, UP, RIGHT, DOWN = (("ArrowLeft", 37), ("ArrowUp", 38), ("ArrowRight", 39), ("ArrowDown", 40))
BACKSPACE, ENTER = ("Backspace", 8), ("Enter", 13, "\r")
PATIENCE = 20
"""Seconds for a download to appear."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def page(browser, runs, tmp_path):
    """A page that nobody has rated on yet."""
    written = leave(runs, tmp_path / "out", checks=True)
    browser.open(written.page)
    browser.value("localStorage.clear()")
    browser.open(written.page)
    return written


@pytest.fixture
def short(browser, runs, tmp_path):
    """The same without checks."""
    written = leave(runs, tmp_path / "out")
    browser.open(written.page)
    browser.value("localStorage.clear()")
    browser.open(written.page)
    return written


def enter(browser, name):
    browser.value(f"document.getElementById('rater').value = {json.dumps(name)}")
    browser.value("document.getElementById('rater').focus()")
    browser.press(*ENTER)
    assert browser.value("!document.getElementById('work').hidden")


def type_in(browser, keys):
    for key in keys:
        browser.press(key, ord(key.upper()), key)


def text(browser, id):
    return browser.value(f"document.getElementById('{id}').textContent")


def exported(browser, folder):
    """The file that the button leaves."""
    folder.mkdir()
    browser.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.value("document.getElementById('export').click()")
    end = time.monotonic() + PATIENCE
    while not (found := list(folder.glob("*.json"))) and time.monotonic() < end:
        browser.value("new Promise(done => setTimeout(done, 50))")
    [path] = found
    return path


def test_the_keyboard_rates_picture_after_picture(browser, short):
    enter(browser, "Ada")
    items = told(short.page)["items"]
    for n, item in enumerate(items):
        assert text(browser, "place") == f"{n + 1} of {len(items)}"
        assert text(browser, "prompt") == item["prompt"]
        type_in(browser, "53")
    assert text(browser, "rated") == f"{len(items)} rated"
    assert browser.value("!document.getElementById('done').hidden")
    assert browser.value("document.getElementById('open').disabled")


def test_the_last_answer_brings_what_comes_next_into_sight(browser, page):
    browser.open(page.page, 390, 700)
    # So that scrolling takes no time.
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    enter(browser, "Ada")
    for _ in range(60):
        if browser.value("!document.getElementById('done').hidden"):
            break
        type_in(browser, "3y")
    else:
        pytest.fail("not every picture is rated")
    place = browser.value("(r => [r.top, r.bottom])(document.getElementById('done').getBoundingClientRect())")
    assert 0 <= place[0] < place[1] <= 700


def test_the_export_holds_every_answer_and_reads_back(browser, page, tmp_path):
    enter(browser, "Ada Lovelace")
    items = told(page.page)["items"]
    type_in(browser, "42ynuyy")
    type_in(browser, "1")
    browser.press(*RIGHT)
    type_in(browser, "55")
    path = exported(browser, tmp_path / "downloads")
    data = json.loads(path.read_text(encoding="utf-8"))
    checks = {"0": "yes", "1": "no", "2": "unclear", "3": "yes", "4": "yes"}
    assert data.pop("time").startswith("20")
    assert data == {
        "kind": "detailscribe-ratings",
        "version": 1,
        "survey": key_of(page).survey,
        "seed": 0,
        "rater": "Ada Lovelace",
        "ratings": {
            items[0]["id"]: {"scores": {"interactions": 4, "layout": 2}, "checks": checks},
            items[1]["id"]: {"scores": {"interactions": 1}, "checks": {}},
            items[2]["id"]: {"scores": {"interactions": 5, "layout": 5}, "checks": {}},
        },
    }
    assert path.name == f"ratings-{key_of(page).survey}-ada-lovelace.json"
    answers = read_answers([path], key_of(page))
    assert (len(answers.scores), len(answers.checks), answers.problems) == (5, 5, ())


def test_ratings_are_there_again_after_a_reload_for_each_rater_by_name(browser, short):
    enter(browser, "Ada")
    type_in(browser, "532")
    browser.open(short.page)
    assert browser.value("document.getElementById('rater').value") == "Ada"
    assert text(browser, "begin") == "Continue"
    enter(browser, "  ada ")
    assert text(browser, "place") == "2 of 5"
    assert text(browser, "rated") == "1 rated"
    pressed = "document.querySelectorAll('#questions [aria-pressed=true]').length"
    assert browser.value(pressed) == 1
    browser.value("document.getElementById('other').click()")
    enter(browser, "Grace")
    assert (text(browser, "place"), text(browser, "rated")) == ("1 of 5", "0 rated")


def test_arrows_go_to_other_pictures_and_questions_and_answers_can_be_taken_back(browser, page):
    enter(browser, "Ada")
    here = "[...document.querySelectorAll('#questions fieldset')].findIndex(f => f.className === 'here')"
    browser.press(*DOWN)
    browser.press(*DOWN)
    assert browser.value(here) == 2
    browser.press(*UP)
    assert browser.value(here) == 1
    type_in(browser, "2")
    browser.press(*UP)
    browser.press(*BACKSPACE)
    assert browser.value("document.querySelectorAll('#questions [aria-pressed=true]').length") == 0
    browser.press(*RIGHT)
    browser.press(*RIGHT)
    browser.press(*LEFT)
    assert text(browser, "place") == "2 of 5"


def test_a_key_that_does_not_fit_the_question_changes_nothing(browser, page):
    enter(browser, "Ada")
    type_in(browser, "y67n")
    assert browser.value("document.querySelectorAll('#questions [aria-pressed=true]').length") == 0
    for _ in range(2):
        browser.press(*DOWN)
    type_in(browser, "3")
    assert browser.value("document.querySelectorAll('#questions [aria-pressed=true]').length") == 0


def test_buttons_rate_too_and_a_changed_mind_stays_on_the_picture(browser, short):
    enter(browser, "Ada")
    choose = "document.querySelectorAll('#questions fieldset')[{}].querySelectorAll('button')[{}].click()"
    browser.value(choose.format(1, 0))
    browser.value(choose.format(0, 3))
    assert text(browser, "place") == "2 of 5"
    browser.press(*LEFT)
    browser.value(choose.format(0, 4))
    assert text(browser, "place") == "1 of 5"
    pressed = "[...document.querySelectorAll('#questions [aria-pressed=true]')].map(b => b.textContent).join(' ')"
    assert browser.value(pressed) == "5 1"


def test_nothing_is_fetched_and_hostile_prompts_stay_text(browser, page):
    enter(browser, "Ada")
    for _ in range(4):
        browser.press(*RIGHT)
    assert browser.fetched() == [page.page.resolve().as_uri()]
    assert browser.complaints() == []
    shown = set()
    for _ in range(5):
        shown.add(text(browser, "prompt"))
        browser.press(*LEFT)
    assert shown == set(PROMPTS)
    assert browser.value("document.querySelectorAll('#prompt b').length") == 0


def test_pictures_beside_the_page_are_shown(browser, runs, tmp_path):
    written = leave(runs, tmp_path / "o ut", beside=True)
    browser.open(written.page)
    enter(browser, "Ada")
    drawn = "document.getElementById('picture').decode().then(() => document.getElementById('picture').naturalWidth)"
    assert browser.value(drawn) == 8
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_the_page_fits_the_screen(browser, page, width):
    browser.open(page.page, width)
    assert browser.value("document.documentElement.scrollWidth") <= width
    enter(browser, "Ada")
    assert browser.value("document.documentElement.scrollWidth") <= width


def test_fingers_find_every_answer_on_a_phone(browser, page):
    browser.open(page.page, 360, 740)
    enter(browser, "Ada")
    sizes = "[...document.querySelectorAll('#questions button')].map(b => b.getBoundingClientRect())"
    assert browser.value(f"Math.min(...{sizes}.map(r => Math.min(r.width, r.height)))") >= 40


def test_dark_mode_is_followed(browser, page):
    light, dark = (_brightness(browser, page.page, dark) for dark in (False, True))
    assert light > 200
    assert dark < 60


def _brightness(browser, page, dark):
    browser.open(page, dark=dark)
    return browser.value("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")


def test_where_the_browser_keeps_nothing_the_page_says_so_and_still_exports(browser, short, tmp_path):
    browser.value("Storage.prototype.setItem = () => { throw new Error('full') }")
    enter(browser, "Ada")
    type_in(browser, "44")
    assert browser.value("!document.getElementById('unkept').hidden")
    data = json.loads(exported(browser, tmp_path / "downloads").read_text(encoding="utf-8"))
    assert [one["scores"] for one in data["ratings"].values()] == [{"interactions": 4, "layout": 4}]


def test_without_scripts_the_page_says_what_it_needs(browser, page):
    browser.open(page.page, script=False)
    nodes = browser.send("DOM.getDocument")["root"]["nodeId"]
    found = browser.send("DOM.querySelector", nodeId=nodes, selector="noscript p")["nodeId"]
    assert "needs JavaScript" in browser.send("DOM.getOuterHTML", nodeId=found)["outerHTML"]
