"""What an experiment file says, and what is said of a wrong one."""

import re
import tomllib
from pathlib import Path

import pytest

from detailscribe.agent.experiments.load import ExperimentError, load_experiment, make_experiment
from detailscribe.agent.experiments.spec import held_out
from detailscribe.tools.world.grammar import parse

from .small import small

SHIPPED = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))
GOOD = """
question = "What?"
seeds = 2
[prompts]
embedded = 3
[[policies]]
policy = "single"
"""


def written(tmp_path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(tmp_path, text: str) -> list[str]:
    path = written(tmp_path, text)
    with pytest.raises(ExperimentError) as error:
        load_experiment(path)
    return [line.removeprefix(f"{path}: ") for line in str(error.value).splitlines()]


def test_a_short_file_is_enough(tmp_path):
    experiment = load_experiment(written(tmp_path, GOOD))
    assert experiment.name == "mine"
    assert experiment.spec.seeds == (0, 1)
    assert [v.label for v in experiment.variants] == ["single"]
    assert experiment.prompts == held_out(3, 2026)


def test_prompts_have_the_complexity_that_is_asked_for(tmp_path):
    hard = load_experiment(written(tmp_path, GOOD.replace("embedded = 3", "embedded = 5\ncomplexity = 3")))
    assert [len(parse(prompt).links) for prompt in hard.prompts] == [3] * 5
    assert [parse(prompt).unseen for prompt in hard.prompts] == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("embedded = 3", "embedded = 3\ncomplexity = 6"),
            "prompts.complexity: Input should be less than",
        ),
        (("question", "questoin"), "questoin: there is no such setting; did you mean 'question'?"),
        (("embedded = 3", "embeded = 3"), "prompts.embeded: there is no such setting; did you mean 'embedded'?"),
        (("embedded = 3", ""), "prompts: give one of embedded, files and texts, not none"),
        (('policy = "single"', ""), "policies.0.policy: is missing"),
        (('"single"', '"singel"'), "policies: singel: no policy 'singel': did you mean 'single'?"),
        (('"single"', '"single"\nargs = {rounds = 3}'), "policies: single: policy Single: got an unexpected keyword"),
        (('"single"', '"single"\nargs = {start_step = -1}'), "policies: single: policy Single: start_step: Input"),
        (
            ('"single"', '"hybrid"'),
            "policies: hybrid: it refines 7 times, and the budget has 6 rounds: give",
        ),
        (('"single"', '"single"\n[[policies]]\npolicy = "single"'), "policies: two are called 'single'"),
        (
            ('"single"', '"single"\n[[critics]]\nflip = 1.5'),
            "critics.0.flip: a rate is from 0 to 1",
        ),
        (
            ('"single"', '"single"\n[[critics]]\ngrid = {flip = []}'),
            "critics.0.grid.flip: Tuple should have at least 1",
        ),
        (('"single"', '"single"\ncritics = ["bad"]'), "policies: no critic is called 'bad'"),
        (('"single"', '"single"\ngrid = {"budget.images" = [0]}'), "policies: single budget.images=0: images: "),
        (("seeds = 2", "seeds = []"), "seeds: Tuple should have at least 1 item"),
        (("seeds = 2", 'baseline = "best"'), "baseline: nothing is called 'best'; there are single"),
        (("seeds = 2", "settings.run.seed = 3"), "settings: run.seed: an experiment says this by its policies"),
        (("seeds = 2", "settings.run.stepz = 3"), "settings: no setting 'run.stepz'; did you mean 'run.steps'?"),
        (("seeds = 2", 'settings.chat.model = "m"'), "judge: the embedded judge sees only the embedded world"),
        (("seeds = 2", 'judge.kind = "chat"'), "judge: model is missing: name the chat model that judges"),
        (("embedded = 3", 'files = ["no.jsonl"]'), "prompts: cannot read"),
        (("[prompts]", "[prompts"), "is not TOML"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path, change, said):
    [line] = problems(tmp_path, GOOD.replace(*change))
    assert said in line


def test_a_chat_model_words_its_own_corrections(tmp_path):
    text = GOOD.replace("seeds = 2", 'judge.kind = "critic"\nsettings.chat.model = "m"')
    [line] = problems(tmp_path, text + '[[critics]]\ncorrections = "place"')
    assert line == "critics: corrections are a choice of the embedded critic, and a chat model looks here"


def test_every_mistake_has_a_line_of_its_own(tmp_path):
    text = GOOD.replace('"single"', '"singel"').replace("embedded = 3", 'files = ["no.txt"]')
    found = problems(tmp_path, text.replace("seeds = 2", 'settings.run.preset = "none"'))
    assert [line.partition(":")[0] for line in found] == ["settings", "policies", "prompts"]


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ExperimentError, match="cannot read the experiment"):
        load_experiment(tmp_path / "none.toml")


def test_every_combination_of_a_grid_is_a_variant():
    experiment = small(
        policies=[{"policy": "single", "grid": {"operator": ["inject", "resume"], "start_step": [0, 4]}}],
        critics=[{"label": "good"}, {"grid": {"flip": [0.1, 0.3]}}],
    )
    assert [v.label for v in experiment.variants][:4] == [
        "single operator=inject start_step=0, good",
        "single operator=inject start_step=0, flip=0.1",
        "single operator=inject start_step=0, flip=0.3",
        "single operator=inject start_step=4, good",
    ]
    assert len(experiment.variants) == 2 * 2 * 3
    assert experiment.variants[1].parameters == {
        "policy.operator": "inject",
        "policy.start_step": 0,
        "critic.flip": 0.1,
    }
    assert experiment.variants[1].critic.flip == 0.1


def test_a_policy_can_name_its_critics_and_vary_its_budget():
    experiment = small(
        policies=[{"policy": "single", "critics": ["bad"], "grid": {"budget.evaluations": [112, 224]}}],
        critics=[{"label": "good"}, {"label": "bad", "flip": 0.2}],
        budget={"images": 5},
    )
    assert [v.label for v in experiment.variants] == [
        "single budget.evaluations=112, bad",
        "single budget.evaluations=224, bad",
    ]
    assert [(v.budget.images, v.budget.evaluations) for v in experiment.variants] == [(5, 112), (5, 224)]


def test_the_text_none_stands_for_none():
    [variant] = small(policies=[{"policy": "multi_round", "args": {"patience": "none"}}]).variants
    assert variant.resolved.patience is None


def test_prompts_come_from_tables_and_plain_text(tmp_path):
    (tmp_path / "one.jsonl").write_text('{"prompt": "a cat", "topic": "pets"}\n\n{"prompt": "a dog"}\n')
    (tmp_path / "two.csv").write_text('prompt,topic\n"a cat, sitting\nand waiting",pets\n')
    (tmp_path / "three.txt").write_text("a cat\na pig\n")
    prompts = small(prompts={"files": [str(tmp_path / n) for n in ("one.jsonl", "two.csv", "three.txt")]}).prompts
    assert list(prompts.items()) == [
        ("a cat", "three"),
        ("a dog", "one"),
        ("a cat, sitting\nand waiting", "two"),
        ("a pig", "three"),
    ]
    prompts = small(prompts={"files": [str(tmp_path / "one.jsonl")], "scenario": "topic"}).prompts
    assert prompts == {"a cat": "pets", "a dog": ""}


def test_a_limit_spreads_over_the_file(tmp_path):
    (tmp_path / "many.txt").write_text("\n".join(f"prompt {n}" for n in range(100)))
    prompts = small(prompts={"files": [str(tmp_path / "many.txt")], "limit": 4}).prompts
    assert list(prompts) == ["prompt 0", "prompt 25", "prompt 50", "prompt 75"]


def test_held_out_prompts_are_held_out_and_half_of_them_unseen():
    found = [parse(prompt) for prompt in held_out(10, 2026)]
    assert [spec.unseen for spec in found] == [False, True] * 5
    assert all(spec.held_out for spec in found)
    assert list(held_out(4, 2026)) == list(held_out(10, 2026))[:4]
    assert set(held_out(10, 2026, ("functional",)).values()) == {"functional"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_experiments_that_ship_can_be_run_and_say_what_they_ask(path):
    text = path.read_text(encoding="utf-8")
    table = tomllib.loads(text)
    assert text.startswith("# ")
    assert table["prompts"]["embedded"] >= 200
    table["prompts"]["embedded"] = 4  # prompts of five relations take long to find
    experiment = make_experiment(path.stem, table, path.parent)
    assert len(experiment.spec.seeds) >= 2
    assert len(experiment.variants) >= (1 if path.stem == "learn" else 3)


def test_the_experiments_that_ship_are_listed_in_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text(encoding="utf-8")
    rows = page[page.index("## The experiments that ship") :]
    assert set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", rows, re.M)))) == {p.stem for p in SHIPPED}
