"""A critic against known pictures: every kind of source, and what is counted of it."""

import asyncio
import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from detailscribe.agent import Adaptive, read_run, run
from detailscribe.agent.cli import app
from detailscribe.agent.evaluation.critic_test import accuracy_table, look_at, profile_of_looks, read_cases
from detailscribe.agent.records.notes import Note, add_note
from detailscribe.state import Critique, Verdict
from detailscribe.tools.errors import SettingsError
from detailscribe.tools.vision.wrapping import UnreliableCritic, profile_of

from ..agent.fakes import PROMPT, roles

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
