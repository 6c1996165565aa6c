"""A critic against known pictures: every kind of source, and what is counted of it."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from detailscribe.agent import Adaptive, read_run, run
from detailscribe.agent.cli import app
from detailscribe.agent.evaluation.collect import collect
from detailscribe.agent.evaluation.critic_test import (
    Critiqued,
    LabelledImage,
    accuracy_table,
    calibration,
    compare_pairs,
    cost_table,
    critique_all,
    error_rates,
    pairs_of,
    pairs_table,
    read_labelled,
    repair_table,
)
from detailscribe.agent.evaluation.survey import CRITERIA, make_survey, read_key
from detailscribe.agent.policies import BestOfN
from detailscribe.agent.records.notes import Note, add_note
from detailscribe.state import Attempt, Critique, Verdict
from detailscribe.tools.diffusion.editing import FunctionEditor
from detailscribe.tools.errors import PromptError, ReplyError, SettingsError
from detailscribe.tools.files import Store
from detailscribe.tools.language.question import Reply
from detailscribe.tools.metrics import Sample
from detailscribe.tools.vision.critic import ChatCritic
from detailscribe.tools.vision.wrapping import UnreliableCritic, profile_of
from detailscribe.tools.world.critic import EmbeddedCritic, EmbeddedJudge
from detailscribe.tools.world.decomposer import EmbeddedDecomposer
from detailscribe.tools.world.painter import EmbeddedPainter

from ..agent.fakes import PROMPT, concepts, record, roles
from ..chat_server.protocol import MODEL
from ..vision.fakes import exchange
from .ratings.world import export as exported
from .test_evaluate_command import PROMPTS as EMBEDDED
from .test_evaluate_command import Complains, Paints

FIRST = tuple(CRITERIA.values())[:1]

R3 = {"idx": 0, "original_prompt": "a black candle", "bad_image": "images/color/false/r3b_0.png", "answer": False}
R3 |= {"explanation": "it is white", "category": "color", "generated_qa": {"yn_question_list": ["Is there a candle?"]}}
GENAI = {"00007": {"id": "00007", "prompt": "a fox", "models": {"SDXL": [5, 4, 4], "DALLE": [1, 2, 1]}}}


@pytest.fixture
def put(tmp_path):
    def write(name: str, value: object, *pictures: str) -> str:
        for picture in pictures:
            (tmp_path / picture).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 6)).save(tmp_path / picture)
        (tmp_path / name).write_text(value if isinstance(value, str) else json.dumps(value))
        return str(tmp_path / name)

    return write


def test_r3_bench_says_whether_a_picture_is_right_and_brings_its_questions(put):
    [case] = read_labelled(put("r3bench.jsonl", R3, R3["bad_image"]))
    assert (case.correct, case.kind, case.sample.prompt, case.sample.image.width) == (
        False,
        "color",
        "a black candle",
        8,
    )
    assert [check.question for check in case.sample.concepts.checks] == ["Is there a candle?"]


def test_genai_bench_says_how_good_people_find_each_models_picture(put):
    source = put("genai_image.json", GENAI, "SDXL/00007.jpeg", "DALLE/00007.jpeg")
    found = {case.sample.image.path: (case.correct, case.rating) for case in read_labelled(source)}
    assert found == {"SDXL/00007.jpeg": (True, 13 / 3), "DALLE/00007.jpeg": (False, 4 / 3)}


def test_a_table_says_yes_or_no_or_a_rating(put):
    source = put("t.csv", "prompt,image,answer,rating,kind\na fox,a.png,no,,count\na cow,a.png,,4.5,\n", "a.png")
    assert [(case.correct, case.kind) for case in read_labelled(source)] == [(False, "count"), (True, "whole picture")]


def test_notes_on_runs_say_it_check_by_check(tmp_path):
    run(PROMPT, out=tmp_path / "a", policy=Adaptive(images=1), **roles({"00-00": "red holding", "01-00": ""}))
    add_note(read_run(tmp_path / "a"), Note(image="00-00", verdicts={"red": "pass", "cat": "unknown"}))
    [case] = read_labelled(str(tmp_path))
    assert (case.labels, case.sample.image.id) == ({"red": True}, "00-00")


@pytest.mark.parametrize("value", ['{"prompt": "a fox"}', '{"prompt": "a fox", "image": "none.png", "answer": "no"}'])
def test_what_says_nothing_of_a_picture_is_named(put, value):
    with pytest.raises(SettingsError, match=r"line 1 of .* is no labelled image"):
        read_labelled(put("x.jsonl", value))


class Truthful:
    """Says what is true of each case."""

    def __init__(self, cases):
        self.truth = {case.sample.image.id: case.labels for case in cases}

    async def critique(self, image, concepts, store):
        true = self.truth[image.id]
        answers = {check.id: "pass" if true.get(check.id, True) else "fail" for check in concepts.checks}
        return Critique(image=image.id, verdicts=tuple(Verdict(check=c, answer=a) for c, a in answers.items()))


def test_a_critic_with_known_errors_is_found_to_make_them(tmp_path):
    cases = read_labelled("world:120", tmp_path)
    truth = Truthful(cases)
    looks, lost = asyncio.run(critique_all(cases, truth, None))
    rows = {row[1]: row for row in accuracy_table({"truth": looks}).rows}
    assert not lost
    assert [figure.value for figure in rows["all"][2:5]] == [1.0, 1.0, 1.0]
    assert rows["all"][5] == sum(not true for case in cases for true in case.labels.values()) > 20
    # One that overlooks half of all missing things, and sees a fault in every tenth count.
    worse = UnreliableCritic(truth, profile=profile_of(str(written(tmp_path))))
    found = error_rates(asyncio.run(critique_all(cases, worse, None))[0])
    assert 0.3 < found["presence"].miss < 0.7
    assert found["presence"].invent == 0
    assert 0.04 < found["count"].invent < 0.18


def test_every_figure_of_answers_counted_by_hand(tmp_path):
    """Of each check: whether the picture shows it, what the critic answers, and P(yes)."""
    known = [
        "cat yes fail 0.2, umbrella no fail 0.1, red no pass 0.9, holding yes fail 0.3, alone yes pass 0.9",
        "cat yes pass 0.9, umbrella yes fail 0.3, red no pass 0.9, holding yes unknown -",
    ]
    looks = list[Critiqued]()
    for text in known:
        parts = [one.split() for one in text.split(", ")]
        said = [
            Verdict(check=c, answer=answer, **({"reason": "dark"} if p == "-" else {"probability": float(p)}))
            for c, _, answer, p in parts
        ]
        truth = {c: shown == "yes" for c, shown, _, _ in parts}
        sample = Sample(record("00-00"), PROMPT, Store(tmp_path), concepts(PROMPT))
        looks.append(Critiqued(LabelledImage(sample, truth), Critique(image="00-00", verdicts=tuple(said))))
    every = accuracy_table({"c": looks}).rows[-1]
    assert [one.value for one in every[2:5]] == pytest.approx([1 / 4, 1 / 3, (1 / 3 + 2 / 5) / 2])
    assert every[5:] == (3, 8, 1)
    profile = error_rates(looks)
    assert {aspect: (e.miss, e.invent) for aspect, e in profile.items()} == {
        "presence": (0.0, pytest.approx(2 / 3)),
        "attribute": (1.0, 0.0),
        "relation": (0.0, 1.0),
        "nothing_else": (0.0, 0.0),
    }
    points = [(round(likely, 6), true.value, n) for likely, true, n in calibration(looks)]
    assert points == [(0.1, 0.0, 1), (0.2, 1.0, 1), (0.3, 1.0, 2), (0.9, 0.5, 4)]


def written(folder):
    path = folder / "p.json"
    path.write_text(json.dumps({"presence": {"miss": 0.5}, "count": {"invent": 0.1}}))
    return path


def test_the_command_prints_tables_and_writes_profile_and_plot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["critic-test", "world:12", "--against", "judge", "--votes", "2", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {row["critic"] for row in found["Faults found, by kind of check"]} == {"critic", "judge"}
    assert [row["of"] for row in found["Agreement"]] == ["critic: its own looks", "critic and judge"]
    assert profile_of("critic-test/critic.profile.json")["presence"].miss <= 1
    assert (tmp_path / "critic-test/calibration.png").read_bytes()[:4] == b"\x89PNG"
    other = CliRunner().invoke(app, ["critic-test", "world:2", "--against", "gpt"])
    assert other.exit_code == 2


def test_a_chat_critic_is_shown_pairs_by_the_command(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chat = ["--chat-url", server.url, "--chat-model", MODEL]
    done = CliRunner().invoke(app, ["critic-test", "world:10", *chat, "--against", "judge", "--pairs", "3", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    rows = {(row["critic"], row["by"]): row for row in found["Pairs of one prompt"]}
    assert {row["pairs"] for row in rows.values()} == {3}
    assert [by for critic, by in rows if critic == "critic"] == ["score", "comparison", "score, then comparison"]
    assert [by for critic, by in rows if critic == "judge"] == ["score"]  # which cannot compare
    assert rows["critic", "comparison"]["as_people"]["value"] > 0.8
    served = [one for one in server.served if one.request.about == "comparison"]
    assert len(served) == 6  # each pair in either order


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Standard output of a command that works, or the one line of one that does not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def invoke(*arguments, fails=False):
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        assert done.exit_code == (2 if fails else 0), done.output
        assert not fails or done.stderr.count("\n") == 1
        return done.stderr if fails else done.stdout

    return invoke


def test_the_command_reads_what_raters_exported_with_its_key(cli, tmp_path):
    parts = {"decomposer": EmbeddedDecomposer(), "diffusion": Paints(), "critic": Complains({})}
    run(EMBEDDED[0], out=tmp_path / "ours" / "a", policy=Adaptive(images=1), **parts)
    cli("rate", "ours", "--images", "first,best", "--checks", "--out", "page.html", "--key", "keys/page.json")
    key, said = read_key(tmp_path / "keys/page.json"), {}
    for id, item in key.items.items():
        good = item.sources[0].image == "01-00"  # there the car is red, as asked
        answers = {n: "yes" if good or "red" not in c.question else "no" for n, c in enumerate(item.checks)}
        said[id] = {"scores": {"interactions": 5 if good else 2}, "checks": answers}
    (tmp_path / "ann.json").write_text(json.dumps(exported(key, "ann", said)))
    found = json.loads(cli("critic-test", "ann.json", "--key", "keys/page.json", "--images", "ours", "--json"))
    attribute = next(row for row in found["Faults found, by kind of check"] if row["kind"] == "attribute")
    assert (attribute["faults"], attribute["recall"]["value"], attribute["precision"]["value"]) == (1, 1.0, 1.0)
    [pair] = found["Pairs of one prompt"]
    assert (pair["as_people"]["value"], pair["pairs"]) == (1.0, 1)
    assert "keys/page.json names, is not in keys: name --images" in cli(
        "critic-test", "ann.json", "--key", "keys/page.json", fails=True
    )
    assert "is no key of a rating page" in cli("critic-test", "ann.json", "--key", "ann.json", fails=True)


def test_settings_name_the_editor_that_repairs(cli, tmp_path):
    (tmp_path / "edits.toml").write_text('[edit]\nkind = "embedded"\n')
    (tmp_path / "detailscribe.toml").write_text("[run]\nsteps = 2\n")
    for given, way in (
        (["--settings", "edits.toml"], "edit"),
        (["--set", "edit.kind=embedded"], "edit"),
        ([], "drawn anew"),
    ):
        found = json.loads(cli("critic-test", "world:4", "--repair", 1, *given, "--json"))
        [row] = found["What corrections repair"]
        assert (row["way"], row["pictures"]) == (way, 1)
    assert "edit" in cli("critic-test", "world:4", "--repair", 1, "--set", "edit.kind=scissors", fails=True)


def test_what_a_critic_is_found_to_do_wrong_is_done_wrong_in_an_experiment(server, cli, tmp_path):
    server.always("another_picture")  # every answer the opposite
    cli("critic-test", "world:6", "--chat-url", server.url, "--chat-model", MODEL, "--out", "measured")
    profile = json.loads((tmp_path / "measured/critic.profile.json").read_text())
    assert profile["presence"]["invent"] > 0.9
    (tmp_path / "cost.toml").write_text(COST)
    cli("experiment", "cost.toml")
    rows = [json.loads(line) for line in (tmp_path / "runs/cost/rows.jsonl").read_text().splitlines()]
    answers = {row["label"]: row["images"][0]["critic"] for row in rows}
    presence = [check for check, aspect in rows[0]["checks"].items() if aspect == "presence"]
    assert len(answers) == 2
    right, wrong = answers["single, right"], answers["single, measured"]
    assert [{"pass": "fail", "fail": "pass"}[right[check]] for check in presence] == [wrong[c] for c in presence]


COST = """
question = "What does a critic with these errors cost?"
seeds = 1
settings.run.steps = 4

[prompts]
texts = ["a cat holding a red balloon"]

[[policies]]
policy = "single"

[[critics]]
label = "right"

[[critics]]
label = "measured"
profile = "measured/critic.profile.json"
strength = 1.2
"""


def test_ratings_of_a_page_say_it_check_by_check_and_order_pictures(put, tmp_path):
    rates = {"good": "", "bad": "red"}
    for n, (name, fails) in enumerate(rates.items()):
        run(PROMPT, out=tmp_path / "runs" / name, policy=BestOfN(n=1), seed=n, **roles({"00-00": fails}))
    survey = make_survey(collect([f"{name}={tmp_path / 'runs' / name}" for name in rates]).shots, FIRST, checks=True)
    items = {item.sources[0].method: id for id, item in survey.key.items.items()}
    (tmp_path / "key.json").write_text(survey.key.model_dump_json())
    criterion = FIRST[0].id
    red = [check.question for check in survey.key.items[items["bad"]].checks].index("Is the umbrella red?")
    for rater, good, answer in (("ann", 5, "no"), ("bob", 4, "no"), ("cy", 3, "yes")):
        said = {items["good"]: {"scores": {criterion: good}, "checks": {red: "yes", 0: "unclear"}}}
        said |= {items["bad"]: {"scores": {criterion: 2}, "checks": {red: answer}}}
        put(f"ratings/{rater}.json", exported(survey.key, rater, said), "ratings/x.png")
    known = {"key": tmp_path / "key.json"}
    cases = {case.sample.store.root.name: case for case in read_labelled(str(tmp_path / "ratings"), **known)}
    assert {name: (case.labels, case.correct, case.rating) for name, case in cases.items()} == {
        "good": ({"red": True}, True, 4.0),
        "bad": ({"red": False}, False, 2.0),
    }
    with pytest.raises(SettingsError, match="name --images FOLDER"):
        read_labelled(str(tmp_path / "ratings"), tmp_path / "ratings", **known)


def test_marks_on_runs_are_a_choice_between_pictures(tmp_path):
    run(PROMPT, out=tmp_path / "a", policy=Adaptive(images=2), **roles({"00-00": "red", "00-01": "red"}))
    for image, mark in (("00-00", "reject"), ("00-01", "favourite")):
        add_note(read_run(tmp_path / "a"), Note(image=image, mark=mark))
    cases = read_labelled(str(tmp_path))
    assert [(case.rating, case.labels) for case in cases] == [(0.0, {}), (1.0, {})]
    looks, _ = asyncio.run(critique_all(cases, Sure({"00-00": 0.2, "00-01": 0.9}), None))
    [row] = pairs_table({"c": pairs_of(looks)}).rows
    assert (row[:2], row[2].value, row[3:]) == (("c", "score"), 1.0, (1.0, 1, 1))


def looks_at(folder, *known, concepts=None):
    """Looks at pictures of one prompt, of which this is known, with the same critique of each."""
    cases = [
        LabelledImage(
            Sample(record("00-00", path="p.png"), "a fox", Store(folder / str(n)), concepts and concepts("a fox")),
            **one,
        )
        for n, one in enumerate(known)
    ]
    return [Critiqued(case, Critique(image="00-00", verdicts=())) for case in cases]


@pytest.mark.parametrize(
    ("first", "second", "better"),
    [
        ({"rating": 3.0}, {"rating": 2.0}, 0),
        ({"rating": 2.0, "correct": True}, {"rating": 3.0, "correct": False}, 1),
        ({"rating": 2.0}, {"rating": 2.0}, None),
        ({"correct": False}, {"correct": True}, 1),
        ({"correct": True}, {"rating": 5.0}, None),
        ({"labels": {"a": True, "b": False}}, {"labels": {"a": False, "c": True}}, 0),
        ({"labels": {"a": True}}, {"labels": {"b": True}}, None),
    ],
)
def test_of_two_pictures_the_better_is_what_the_source_says_of_both(tmp_path, first, second, better):
    found = [pair.better for pair in pairs_of(looks_at(tmp_path, first, second))]
    assert found == ([] if better is None else [better])


@pytest.mark.parametrize(
    ("places", "right", "decided"),
    [
        ({"good": "good", "bad": "good"}, 1.0, 1),
        ({"good": "bad", "bad": "bad"}, 0.0, 1),
        ({"good": "good", "bad": "bad"}, 0.5, 0),  # whatever comes first
        ({"good": "good", "bad": None}, 0.5, 0),
    ],
)
async def test_a_preference_counts_only_if_it_stays_when_the_pictures_swap_places(tmp_path, places, right, decided):
    """``places``: what the critic prefers where this picture comes first; both have one name in two folders."""

    class Chat:
        name, picture_side = "m", None

        async def ask(self, question, answer):
            names = [Path(picture.reference).parent.name for picture in question.pictures]
            chosen = places[names[0]]
            said = "equal" if chosen is None else ("first", "second")[names.index(chosen)]
            return Reply(answer(better=said, reason=""), (exchange(question),))

    looks = looks_at(tmp_path, {"rating": 1.0}, {"rating": 4.0}, concepts=concepts)
    for n, name in enumerate(("bad", "good")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), ("red", "blue")[n]).save(tmp_path / name / "p.png")
        sample = replace(looks[n].image.sample, store=Store(tmp_path / name))
        looks[n] = replace(looks[n], image=replace(looks[n].image, sample=sample))
    pairs = await compare_pairs(pairs_of(looks), ChatCritic(Chat()))
    by = {row[1]: row[2:] for row in pairs_table({"c": pairs}).rows}
    assert (by["score"][0].value, by["score"][2]) == (0.5, 0)  # as sure of both
    for way in ("comparison", "score, then comparison"):
        assert (by[way][0].value, by[way][2]) == (right, decided)
    assert {row[1]: row[2] for row in cost_table({"c": looks}, {"c": pairs}).rows} == {"look": 2, "comparison": 1}


class Sure:
    """Passes everything, with a probability for each image; counts how many pictures it looks at together."""

    def __init__(self, likely=(), fails=()):
        self.likely, self.fails, self.now, self.most = dict(likely), fails, 0, 0

    async def critique(self, image, concepts, store):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.002 * (image.seed % 3))
        self.now -= 1
        if image.id in self.fails:
            raise ReplyError("no answer", reason="", raw="", exchanges=())
        said = [Verdict(check=c.id, answer="pass", probability=self.likely.get(image.id)) for c in concepts.checks]
        return Critique(image=image.id, verdicts=tuple(said))


def test_pictures_are_looked_at_eight_at_a_time_and_stay_in_order(tmp_path):
    asked = list[str]()

    class Decomposer:
        async def decompose(self, prompt):
            asked.append(prompt)
            if prompt == "bad":
                raise PromptError("unclear")
            return concepts(prompt)

    prompts = ["a", "b", "bad", *("c" for _ in range(17))]
    shots = [record("00-00", seed=20 - n, path=f"{n}.png").model_copy(update={"id": f"{n}"}) for n in range(20)]
    cases = [LabelledImage(Sample(shot, prompt, Store(tmp_path))) for shot, prompt in zip(shots, prompts, strict=True)]
    looks, lost = asyncio.run(critique_all(cases, critic := Sure(fails=("5",)), Decomposer()))
    assert [look.critique.image for look in looks] == [str(n) for n in range(20) if n not in (2, 5)]
    assert lost == ["2.png: the prompt cannot be decomposed: unclear", "5.png: no answer"]
    assert critic.most == 8
    assert sorted(asked) == ["a", "b", "bad", "c"]


def test_the_world_shows_faults_of_every_kind(tmp_path):
    cases = read_labelled("world:100", tmp_path)
    aspects = [(case.sample.concepts.check(id).aspect, true) for case in cases for id, true in case.labels.items()]
    for aspect in ("presence", "attribute", "relation", "count", "nothing_else"):
        assert aspects.count((aspect, True)) > aspects.count((aspect, False)) >= 3, aspect
    assert sum(False not in case.labels.values() for case in cases) >= 6


@pytest.mark.parametrize(("edits", "way"), [(True, "edit"), (False, "drawn anew")])
def test_repair_is_by_edit_where_there_is_an_editor(tmp_path, edits, way):
    cases = [case for case in read_labelled("world:40", tmp_path) if False in case.labels.values()][:3]
    looks, _ = asyncio.run(critique_all(cases, EmbeddedCritic.load(), None))
    editor = FunctionEditor(EmbeddedPainter(mistakes=0))
    attempts = list[Attempt]()

    class Draws:
        async def draw(self, attempt, store, *, source=None, progress=None):
            attempts.append(attempt)
            if attempt.operator != "edit":  # as it was
                old = cases[attempt.seed].sample
                store.write(f"{attempt.id}.png", old.store.path(old.image.path).read_bytes())
                return old.image.model_copy(update={"id": attempt.id, "path": f"{attempt.id}.png"})
            return await editor.draw(attempt, store, source=source)

    done = repair_table(looks, Draws(), EmbeddedJudge(), Store(tmp_path / "r"), 3, edits=edits)
    [(_, by, gain, fixed, number)] = asyncio.run(done).rows
    assert (by, number) == (way, 3)
    assert {attempt.operator for attempt in attempts} == {"edit" if edits else None}
    assert (gain.value > 0.5, fixed > 0.5) == (edits, edits)
