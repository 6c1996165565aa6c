"""Two folders against each other."""

import pytest

from detailscribe.agent import run
from detailscribe.agent.evaluation.tables import markdown
from detailscribe.agent.experiments.compare import compare, pair_variants
from detailscribe.agent.experiments.run import arun_experiment
from detailscribe.agent.experiments.summary import tables_of
from detailscribe.agent.experiments.write import write_results
from detailscribe.tools.errors import SettingsError

from ..agent.fakes import PROMPT, roles
from .small import Fakes, image, row, small

RIGHT, WRONG = image("00-00"), image("00-00", "red")


def side(label: str, *images, seed: int = 0):
    return {label: [row(label, f"p{n}", one, seed=seed) for n, one in enumerate(images)]}


def test_variants_of_one_name_are_paired():
    a, b = side("x", RIGHT) | side("y", RIGHT), side("y", RIGHT) | side("z", RIGHT)
    assert list(pair_variants(a, b)) == ["y"]


def test_the_only_variant_of_each_side_is_paired_whatever_its_name():
    assert list(pair_variants(side("x", RIGHT), side("y", WRONG))) == ["y against x"]


def test_two_variants_can_be_named():
    both = side("x", RIGHT) | side("y", WRONG)
    assert list(pair_variants(both, both, "x", "y")) == ["y against x"]
    with pytest.raises(SettingsError, match="A has no variant 'w'; it has x; y"):
        pair_variants(both, both, "w", "y")


def test_sides_without_a_common_variant_are_refused():
    with pytest.raises(SettingsError, match="no variant is in both"):
        pair_variants(side("v", RIGHT) | side("x", RIGHT), side("y", RIGHT) | side("z", RIGHT))


def test_runs_of_other_seeds_are_paired_in_their_order():
    [(first, second)] = pair_variants(side("x", RIGHT, seed=7), side("x", WRONG, seed=9)).values()
    assert (first[0].seed, second[0].seed) == (0, 0)


def ran(folder, script, **changes):
    return run(PROMPT, seed=3, out=folder, **roles(script), **changes)


def test_two_runs_are_compared_by_every_measure(tmp_path):
    ran(tmp_path / "a", {"00-00": "red"}, policy="best_of_n")
    ran(tmp_path / "b", {"00-00": "red cat", "00-01": "red cat", "01-00": ""}, policy="adaptive")
    differs, figures, *_ = compare(tmp_path / "a", tmp_path / "b")
    [policy] = differs.texts
    assert policy[:2] == ["b against a", "policy"]
    assert (policy[2].split("(")[0], policy[3].split("(")[0]) == ("BestOfN", "Adaptive")
    assert figures.title == "b against a: 1 pairs of runs"
    assert "the critic that chose" in figures.note
    cells = {line[0]: line for line in figures.texts}
    assert cells["images"][1:4] == ["4.00", "3.00", "-1.00"]


async def test_experiments_are_compared_prompt_by_prompt(tmp_path):
    for name, policy in (("a", "single"), ("b", "best_of_n")):
        fakes, experiment = Fakes(), small(policies=[{"policy": policy, "label": "mine"}])
        rows = await arun_experiment(experiment, tmp_path / name, *fakes.models(experiment))
        write_results(experiment, rows, tmp_path / name)
    differs, first, differences, prompts = compare(tmp_path / "a", tmp_path / "b")
    assert [line[1] for line in differs.texts] == ["policy"]
    assert first.title == "mine: 6 pairs of runs"
    assert len(differences.rows) == 1
    assert "tied" in prompts.title
    (tmp_path / "b" / "rows.jsonl").unlink()
    again = compare(tmp_path / "a", tmp_path / "b")
    assert [markdown(table) for table in again] == [
        markdown(table) for table in (differs, first, differences, prompts)
    ], "an experiment that was stopped before its tables is read from what it left"


async def test_a_batch_is_compared_with_a_folder_of_runs(tmp_path):
    experiment = small(policies=[{"policy": "single"}])
    await arun_experiment(experiment, tmp_path / "batch", *Fakes().models(experiment))
    (tmp_path / "batch" / "judged.jsonl").unlink()
    differs, figures, *_ = compare(tmp_path / "batch", tmp_path / "batch" / "runs")
    assert not differs.rows
    assert figures.title == "runs against batch: 6 pairs of runs"
    assert {line[4] for line in figures.texts} == {"0"}, "they are the same runs"


async def test_variants_that_decided_alike_are_named(tmp_path):
    experiment = small()
    rows = await arun_experiment(experiment, tmp_path, *Fakes().models(experiment))
    _, one, two = [variant.label for variant in experiment.variants]
    assert tables_of(rows, one)["summary"].note.startswith(f"{one} and {two} decided alike in all 6 runs:")
    assert "decided alike" not in tables_of([row for row in rows if row.label != two], one)["summary"].note


def test_a_folder_without_anything_to_compare_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="holds no finished experiment, batch or run"):
        compare(tmp_path, tmp_path)


def written(folder, label, *images):
    folder.mkdir()
    lines = [one.model_dump_json() + "\n" for one in side(label, *images)[label]]
    (folder / "judged.jsonl").write_text("".join(lines))
    return folder


def test_the_prompts_that_differ_most_come_first(tmp_path):
    worse = image("00-00", "red cat")
    a = written(tmp_path / "a", "x", RIGHT, WRONG, worse, RIGHT)
    b = written(tmp_path / "b", "x", RIGHT, RIGHT, RIGHT, WRONG)
    *_, prompts = compare(a, b)
    assert prompts.title == "By prompt: B wins 2, A wins 1, 1 tied"
    assert [(line[1], line[4]) for line in prompts.texts] == [("p2", "B"), ("p1", "B"), ("p3", "A")]
    assert len(compare(a, b, prompts=1)[-1].rows) == 1


def test_nothing_in_common_is_refused(tmp_path):
    a = written(tmp_path / "a", "x", RIGHT)
    b = written(tmp_path / "b", "x", RIGHT)
    (b / "judged.jsonl").write_text((b / "judged.jsonl").read_text().replace('"p0"', '"q0"'))
    with pytest.raises(SettingsError, match="share no prompt"):
        compare(a, b)
