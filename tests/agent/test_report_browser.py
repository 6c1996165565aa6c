"""The pages in a real browser: they fit, answer the keyboard, follow the colours asked for, and run nothing foreign."""

import pytest

from detailscribe.agent import Adaptive, BestOfN, arun, read_run
from detailscribe.agent.views.gallery import write_collection
from detailscribe.agent.views.report import write_report
from detailscribe.state import Budget

from .browser import CHROMIUM, Browser
from .fakes import PROMPT, FakeDiffusion, roles
from .hostile import HOSTILE, HostileCritic

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")

SCRIPT = {"00-00": "red holding", "00-01": "cat", "01-00": "holding alone", "02-00": ""}
WIDTHS = (360, 768, 1440)
TAB, RIGHT, ENTER = ("Tab", 9), ("ArrowRight", 39), ("Enter", 13, "\r")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
async def runs(tmp_path):
    """Three runs: one at its end, one that failed, one full of hostile text."""
    policy = Adaptive(images=2)
    await arun(PROMPT, out=tmp_path / "runs" / "a", policy=policy, **roles(SCRIPT))
    broken = FakeDiffusion(breaks_at="01-00")
    with pytest.raises(RuntimeError):
        await arun(PROMPT, out=tmp_path / "runs" / "b", policy=policy, **roles(SCRIPT, diffusion=broken))
    hostile = roles(SCRIPT, critic=HostileCritic(SCRIPT))
    await arun(f"{PROMPT} {HOSTILE}", out=tmp_path / "runs" / "c", policy=policy, **hostile)
    for name in "ab":
        write_report(tmp_path / "runs" / name)
    return tmp_path / "runs"


async def pages(runs):
    return [runs / "a" / "report.html", runs / "b" / "report.html", runs / "c" / "report.html", write_collection(runs)]


@pytest.mark.parametrize("width", WIDTHS)
async def test_no_page_is_wider_than_the_screen(browser, runs, width):
    for page in await pages(runs):
        browser.open(page, width)
        assert browser.value("document.documentElement.scrollWidth") <= width, page


async def test_hostile_text_stays_text(browser, runs):
    for page in await pages(runs):
        browser.open(page)
        assert browser.value("window.stolen") is None
        assert browser.value("document.querySelectorAll('script').length") == 1
        assert browser.complaints() == []
    browser.open(runs / "c" / "report.html")
    assert HOSTILE in browser.value("document.querySelector('h1').textContent")


async def test_nothing_is_fetched_but_the_page_and_its_thumbnails(browser, runs):
    for page in await pages(runs):
        browser.open(page)
        first, *others = browser.fetched()
        assert first == page.resolve().as_uri()
        thumbnails = (runs / "thumbnails").resolve().as_uri()
        assert all(url.startswith(thumbnails) for url in others), others
        if page.parent != runs:
            assert others == []


async def test_every_picture_is_drawn(browser, runs):
    for page in await pages(runs):
        browser.open(page, height=6000)
        assert browser.value(
            "Promise.all([...document.images].map(i => i.decode())).then(() => document.images.length)"
        )
        assert browser.value("[...document.images].every(i => i.naturalWidth > 0)")


async def test_the_slider_obeys_the_arrow_keys(browser, runs):
    browser.open(runs / "a" / "report.html")
    clip = "getComputedStyle(document.querySelector('.compare .before')).clipPath"
    before = browser.value(clip)
    browser.value("document.querySelector('.compare input').focus()")
    for _ in range(5):
        browser.press(*RIGHT)
    assert browser.value("document.querySelector('.compare input').value") == "55"
    assert browser.value(clip) != before


async def test_the_tab_key_reaches_slider_and_folds_and_enter_opens_them(browser, runs):
    browser.open(runs / "a" / "report.html")
    reached = set()
    for _ in range(80):
        browser.press(*TAB)
        reached.add(browser.value("document.activeElement.tagName"))
    assert {"A", "INPUT", "SUMMARY"} <= reached
    browser.value("document.querySelector('summary').focus()")
    browser.press(*ENTER)
    assert browser.value("document.querySelector('details').open")


async def test_without_scripts_parent_and_child_stand_side_by_side(browser, runs):
    browser.open(runs / "a" / "report.html", script=False)
    nodes = browser.send("DOM.getDocument")["root"]["nodeId"]

    def left(selector):
        node = browser.send("DOM.querySelector", nodeId=nodes, selector=selector)["nodeId"]
        return browser.send("DOM.getBoxModel", nodeId=node)["model"]["content"]

    before, after = left(".compare .before"), left(".compare .after")
    assert before[2] <= after[0]
    assert before[1] == after[1]


async def test_dark_mode_is_followed(browser, runs):
    for page in await pages(runs):
        light, dark = (_brightness(browser, page, dark=dark) for dark in (False, True))
        assert light > 200
        assert dark < 60


def _brightness(browser, page, dark):
    browser.open(page, dark=dark)
    return browser.value("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")


async def test_the_table_is_sorted_and_filtered_by_the_keyboard(browser, runs):
    browser.open(write_collection(runs))
    shown = "[...document.querySelectorAll('tbody tr:not([hidden]) .id')].map(e => e.textContent).join(' ')"
    assert browser.value(shown) == "a b c"
    browser.value("document.querySelector('[data-key=images] button').focus()")
    browser.press(*ENTER)
    browser.press(*ENTER)
    assert browser.value("document.querySelector('[data-key=images]').ariaSort") == "ascending"
    assert browser.value(shown).startswith("b")
    browser.value("document.querySelector('#find').focus()")
    browser.send("Input.insertText", text="RuntimeError")
    assert browser.value(shown) == "b"
    assert browser.value("document.querySelector('#count').textContent") == "1 of 3 runs"


async def test_a_row_opens_the_report_of_its_run(browser, runs):
    browser.open(write_collection(runs))
    links = browser.value("[...document.querySelectorAll('tbody a')].map(a => a.href)")
    assert links == [(runs / name / "report.html").resolve().as_uri() for name in "abc"]


async def test_the_gallery_shows_the_same_runs(browser, runs):
    browser.open(write_collection(runs))
    browser.value("document.querySelector('#gallery').click()")
    assert browser.value("getComputedStyle(document.querySelector('tbody')).display") == "grid"
    assert browser.value("document.querySelectorAll('tbody tr:not([hidden])').length") == 3
    assert read_run(runs / "b").status == "failed"


async def test_a_link_leads_to_its_card_on_a_page_of_many_which_lays_out_only_what_is_seen(browser, tmp_path):
    await arun(PROMPT, out=tmp_path / "run", policy=BestOfN(n=120), budget=Budget(images=120), **roles({}))
    browser.open(write_report(tmp_path / "run"))
    assert browser.value("getComputedStyle(document.querySelector('.card')).contentVisibility") == "auto"
    browser.value("document.querySelector('a[href=\"#image-100\"]').click()")
    top = "document.getElementById('image-100').getBoundingClientRect().top"
    assert 0 <= browser.value(f"new Promise(done => setTimeout(() => done({top}), 300))") < 100
    assert browser.value("document.querySelector('#image-100 > details').open")


async def test_a_page_of_sixty_images_has_a_line_an_image_and_the_best_one_in_full(browser, tmp_path):
    script = {f"00-{n:02d}": "red" for n in range(60)} | {"00-07": ""}
    await arun(PROMPT, out=tmp_path / "run", policy=BestOfN(n=60), budget=Budget(images=60), **roles(script))
    for width in WIDTHS:
        browser.open(write_report(tmp_path / "run"), width)
        assert browser.value("document.documentElement.scrollHeight") < 12_000
        assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("document.querySelectorAll('article.folded > details:not([open])').length") == 59
    assert browser.value("document.querySelector('article:not(.folded)').id") == "image-8"
    browser.value("document.querySelector('#image-3 summary').click()")
    assert browser.value("document.querySelector('#image-3 .checks').getBoundingClientRect().height") > 100
