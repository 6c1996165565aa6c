"""The report shows the whole run, stands alone, and never lets text become markup."""

import base64
import re
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from detailscribe.agent.records.events import RunStarted, TraceError
from detailscribe.agent.records.trace import Tracer
from detailscribe.agent.views.charts import lay_out
from detailscribe.agent.views.pages import TEMPLATES
from detailscribe.agent.views.report import write_report
from detailscribe.agent.views.words import differences, duration, spend_rows, verdict
from detailscribe.state import (
    Advice,
    Attempt,
    Budget,
    Check,
    Choice,
    Comparison,
    ConceptGraph,
    Critique,
    Decision,
    Entity,
    Exchange,
    ImageRecord,
    Interaction,
    Origin,
    RunResult,
    Spend,
    Verdict,
)

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> \u202eمرحب 🦊 {{ 7 * 7 }} &lt; " + "W" * 1900


class Reader(HTMLParser):
    """A page as a browser would take it apart: its elements with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text_of: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text_of.append((self._open[-1] if self._open else "", " ".join(data.split())))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(data for tag, data in self.text_of if tag not in ("style", "script"))


def image(id: str, round: int = 0, parent: str | None = None, prompt: str = "a red fox", side: int = 8) -> ImageRecord:
    origin: Origin = "refine" if parent else "generate"
    return ImageRecord(
        id=id,
        round=round,
        origin=origin,
        parent=parent,
        prompt=prompt,
        seed=1234567,
        steps=28,
        start_step=4 if parent else 0,
        start_sigma=0.914 if parent else 1,
        operator="resume" if parent else None,
        guidance=4.5,
        width=side,
        height=side,
        model="world@abc",
        path=f"images/{id}.png",
        latent=f"latents/{id}.safetensors",
        evaluations=56,
        seconds=2.0,
    )


def concepts(words: str = "") -> ConceptGraph:
    return ConceptGraph(
        prompt=f"{words}a red fox riding a bicycle",
        entities=(
            Entity(id="fox", name=f"{words}fox", attributes=("red",)),
            Entity(id="bicycle", name="bicycle", count=2),
        ),
        interactions=(
            Interaction(id="r", kind="functional", subjects=("fox",), relation=f"{words}riding", object="bicycle"),
        ),
        checks=(
            Check(id="fox", question=f"{words}Is there a fox?", aspect="presence", about="fox"),
            Check(id="red", question="Is the fox red?", aspect="attribute", about="fox", depends_on=("fox",)),
            Check(id="riding", question="Does the fox ride?", aspect="relation", about="r"),
        ),
    )


def run_of(folder: Path, words: str = "", side: int = 8) -> RunResult:
    """Two images: the first lacks the fox, the second has it and loses what it rides."""
    first = image("i1", prompt=f"{words}a red fox", side=side)
    second = image("i2", round=1, parent="i1", prompt=f"{words}a bright red fox at the left", side=side)
    for number, record in enumerate((first, second)):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), (90 * number, 120, 200)).save(folder / record.path)
    exchange = Exchange(model=f"{words}critic@1", prompt=f"{words}Is it so?", reply=f"{words}raw reply")
    return RunResult(
        run=f"{words}fox-1",
        prompt=f"{words}a red fox riding a bicycle",
        concepts=concepts(words),
        best=second,
        images=(first, second),
        critiques=(
            Critique(
                image="i1",
                verdicts=(
                    Verdict(check="fox", answer="fail", probability=0.07, evidence=f"{words}only a tree"),
                    Verdict(check="red", answer="fail", settled_by="fox"),
                    Verdict(check="riding", answer="pass", probability=0.93),
                ),
                issues=(f"{words}The fox is missing.",),
                refined_prompt=f"{words}a bright red fox at the left",
                exchanges=(exchange,),
            ),
            Critique(
                image="i2",
                verdicts=(
                    Verdict(check="fox", answer="pass", probability=0.99),
                    Verdict(check="red", answer="pass"),
                    Verdict(check="riding", answer="unknown", reason=f"{words}the detectors disagree"),
                ),
            ),
        ),
        decisions=(
            Decision(
                image="i1",
                rule="local_failure",
                reason=f"{words}One thing is missing.",
                attempts=(
                    Attempt(
                        source="i1",
                        operator="resume",
                        start_step=4,
                        prompt=f"{words}a bright red fox at the left",
                        seed=1234567,
                    ),
                ),
            ),
            Decision(image="i2", rule="budget_images", reason=f"{words}No images are left."),
        ),
        stop="budget_images",
        spend=Spend(evaluations=112, images=2, critic_calls=2, seconds=4.0),
    )


def report_of(folder: Path, result: RunResult) -> Path:
    """Its page, from a trace whose last line is still to come."""
    by_image = {name: {one.image: one for one in getattr(result, name)} for name in ("critiques", "decisions")}
    state = {
        "concepts": result.concepts,
        "images": {one.id: one for one in result.images},
        "advice": {str(one.round): one for one in result.advice},
        "comparisons": {f"{pair.first} {pair.second}": pair for pair in result.comparisons},
        **by_image,
    }
    started = RunStarted(run=result.run, prompt=result.prompt, seed=0, policy="P()", budget=Budget(rounds=99))
    events = (started, *Tracer(result.run).missing(state))
    (folder / "events.jsonl").write_text("".join(f"{event.model_dump_json()}\n" for event in events))
    return write_report(folder, result)


def report(folder: Path, words: str = "", side: int = 8) -> Reader:
    return Reader(report_of(folder, run_of(folder, words, side)).read_text(encoding="utf-8"))


def test_it_is_written_into_the_run_folder(tmp_path: Path) -> None:
    assert report_of(tmp_path, run_of(tmp_path)) == tmp_path / "report.html"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["events.jsonl", "images", "report.html"]


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    pages = {report_of(tmp_path / name, run_of(tmp_path / name)).read_bytes() for name in ("a", "b")}
    assert len(pages) == 1


def test_a_picture_that_is_gone_is_an_error_and_leaves_no_page(tmp_path: Path) -> None:
    result = run_of(tmp_path)
    (tmp_path / "images/i1.png").unlink()
    with pytest.raises(TraceError, match=r"i1\.png"):
        report_of(tmp_path, result)
    assert not (tmp_path / "report.html").exists()


def test_hostile_text_adds_no_element_and_no_attribute(tmp_path: Path) -> None:
    plain, hostile = report(tmp_path / "plain"), report(tmp_path / "hostile", HOSTILE)
    shape = [(tag, sorted(attributes)) for tag, attributes in plain.elements]
    assert [(tag, sorted(attributes)) for tag, attributes in hostile.elements if tag not in ("ins", "del")] == [
        (tag, names) for tag, names in shape if tag not in ("ins", "del")
    ]


def test_only_the_pages_own_script_may_run(tmp_path: Path) -> None:
    page = report(tmp_path, HOSTILE)
    [(_, text)] = [(tag, data) for tag, data in page.text_of if tag == "script"]
    assert " ".join((TEMPLATES / "report.js").read_text(encoding="utf-8").split()) == text
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    digest = base64.b64encode(sha256(html.split("<script>")[1].split("</script>")[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'; style-src" in html
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_hostile_text_is_shown_as_it_was_written(tmp_path: Path) -> None:
    headings = [data for tag, data in report(tmp_path, HOSTILE).text_of if tag == "h1"]
    assert headings == [" ".join(f"{HOSTILE}a red fox riding a bicycle".split())]


def test_nothing_is_fetched_from_anywhere(tmp_path: Path) -> None:
    page = report(tmp_path, "http://evil.example/x.png url(http://evil.example) ")
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "poster", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), (tag, name)
        assert "url(" not in attributes.get("style", "")
    styles = " ".join(data for tag, data in page.text_of if tag == "style")
    assert not re.search(r"url\(|@import|https?:", styles)


def test_the_browser_is_told_to_fetch_nothing(tmp_path: Path) -> None:
    policies = [m["content"] for m in report(tmp_path).all("meta") if "http-equiv" in m]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; img-src data:;")


def test_every_image_is_embedded_byte_for_byte(tmp_path: Path) -> None:
    embedded = {i["src"].partition("base64,")[2] for i in report(tmp_path).all("img")}
    for name in ("i1", "i2"):
        assert base64.b64encode((tmp_path / f"images/{name}.png").read_bytes()).decode() in embedded


def test_every_image_has_a_card_that_the_tree_links_to(tmp_path: Path) -> None:
    page = report(tmp_path)
    cards = [a["id"] for a in page.all("article")]
    tiles = [a["href"] for a in page.all("a") if "tile" in a.get("class", "").split()]
    assert cards == ["image-1", "image-2"]
    assert tiles == ["#image-1", "#image-2"]


def test_every_link_leads_somewhere(tmp_path: Path) -> None:
    page = report(tmp_path, HOSTILE)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"].removeprefix("#") for a in page.all("a")} <= set(ids)


def test_a_picture_is_described_by_its_id_and_prompt(tmp_path: Path) -> None:
    page = report(tmp_path)
    assert all("alt" in i for i in page.all("img"))
    assert "i2: a bright red fox at the left" in [i["alt"] for i in page.all("img")]


def test_the_best_image_is_marked_in_tree_matrix_and_cards(tmp_path: Path) -> None:
    page = report(tmp_path)
    assert [a["id"] for a in page.all("article") if "best" in a["class"].split()] == ["image-2"]
    assert [a["href"] for a in page.all("a") if "best" in a.get("class", "").split()] == ["#image-2"]
    assert sum("best" in cell["class"].split() for cell in page.all("td")) == 3 + 1


def test_every_check_stands_in_the_matrix_and_on_every_card(tmp_path: Path) -> None:
    text = report(tmp_path).text
    for question in ("Is there a fox?", "Is the fox red?", "Does the fox ride?"):
        assert text.count(question) >= 1 + 2, question


def test_an_answer_is_told_in_symbols_and_in_words(tmp_path: Path) -> None:
    page = report(tmp_path)
    marks = [s["class"].split()[1] for s in page.all("span") if s.get("class", "").split()[:1] == ["mark"]]
    assert sorted(set(marks)) == ["fail", "pass", "settled", "unknown"]
    for words in ("fail:", "pass, fixed:", "not asked:", "unknown, broken:", "the detectors disagree", "only a tree"):
        assert words in page.text, words
    assert "Not asked: settled by “Is there a fox?”" in page.text
    assert "probability of yes: 7%" in page.text


def test_what_became_fixed_and_broken_is_counted_and_badged(tmp_path: Path) -> None:
    page = report(tmp_path)
    assert "▲ 2 fixed ▼ 1 broken 0 unchanged" in page.text
    badges = [s["class"] for s in page.all("span") if s.get("class", "").startswith("badge")]
    assert badges == ["badge fixed", "badge fixed", "badge broken"]
    assert "1 image · 2 checks fixed · 1 broken · 0 unchanged · 56 evaluations · 2.0 s" in page.text


def test_every_decision_is_shown_with_its_rule_and_reason(tmp_path: Path) -> None:
    text = report(tmp_path).text
    assert "Refine i1 from step 4 (resume) local_failure One thing is missing." in text
    assert "Stop budget_images No images are left." in text


def test_the_reason_at_the_top_is_that_of_the_stop(tmp_path: Path) -> None:
    """The best image was worked on further, so that another image's stop ended the run."""
    result = run_of(tmp_path)
    first = result.model_copy(update={"best": result.images[0]})
    text = Reader(report_of(tmp_path, first).read_text("utf-8")).text
    assert "Stopped: budget_images No images are left." in text


def test_an_image_says_where_it_came_from(tmp_path: Path) -> None:
    text = report(tmp_path).text
    for fact in (
        "origin refined from step 4",
        "parent i1",
        "child i2",
        "seed 1234567",
        "step 4 of 28, \N{GREEK SMALL LETTER SIGMA} 0.914",
    ):
        assert fact in text, fact


def test_a_prompt_marks_what_it_adds_to_its_parents(tmp_path: Path) -> None:
    added = [data for tag, data in report(tmp_path).text_of if tag == "ins"]
    assert added == ["bright", "at the left"]


def test_the_concepts_are_told_in_words(tmp_path: Path) -> None:
    two = "2 \N{MULTIPLICATION SIGN} bicycle"
    assert f"red fox , {two} red fox riding {two} functional" in report(tmp_path).text


def test_exchanges_are_folded_away_but_whole(tmp_path: Path) -> None:
    page = report(tmp_path)
    assert [data for tag, data in page.text_of if tag == "pre"] == ["Is it so?", "raw reply"]
    assert not [d for d in page.all("details") if "open" in d]


def test_what_models_advised_and_compared_is_told_and_folded(tmp_path: Path) -> None:
    said = (Exchange(model="m", prompt="What now?", reply="refine it"),)
    choice = Choice(image="i1", action="refine", reason="the fox is missing")
    result = run_of(tmp_path).model_copy(
        update={
            "advice": (Advice(round=0, choices=(choice,), exchanges=said), Advice(round=1, silence="no answer came")),
            "comparisons": (Comparison(first="i1", second="i2", better="i2", reason="it has a fox", exchanges=said),),
        }
    )
    page = Reader(report_of(tmp_path, result).read_text("utf-8"))
    for words in ("refine i1 : the fox is missing", "No advice: no answer came", "i2 is better . it has a fox"):
        assert words in page.text, words
    assert [data for tag, data in page.text_of if tag == "pre"].count("What now?") == 2


def test_each_model_is_told_with_what_it_cost(tmp_path: Path) -> None:
    assert re.search(r"world@abc 2 images, [\d.]+ s critic@1 1 call, ", report(tmp_path).text)


def test_a_preview_says_where_it_stopped_and_what_it_spared(tmp_path: Path) -> None:
    result = run_of(tmp_path)
    preview = result.images[0].model_copy(update={"stop_step": 8})
    page = Reader(
        report_of(tmp_path, result.model_copy(update={"images": (preview, result.images[1])})).read_text("utf-8")
    )
    assert "first drawing, a preview at step 8" in page.text
    assert "40 evaluations, as a preview" in page.text


def test_small_pictures_keep_their_pixels_and_large_ones_do_not(tmp_path: Path) -> None:
    small, large = report(tmp_path / "small"), report(tmp_path / "large", side=1024)
    assert any("crisp" in i.get("class", "").split() for i in small.all("img"))
    assert not any("crisp" in i.get("class", "").split() for i in large.all("img"))


def test_large_pictures_are_shrunk_everywhere_but_at_the_top(tmp_path: Path) -> None:
    sources = [i["src"] for i in report(tmp_path, side=1024).all("img")]
    sides = [Image.open(BytesIO(base64.b64decode(s.partition("base64,")[2]))).width for s in sources]
    assert sides == [1024, 192, 192, 192, 192, 768, 768, 768]


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        (("pass", "pass"), "All 2 checks pass after 3 images"),
        (("pass",), "The only check passes after 3 images"),
        (("pass", "fail", "unknown"), "1 of 3 checks pass after 3 images; 1 fails, 1 unknown"),
        (("fail", "fail"), "0 of 2 checks pass after 3 images; 2 fail"),
        ((), "Nothing to check after 3 images"),
    ],
)
def test_the_outcome_is_one_line(answers: tuple[str, ...], line: str) -> None:
    verdicts = [
        Verdict.model_validate({"check": str(n), "answer": a, "reason": "blurred" if a == "unknown" else None})
        for n, a in enumerate(answers)
    ]
    assert verdict(Critique(image="i1", verdicts=tuple(verdicts)), 3) == line


def test_differences_lose_no_word_of_either_prompt() -> None:
    before, after = "  a red fox, and a\nbear", "a blue fox; and two bears "
    pieces = differences(before, after)
    assert "".join(p.text for p in pieces if p.edit != "added").split() == before.split()
    assert "".join(p.text for p in pieces if p.edit != "removed").strip() == after.strip()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.42, "0.42 s"),
        (8.31, "8.3 s"),
        (48.2, "48 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations_are_as_exact_as_one_cares_to_know(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (9.4, "9 s"), (59.4, "59 s"), (185, "3 min 05 s"), (3599.9, "1 h 00 min")]
)
def test_rough_durations_have_no_parts_of_a_second(seconds: float, words: str) -> None:
    assert duration(seconds, rough=True) == words


def test_tokens_and_money_are_shown_only_where_there_were_any() -> None:
    assert [label for label, _ in spend_rows(Spend(images=1))][-1] == "model time"
    assert spend_rows(Spend(tokens=1200, money=0.0431))[-2:] == (("tokens", "1,200"), ("US dollars", "0.04"))


def test_images_never_share_a_place_in_the_tree() -> None:
    images = [image("a"), image("b"), image("c", 1, "a"), image("d", 1, "a"), image("e", 2, "b"), image("f", 2, "a")]
    places = lay_out(images)
    assert len(set(places.values())) == len(images)


def test_a_child_keeps_its_parents_lane_where_it_can() -> None:
    places = lay_out([image("a"), image("b"), image("c", 1, "a"), image("d", 1, "b")])
    assert (places["c"].lane, places["d"].lane) == (places["a"].lane, places["b"].lane)


def test_no_curve_runs_behind_the_picture_of_a_later_round() -> None:
    """``late`` descends from ``a`` over ``c``'s head, so it must not lie in ``c``'s lane."""
    places = lay_out([image("a"), image("c", 1, "a"), image("late", 2, "a")])
    assert places["late"].lane != places["c"].lane
