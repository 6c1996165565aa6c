"""A critic against known pictures: every kind of source, and what is counted of it."""

import asyncio
import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from detailscribe.agent import Adaptive, read_run, run
from detailscribe.agent.cli import app
from detailscribe.agent.evaluation.collect import collect
from detailscribe.agent.evaluation.critic_test import (
    Case,
    accuracy_table,
    agreement_table,
    look_at,
    profile_of_looks,
    read_cases,
    repair_table,
)
from detailscribe.agent.evaluation.survey import CRITERIA, make_survey
from detailscribe.agent.policies import BestOfN
from detailscribe.agent.records.notes import Note, add_note
from detailscribe.state import Attempt, Critique, Verdict
from detailscribe.tools.diffusion.editing import FunctionEditor
from detailscribe.tools.errors import PromptError, ReplyError, SettingsError
from detailscribe.tools.files import Store
from detailscribe.tools.metrics import Sample
from detailscribe.tools.vision.wrapping import UnreliableCritic, profile_of
from detailscribe.tools.world.critic import EmbeddedCritic, EmbeddedJudge
from detailscribe.tools.world.painter import EmbeddedPainter

from ..agent.fakes import PROMPT, concepts, record, roles
from .ratings.world import export as exported

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
    [case] = read_cases(put("r3bench.jsonl", R3, R3["bad_image"]))
    assert (case.whole, case.kind, case.sample.prompt, case.sample.image.width) == (False, "color", "a black candle", 8)
    assert [check.question for check in case.sample.concepts.checks] == ["Is there a candle?"]


def test_genai_bench_says_how_good_people_find_each_models_picture(put):
    source = put("genai_image.json", GENAI, "SDXL/00007.jpeg", "DALLE/00007.jpeg")
    found = {case.sample.image.path: (case.whole, case.rating) for case in read_cases(source)}
    assert found == {"SDXL/00007.jpeg": (True, 13 / 3), "DALLE/00007.jpeg": (False, 4 / 3)}


def test_a_table_says_yes_or_no_or_a_rating(put):
    source = put("t.csv", "prompt,image,answer,rating,kind\na fox,a.png,no,,count\na cow,a.png,,4.5,\n", "a.png")
    assert [(case.whole, case.kind) for case in read_cases(source)] == [(False, "count"), (True, "whole picture")]


def test_notes_on_runs_say_it_check_by_check(tmp_path):
    run(PROMPT, out=tmp_path / "a", policy=Adaptive(images=1), **roles({"00-00": "red holding", "01-00": ""}))
    add_note(read_run(tmp_path / "a"), Note(image="00-00", verdicts={"red": "pass", "cat": "unknown"}))
    [case] = read_cases(str(tmp_path))
    assert (case.truth, case.sample.image.id) == ({"red": True}, "00-00")


@pytest.mark.parametrize("value", ['{"prompt": "a fox"}', '{"prompt": "a fox", "image": "none.png", "answer": "no"}'])
def test_what_says_nothing_of_a_picture_is_named(put, value):
    with pytest.raises(SettingsError, match=r"line 1 of .* is no verdict on a picture"):
        read_cases(put("x.jsonl", value))


class Truthful:
    """Says what is true of each case."""

    def __init__(self, cases):
        self.truth = {case.sample.image.id: case.truth for case in cases}

    async def critique(self, image, concepts, store):
        true = self.truth[image.id]
        answers = {check.id: "pass" if true.get(check.id, True) else "fail" for check in concepts.checks}
        return Critique(image=image.id, verdicts=tuple(Verdict(check=c, answer=a) for c, a in answers.items()))


def test_a_critic_with_known_errors_is_found_to_make_them(tmp_path):
    cases = read_cases("world:120", tmp_path)
    truth = Truthful(cases)
    looks, lost = asyncio.run(look_at(cases, truth, None))
    rows = {row[1]: row for row in accuracy_table({"truth": looks}).rows}
    assert not lost
    assert [figure.value for figure in rows["all"][2:5]] == [1.0, 1.0, 1.0]
    assert rows["all"][5] == sum(not true for case in cases for true in case.truth.values()) > 20
    # One that overlooks half of all missing things, and sees a fault in every tenth count.
    worse = UnreliableCritic(truth, profile=profile_of(str(written(tmp_path))))
    found = profile_of_looks(asyncio.run(look_at(cases, worse, None))[0])
    assert 0.3 < found["presence"].miss < 0.7
    assert found["presence"].invent == 0
    assert 0.04 < found["count"].invent < 0.18


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
    cases = {case.sample.store.root.name: case for case in read_cases(str(tmp_path / "ratings"), **known)}
    assert {name: (case.truth, case.whole, case.rating) for name, case in cases.items()} == {
        "good": ({"red": True}, True, 4.0),
        "bad": ({"red": False}, False, 2.0),
    }
    with pytest.raises(SettingsError, match="name --images FOLDER"):
        read_cases(str(tmp_path / "ratings"), tmp_path / "ratings", **known)


def test_marks_on_runs_are_a_choice_between_pictures(tmp_path):
    run(PROMPT, out=tmp_path / "a", policy=Adaptive(images=2), **roles({"00-00": "red", "00-01": "red"}))
    for image, mark in (("00-00", "reject"), ("00-01", "favourite")):
        add_note(read_run(tmp_path / "a"), Note(image=image, mark=mark))
    cases = read_cases(str(tmp_path))
    assert [(case.rating, case.truth) for case in cases] == [(0.0, {}), (1.0, {})]
    looks, _ = asyncio.run(look_at(cases, Sure({"00-00": 0.2, "00-01": 0.9}), None))
    [row] = agreement_table({"c": looks}).rows
    assert (row[0], row[1].value, row[2]) == ("c: pairs of one prompt, ordered as people do", 1.0, 1)


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
    cases = [Case(Sample(shot, prompt, Store(tmp_path))) for shot, prompt in zip(shots, prompts, strict=True)]
    looks, lost = asyncio.run(look_at(cases, critic := Sure(fails=("5",)), Decomposer()))
    assert [look.critique.image for look in looks] == [str(n) for n in range(20) if n not in (2, 5)]
    assert lost == ["2.png: unclear", "5.png: no answer"]
    assert critic.most == 8
    assert sorted(asked) == ["a", "b", "bad", "c"]


def test_the_world_shows_faults_of_every_kind(tmp_path):
    cases = read_cases("world:60", tmp_path)
    aspects = [(case.sample.concepts.check(id).aspect, true) for case in cases for id, true in case.truth.items()]
    for aspect in ("presence", "attribute", "relation", "count", "nothing_else"):
        assert aspects.count((aspect, True)) > aspects.count((aspect, False)) >= 3, aspect
    assert sum(False not in case.truth.values() for case in cases) >= 6


@pytest.mark.parametrize(("edits", "way"), [(True, "edit"), (False, "drawn anew")])
def test_repair_is_by_edit_where_there_is_an_editor(tmp_path, edits, way):
    cases = [case for case in read_cases("world:40", tmp_path) if False in case.truth.values()][:3]
    looks, _ = asyncio.run(look_at(cases, EmbeddedCritic.load(), None))
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

    done = repair_table({"c": looks}, Draws(), EmbeddedJudge(), Store(tmp_path / "r"), 3, edits=edits)
    [(_, by, gain, fixed, number)] = asyncio.run(done).rows
    assert (by, number) == (way, 3)
    assert {attempt.operator for attempt in attempts} == {"edit" if edits else None}
    assert (gain.value > 0.5, fixed > 0.5) == (edits, edits)
