"""A folder of runs as one page."""

import pytest

from detailscribe.agent import Adaptive, arun
from detailscribe.agent.records.events import TraceError
from detailscribe.agent.records.reader import runs_in
from detailscribe.agent.views.gallery import write_collection
from detailscribe.agent.views.report import write_report

from .fakes import PROMPT, FakeDiffusion, roles
from .test_report import Reader

SCRIPT = {"00-00": "red", "01-00": ""}


@pytest.fixture
async def runs(tmp_path):
    """A run at its end, one that failed, and one that cannot be read."""
    await arun(PROMPT, out=tmp_path / "a", policy=Adaptive(images=1), **roles(SCRIPT))
    broken = roles(SCRIPT, diffusion=FakeDiffusion(breaks_at="01-00"))
    with pytest.raises(RuntimeError):
        await arun(PROMPT, out=tmp_path / "deep" / "b", policy=Adaptive(images=1), **broken)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "events.jsonl").write_text('{"type": "rumour"}\n')
    return tmp_path


def read(page):
    return Reader(page.read_text(encoding="utf-8"))


async def test_every_run_at_any_depth_is_a_row(runs):
    assert [path.relative_to(runs).as_posix() for path in runs_in(runs)] == ["a", "c", "deep/b"]
    rows = [r for r in read(write_collection(runs)).all("tr") if "data-state" in r]
    assert [r["data-state"] for r in rows] == ["all pass", "unreadable", "failed"]
    assert [r["data-policy"] for r in rows] == ["Adaptive", "", "Adaptive"]


async def test_a_run_that_cannot_be_read_says_why(runs):
    assert "is no event" in read(write_collection(runs)).text


async def test_a_row_leads_to_the_report_or_the_folder_of_its_run(runs):
    links = [a["href"] for a in read(write_collection(runs)).all("a") if a.get("class") != "skip"]
    assert links == ["a/report.html", "c", "deep/b/"]


async def test_thumbnails_are_files_beside_the_page_that_load_when_seen(runs, tmp_path):
    page = read(write_collection(runs, tmp_path / "elsewhere" / "page.html"))
    pictures = page.all("img")
    assert len(pictures) == 2
    for picture in pictures:
        assert picture["loading"] == "lazy"
        assert (tmp_path / "elsewhere" / picture["src"]).is_file()
    assert [a["href"] for a in page.all("a")][1] == "../a/report.html"


async def test_a_second_page_writes_no_thumbnail_again(runs):
    write_collection(runs)
    before = {p: p.stat().st_mtime_ns for p in (runs / "thumbnails").iterdir()}
    write_collection(runs)
    assert {p: p.stat().st_mtime_ns for p in (runs / "thumbnails").iterdir()} == before


async def test_a_folder_name_stays_a_name(tmp_path):
    odd = tmp_path / '"><script>#?% é'
    await arun(PROMPT, out=odd, policy=Adaptive(images=1), **roles(SCRIPT))
    page = read(write_collection(tmp_path))
    assert len(page.all("script")) == 1
    assert page.all("a")[1]["href"] == "%22%3E%3Cscript%3E%23%3F%25%20%C3%A9/report.html"


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(TraceError, match="there is no run in"):
        write_collection(tmp_path)


async def test_a_failed_run_is_reported_as_far_as_it_came(runs):
    page = read(write_report(runs / "deep" / "b"))
    assert "This run failed: RuntimeError: the model broke" in page.text
    assert "best image so far" in page.text
    assert "Stopped:" not in page.text
    assert len(page.all("article")) == 1


async def test_a_killed_run_says_so_on_its_page(runs):
    trace = runs / "a" / "events.jsonl"
    lines = trace.read_bytes().splitlines(keepends=True)
    made = next(n for n, line in enumerate(lines) if b'"image_made"' in line)
    trace.write_bytes(b"".join(lines[: made + 1]) + b'{"torn')
    (runs / "a" / "result.json").unlink()
    page = read(write_report(runs / "a"))
    for words in ("goes on, or was killed", "No image was looked at yet", "not looked at", "No decision yet."):
        assert words in page.text, words


async def test_a_run_without_an_image_has_nothing_to_report(runs):
    trace = runs / "a" / "events.jsonl"
    trace.write_bytes(trace.read_bytes().splitlines(keepends=True)[0])
    (runs / "a" / "result.json").unlink()
    with pytest.raises(TraceError, match="has no image yet"):
        write_report(runs / "a")
