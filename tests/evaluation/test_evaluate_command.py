"""``detailscribe evaluate`` and ``detailscribe data`` from end to end on the embedded judge."""

import asyncio
import csv
import io
import json

import pytest
from typer.testing import CliRunner

from detailscribe.agent.cli import app
from detailscribe.state import ConceptGraph
from detailscribe.tools.metrics import METRICS
from detailscribe.tools.world.decomposer import EmbeddedDecomposer

from ..agent.fakes import FakeDiffusion, ScriptedCritic
from ..world.worlds import thing


class Paints(FakeDiffusion):
    """Paints a red car where the seed is even, and a blue one else, beside a fox in the snow."""

    async def draw(self, attempt, store, *, source=None, progress=None):
        from detailscribe.tools.world.scene import Scene, render

        made = await super().draw(attempt, store, source=source, progress=progress)
        car = "red car" if attempt.id.startswith("01") else "blue car"
        buffer = io.BytesIO()
        render(Scene("snow", (thing("fox", 1), thing(car, 3)))).save(buffer, "PNG")
        store.write(made.path, buffer.getvalue())
        return made


class Complains(ScriptedCritic):
    """Says that the first images lack the colour."""

    async def critique(self, image, concepts: ConceptGraph, store):
        from detailscribe.state import Critique, Verdict

        wrong = {"attribute:car"} if image.id.startswith("00") else set()
        verdicts = tuple(Verdict(check=c.id, answer="fail" if c.id in wrong else "pass") for c in concepts.checks)
        return Critique(image=image.id, verdicts=verdicts, refined_prompt=concepts.prompt if wrong else None)


PROMPTS = ("a fox next to a red car, in the snow", "a fox next to a red car")


@pytest.fixture
def runs(tmp_path):
    from detailscribe.agent import Adaptive, arun

    for n, prompt in enumerate(PROMPTS):
        roles = {"decomposer": EmbeddedDecomposer(), "diffusion": Paints(), "critic": Complains({})}
        asyncio.run(arun(prompt, **roles, policy=Adaptive(images=1), out=tmp_path / "ours" / f"run{n}", seed=n))
    return tmp_path / "ours"


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_best_image_is_told_from_the_first_by_a_judge_that_takes_no_part(cli, runs):
    done = cli("evaluate", runs, "--metrics", "judge,judge_all_correct", "--images", "first,best", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    figures = {(f["method"], f["metric"]): f for f in found["figures"]}
    assert figures["ours (best)", "judge_all_correct"]["mean"] == 1.0
    assert figures["ours", "judge_all_correct"]["mean"] == 0.0
    assert figures["ours (best)", "judge"]["win_rate"] == 1.0
    assert found["missing"] == []


def test_every_single_value_is_written(cli, runs, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    for suffix in ("csv", "jsonl", "parquet"):
        assert cli("evaluate", runs, "--metrics", "judge", "--out", f"all.{suffix}").exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [line["prompt"] for line in lines] == list(PROMPTS)
    assert parquet.read_table(tmp_path / "all.parquet").to_pylist() == lines
    with (tmp_path / "all.csv").open(newline="") as file:
        assert [row["value"] for row in csv.DictReader(file)] == [str(line["value"]) for line in lines]


@pytest.mark.parametrize(
    ("form", "words"), [("--markdown", "| all "), ("--latex", r"\begin{tabular}"), (None, "win rate")]
)
def test_the_table_alone_is_on_standard_output(cli, runs, form, words):
    done = cli("evaluate", f"ours={runs}", "--metrics", "judge", *([form] if form else []))
    assert done.exit_code == 0
    assert words in done.stdout
    assert "ours" in done.stdout


def test_what_each_method_spent_is_told_beside_and_always_in_json(cli, runs):
    done = cli("evaluate", runs, "--metrics", "judge", "--images", "first,best", "--wide", "--cost", "--markdown")
    scores, costs, note = done.stdout.strip().split("\n\n")
    assert scores.splitlines()[0].split("|")[3].strip() == "judge"
    assert costs.splitlines()[2].split()[1:7:2] == ["ours", "2", "2.00"]
    assert "Means over runs" in note
    told = json.loads(cli("evaluate", runs, "--metrics", "judge", "--json").stdout)["costs"]
    assert [(cost["method"], cost["runs"], cost["images"]) for cost in told] == [("ours", 2, 2.0)]


def test_no_word_is_cut_off_where_the_table_goes_into_a_file(cli, runs):
    name = "a-method-with-a-name-that-goes-on-and-on-and-on"
    metrics = "judge,judge_all_correct,checklist,all_correct"
    done = cli("evaluate", f"{name}={runs}", "--metrics", metrics, "--wide", "--images", "best,first,last")
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[1:]] == [name] * 3
    assert all(metric in lines[0] for metric in metrics.split(","))


def test_missing_values_are_counted_and_their_reasons_shown(cli, runs):
    [run] = (run for run in runs.glob("run1"))
    for picture in run.glob("images/*.png"):
        picture.unlink()
    done = cli("evaluate", runs, "--metrics", "judge", "--markdown")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1].split("|")[-2].strip() == "1"
    assert "judge: 1 missing; 1 x no image" in done.stderr


def test_scenarios_are_read_from_a_file_of_prompts(cli, runs, tmp_path):
    rows = [{"prompt": prompt, "scenario": name} for prompt, name in zip(PROMPTS, ("snowy", "any"), strict=True)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = cli("evaluate", runs, "--metrics", "judge", "--prompts", "p.jsonl", "--json")
    assert [f["scenario"] for f in json.loads(done.stdout)["figures"]] == ["snowy", "any", "all"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--metrics", "jugde"], "jugde"),
        (["--metrics", ""], "nothing is no metric"),
        (["--metrics", "layout"], "--chat-model"),
        (["--metrics", "judge", "--images", "worst"], "these are known: best, first, last, all"),
        (["--metrics", "judge", "--against", "theirs"], "none of the methods: ours"),
        (["--metrics", "judge", "--out", "a.xlsx"], "should end in .parquet"),
        (["--metrics", "judge", "--weights", "clipscore"], "should read metric=folder"),
        (["--metrics", "clipscore", "--weights", "clipscore=/no/such"], "there is no model folder /no/such"),
        (["--metrics", "judge", "--prompts", "/no/such.txt"], "cannot read /no/such.txt"),
    ],
)
def test_what_is_wrong_is_one_line(cli, runs, arguments, complaint):
    done = cli("evaluate", runs, *arguments)
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_every_metric_is_made_without_loading_its_model(tmp_path):
    from detailscribe.tools.language.chat import ChatModel
    from detailscribe.tools.language.settings import ChatSettings
    from detailscribe.tools.metrics import BatchMetric, Parts

    chat = ChatModel(ChatSettings(model="m", base_url="http://localhost:1/v1"))
    parts = Parts(tmp_path, lambda: chat, lambda: ScriptedCritic({}), EmbeddedDecomposer)
    made = {name: make(parts) for name, make in METRICS.items()}
    assert len(made) == 13
    assert all(isinstance(metric, BatchMetric) for metric in made.values())
    assert not any(tmp_path.iterdir())


def test_prompts_of_the_world_are_written_for_a_batch(cli, tmp_path):
    done = cli("data", "world", "--count", 5, "--seed", 2, "--out", "p.jsonl")
    assert (done.exit_code, done.stdout.strip()) == (0, "5 prompts in p.jsonl")
    again = cli("data", "world", "--count", 5, "--seed", 2)
    assert again.stdout == (tmp_path / "p.jsonl").read_text()


def test_any_list_becomes_clean_lines(cli, tmp_path):
    (tmp_path / "list.txt").write_text("A cat\nA cat\nA dog\n")
    done = cli("data", "read", "list.txt", "--distinct", "--limit", 3)
    assert [json.loads(line)["prompt"] for line in done.stdout.splitlines()] == ["A cat", "A dog"]
    assert cli("data", "interacting", "--from", tmp_path).exit_code == 2
    assert "name one with --chat-model" in cli("data", "build", "--scenario", "functional").stderr
