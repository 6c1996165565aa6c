"""From exported files to figures; what cannot be counted is named."""

import json
import shutil
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from detailscribe.agent.cli import app
from detailscribe.agent.evaluation.answers import read_answers
from detailscribe.agent.evaluation.measure import Measurement, read_measurements, write_measurements
from detailscribe.agent.evaluation.ratings import rating_tables
from detailscribe.agent.evaluation.survey import read_key
from detailscribe.agent.evaluation.tables import markdown
from detailscribe.tools.errors import SettingsError

from .world import PROMPTS, export, key_of, leave, save, survey_of


@pytest.fixture
def key(runs):
    return survey_of(runs, checks=True).key


def item(key, method, prompt):
    """Id of the picture that a method made of a prompt."""
    return next(
        id
        for id, one in key.items.items()
        if one.prompt == prompt and method in [source.method for source in one.sources]
    )


def opinions(key, plain, fine, criterion="interactions"):
    """Ratings of both methods on the first two prompts."""
    return {item(key, "plainmethod", p): {"scores": {criterion: v}} for p, v in zip(PROMPTS, plain, strict=False)} | {
        item(key, "finemethod", p): {"scores": {criterion: v}} for p, v in zip(PROMPTS, fine, strict=False)
    }


def answers_of(key, folder, *exports):
    files = [save(folder / f"{n}.json", one) for n, one in enumerate(exports)]
    return read_answers(files, key)


def results(answers, *more, **how):
    """The tables beside the answers that they are made of."""
    raters = answers.rated["rater"].value_counts().to_dict()
    numbers = {"raters": raters, "rated": answers.rated["item"].nunique(), "problems": answers.problems}
    return SimpleNamespace(tables=rating_tables(answers, *more, **how), **numbers)


def squeezed(found):
    """All tables as Markdown, without the blanks that align them."""
    return " ".join("\n\n".join(map(markdown, found.tables.values())).split())


def lines(found, table):
    """The rows of a table, with a name for each cell."""
    table = found.tables[table]
    names = [column.name.replace(" ", "_") for column in table.columns]
    return [SimpleNamespace(**dict(zip(names, row, strict=True))) for row in table.rows]


def figure(found, method, criterion="interactions"):
    return next(f for f in lines(found, "methods") if (f.method, f.criterion) == (method, criterion))


def test_means_are_over_raters_then_prompts_and_gains_over_the_prompts_of_both(key, tmp_path):
    ada = export(key, "Ada", opinions(key, (1, 3), (5, 4)))
    grace = export(key, "Grace", opinions(key, (3,), (5,)))
    found = results(answers_of(key, tmp_path, ada, grace), key)
    plain, fine = figure(found, "plainmethod"), figure(found, "finemethod")
    assert (plain.mean.value, plain.prompts, plain.ratings) == (2.5, 2, 3)
    assert (fine.mean.value, fine.gain.value, fine.win_rate) == (4.5, 2.0, 1.0)
    assert plain.gain is None
    assert found.raters == {"Ada": 4, "Grace": 2}
    assert found.rated == 4


def test_a_shared_picture_counts_for_every_method_that_made_it(key, tmp_path):
    shared = {item(key, "plainmethod", PROMPTS[2]): {"scores": {"layout": 3}}}
    found = results(answers_of(key, tmp_path, export(key, "Ada", shared)), key)
    assert [(f.method, f.mean.value) for f in lines(found, "methods")] == [("plainmethod", 3.0), ("finemethod", 3.0)]
    assert figure(found, "finemethod", "layout").win_rate == 0.5


def test_another_method_can_be_the_baseline(key, tmp_path):
    given = answers_of(key, tmp_path, export(key, "Ada", opinions(key, (1, 3), (5, 4))))
    assert figure(results(given, key, baseline="finemethod"), "plainmethod").gain.value == -2.5
    with pytest.raises(SettingsError, match="there are plainmethod, finemethod"):
        results(given, key, baseline="third")


def test_agreement_is_alpha_over_what_two_rated(key, tmp_path):
    same = opinions(key, (1, 3), (5, 4))
    found = results(answers_of(key, tmp_path, export(key, "Ada", same), export(key, "Grace", same)), key)
    [interactions] = [f for f in lines(found, "agreement") if f.question == "interactions"]
    assert (interactions.alpha.value, interactions.raters, interactions.pictures) == (1.0, 2, 4)
    alone = results(answers_of(key, tmp_path, export(key, "Ada", same)), key)
    assert lines(alone, "agreement")[0].alpha is None


def test_metrics_and_the_critic_are_ranked_against_people(key, tmp_path):
    given = answers_of(key, tmp_path, export(key, "Ada", opinions(key, (1, 2), (5, 4))))
    measured = [
        Measurement(
            method=source.method,
            scenario="",
            subclass="",
            run=source.run,
            image=source.image,
            prompt=one.prompt,
            seed=0,
            metric="backwards",
            value=-5.0 if source.method == "finemethod" else 1.0,
            reason=None,
        )
        for one in key.items.values()
        for source in one.sources
    ]
    found = results(given, key, measured)
    by_name = {f.metric: f for f in lines(found, "metrics")}
    assert by_name["critic"].spearman.value > 0.8
    assert (by_name["critic"].within, by_name["critic"].pairs) == (1.0, 2)
    assert by_name["backwards"].spearman.value < -0.8
    assert by_name["backwards"].within == 0.0


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_what_evaluate_wrote_is_read_back(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    told = {"method": "m", "scenario": "", "subclass": "", "run": "r", "prompt": "p", "metric": "clipscore"}
    measured = [
        Measurement(**told, image="00-00", seed=3, value=0.7, reason=None, note="a, b"),
        Measurement(**told, image="", seed=None, value=None, reason="no image"),
    ]
    write_measurements(measured, tmp_path / f"scores{suffix}")
    assert read_measurements(tmp_path / f"scores{suffix}") == measured


def test_a_file_of_something_else_is_refused(tmp_path):
    for name, content in (("a.jsonl", '{"method": 1}'), ("b.jsonl", "nothing"), ("c.txt", "")):
        (tmp_path / name).write_text(content)
        with pytest.raises(SettingsError, match="evaluate --out"):
            read_measurements(tmp_path / name)


def test_the_critic_is_held_against_the_majority_check_by_check(key, tmp_path):
    plain = item(key, "plainmethod", PROMPTS[0])
    fine = item(key, "finemethod", PROMPTS[0])
    numbers = range(len(key.items[plain].checks))
    wrong = {n: "no" if key.items[plain].sources[0].answers[n] == "fail" else "yes" for n in numbers}
    right = {n: "yes" for n in numbers}
    everybody = {plain: {"checks": wrong}, fine: {"checks": right}}
    found = results(answers_of(key, tmp_path, export(key, "Ada", everybody)), key)
    every = lines(found, "critic")[-1]
    assert (every.aspect, every.answers, every.balanced_accuracy, every.kappa) == ("all", 10, 1.0, 1.0)
    assert {f.aspect for f in lines(found, "critic")} == {"presence", "attribute", "relation", "nothing_else", "all"}
    split = {plain: {"checks": {0: "no", 1: "unclear"}}}
    found = results(answers_of(key, tmp_path, export(key, "Ada", everybody), export(key, "Grace", split)), key)
    assert (lines(found, "critic")[-1].answers, lines(found, "critic")[-1].undecided) == (9, 1)


def test_two_answers_of_one_rater_that_differ_count_for_nothing_and_are_named(key, tmp_path):
    one, other = opinions(key, (1, 3), (5,)), opinions(key, (2, 3), (5,))
    found = answers_of(key, tmp_path, export(key, "Ada", one), export(key, " ada", other))
    assert len(found.scores) == 2
    assert set(found.scores.rater) == {"Ada"}
    assert found.problems == ("Ada answers 1 question(s) differently in 0.json and 1.json: left out",)


def test_what_does_not_belong_is_named_and_left_out(key, tmp_path):
    good = export(key, "Ada", opinions(key, (1,), (5,)))
    known = item(key, "plainmethod", PROMPTS[0])
    odd = {"nowhere": {"scores": {"interactions": 5}}, known: {"scores": {"beauty": 5}, "checks": {99: "yes"}}}
    files = [
        save(tmp_path / "good.json", good),
        save(tmp_path / "foreign.json", export(key, "Eve", {}, survey="another")),
        save(tmp_path / "odd.json", export(key, "Mallory", odd)),
        save(tmp_path / "high.json", export(key, "Bob", {known: {"scores": {"interactions": 6}}})),
        save(tmp_path / "list.json", [1, 2]),
        save(tmp_path / "rating.key.json", json.loads(key.model_dump_json())),
        tmp_path / "absent.json",
    ]
    found = read_answers(files, key)
    assert set(found.scores.rater) == {"Ada"}
    told = "\n".join(found.problems)
    assert "foreign.json is of another survey (another" in told
    assert "odd.json answers what was not asked (picture nowhere, criterion beauty, check 99" in told
    assert "high.json is no export of a rating page: ratings" in told
    assert "list.json is no export" in told
    assert "absent.json cannot be read: No such file" in told
    assert "key.json" not in told


def test_nothing_to_count_is_an_error_that_says_why(key, tmp_path):
    with pytest.raises(SettingsError, match=r"no rating of this survey(?s:.*)another survey"):
        answers_of(key, tmp_path, export(key, "Ada", {}, survey="another"))


def test_a_key_that_is_none_is_told(tmp_path):
    (tmp_path / "key.json").write_text("{}")
    with pytest.raises(SettingsError, match="is no key of a rating page"):
        read_key(tmp_path / "key.json")
    with pytest.raises(SettingsError, match="cannot read the key"):
        read_key(tmp_path / "none.json")


def test_from_runs_to_tables_on_the_command_line(runs, tmp_path):
    page = tmp_path / "page.html"
    made = CliRunner().invoke(app, ["rate", *runs, "--checks", "--out", str(page)])
    assert made.exit_code == 0, made.output
    assert "5 pictures of 3 prompts, 2 methods" in made.output
    known = read_key(tmp_path / "page.key.json")
    file = save(tmp_path / "ada.json", export(known, "Ada", opinions(known, (1, 3), (5, 4))))
    told = CliRunner().invoke(app, ["ratings", str(file), "--key", str(tmp_path / "page.key.json"), "--json"])
    assert json.loads(told.stdout)["raters"] == {"Ada": 4}
    shown = CliRunner().invoke(app, ["ratings", str(file), "--key", str(tmp_path / "page.key.json")])
    assert "4 of 5 pictures rated; by rater: Ada 4" in shown.stdout
    assert "Ratings by method" in shown.stdout


@pytest.mark.parametrize("key", ["page.html", "other/../page.html", "link.html"])
def test_a_key_in_the_place_of_the_page_is_refused(runs, tmp_path, key):
    (tmp_path / "other").mkdir()
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    done = CliRunner().invoke(app, ["rate", *runs, "--out", str(tmp_path / "page.html"), "--key", str(tmp_path / key)])
    assert done.exit_code == 2
    assert "--key" in done.stderr
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("damage", [b"", b"\x89PNG\r\n\x1a\n" + bytes(40), b"GIF89a"])
def test_a_damaged_picture_ends_in_one_line(runs, tmp_path, damage):
    shutil.copytree(runs[0], tmp_path / "runs")
    next((tmp_path / "runs").rglob("*.png")).write_bytes(damage)
    done = CliRunner().invoke(app, ["rate", str(tmp_path / "runs"), "--out", str(tmp_path / "page.html")])
    assert done.exit_code == 2, done.exception
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_no_name_of_a_rater_commands_the_terminal(key, tmp_path, form):
    (tmp_path / "key.json").write_text(key.model_dump_json())
    rater = "A\x1b]0;title\x07da\x9b2J"
    odd = export(key, rater, opinions(key, (1, 3), (5, 4)) | {"no\x1bwhere": {"scores": {"layout": 1}}})
    file = save(tmp_path / "ada.json", odd)
    done = CliRunner().invoke(app, ["ratings", str(file), "--key", str(tmp_path / "key.json"), *form])
    assert done.exit_code == 0, done.output
    assert not {c for c in done.output if c < " " or "\x7f" <= c <= "\x9f"} - {"\n"}


def test_wrong_arguments_end_in_one_line(runs, tmp_path):
    for arguments in (["rate", *runs, "--criteria", "beauty"], ["rate", *runs, "--images", "worst"], ["rate", "none"]):
        told = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "page.html")])
        assert told.exit_code == 2
        assert told.output.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


def test_markdown_holds_every_table(key, tmp_path):
    found = results(answers_of(key, tmp_path, export(key, "Ada", opinions(key, (1, 3), (5, 4)))), key)
    text = squeezed(found)
    assert "| all | interactions | finemethod | 4.50 (4.00 to 5.00) | +2.50 (+1.00 to +4.00) | 100% | 2 | 2 |" in text
    assert "## Metrics against people" in text


def test_a_single_prompt_has_no_interval_of_no_width(key, tmp_path):
    found = results(answers_of(key, tmp_path, export(key, "Ada", opinions(key, (1,), (5,)))), key)
    assert "| finemethod | 5.00 | +4.00 | 100% | 1 | 1 |" in squeezed(found)


def test_the_page_and_the_key_speak_of_the_same_pictures(runs, tmp_path):
    written = leave(runs, tmp_path, checks=True)
    assert key_of(written) == survey_of(runs, checks=True).key
