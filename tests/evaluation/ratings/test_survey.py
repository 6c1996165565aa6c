"""The page is blinded: what it shows and holds says nothing of who made what."""

import pytest
from PIL import Image

from detailscribe.agent import run
from detailscribe.agent.evaluation.collect import collect
from detailscribe.agent.evaluation.survey import CRITERIA, common_side, criteria_named, make_survey
from detailscribe.agent.policies import BestOfN
from detailscribe.tools.errors import SettingsError
from detailscribe.tools.metrics import MetricCritic
from detailscribe.tools.metrics.metric import OneByOne

from ...agent.fakes import record, roles
from .world import PROMPTS, SEEDS, key_of, leave, pixels, png, survey_of, told


def test_neither_method_nor_path_nor_run_stands_in_the_page(runs, tmp_path):
    written = leave(runs, tmp_path / "out")
    html = written.page.read_text(encoding="utf-8")
    key = key_of(written)
    names = {s.run for item in key.items.values() for s in item.sources} | {*SEEDS, str(tmp_path), "BestOfN", "fake@0"}
    assert [name for name in names if name in html] == []


def test_pictures_hold_pixels_alone(runs, tmp_path):
    collected = collect(runs).shots
    assert all(b"tEXt" in shot.sample.store.read(shot.sample.image.path) for shot in collected)
    for item in told(leave(runs, tmp_path).page)["items"]:
        assert pixels(item).info == {}
        chunks = [kind for kind in (b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"tIME") if kind in png(item)]
        assert chunks == []


def test_pictures_show_what_the_method_drew(runs, tmp_path):
    written = leave(runs, tmp_path)
    key = key_of(written)
    drawn = {(s.method, s.run): s.sample for s in collect(runs).shots}
    for item in told(written.page)["items"]:
        source = key.items[item["id"]].sources[0]
        sample = drawn[source.method, source.run]
        with Image.open(sample.store.path(sample.image.path)) as original:
            assert pixels(item).tobytes() == original.convert("RGB").tobytes()


def test_the_same_picture_is_rated_once_for_all_who_made_it(runs):
    survey = survey_of(runs)
    assert len(survey.shots) == 5
    shared = [item for item in survey.key.items.values() if len(item.sources) > 1]
    assert [(item.prompt, [s.method for s in item.sources]) for item in shared] == [(PROMPTS[2], [*SEEDS])]


def test_the_order_follows_from_the_seed_and_the_survey_does_not(runs):
    first, again, other = survey_of(runs, seed=1), survey_of(runs, seed=1), survey_of(runs, seed=2)
    assert list(first.shots) == list(again.shots)
    assert list(first.shots) != list(other.shots)
    assert first.key == other.key


def test_another_question_is_another_survey(runs):
    alone = criteria_named(["layout"])
    ids = {survey_of(runs).key.survey, survey_of(runs, checks=True).key.survey}
    assert len(ids | {make_survey(collect(runs).shots, alone).key.survey}) == 3


def test_checks_are_asked_only_where_they_are_wanted_and_are_the_same_for_every_method(runs):
    assert {item.checks for item in survey_of(runs).key.items.values()} == {()}
    survey = survey_of(runs, checks=True)
    assert {len(item.checks) for item in survey.key.items.values()} == {5}
    for item in survey.key.items.values():
        for source in item.sources:
            assert source.answers[0] == "pass"
            red = next(n for n, check in enumerate(item.checks) if "red" in check.question)
            assert source.answers[red] == ("fail" if source.method == "plainmethod" else "pass")


def test_fewer_prompts_are_the_same_prompts_in_every_order(runs):
    few = [{shot.sample.prompt for shot in survey_of(runs, prompts=2, seed=seed).shots.values()} for seed in range(3)]
    assert few[0] == few[1] == few[2]
    assert len(few[0]) == 2


def test_pictures_can_lie_beside_the_page(runs, tmp_path):
    written = leave(runs, tmp_path / "out", beside=True)
    names = {path.name for path in written.pictures.iterdir()}
    assert names == {f"{id}.png" for id in key_of(written).items}
    for item in told(written.page)["items"]:
        assert (written.page.parent / item["picture"]).is_file()


def test_all_pictures_have_the_size_of_the_smallest():
    sizes = [record("00-00", width=1024, height=1024), record("00-01", width=640, height=512)]
    assert common_side(sizes) == 640
    assert common_side(sizes[:1] * 2) == 768
    assert common_side([record("00-00", width=4096, height=512)]) == 768


def test_an_unknown_criterion_is_told_with_those_that_are_known():
    with pytest.raises(SettingsError, match="'beauty' is no criterion; known are interactions, layout"):
        criteria_named(["beauty"])
    assert [criterion.id for criterion in CRITERIA.values()] == ["interactions", "layout"]


def test_nothing_to_rate_is_told():
    with pytest.raises(SettingsError, match="no image to rate"):
        make_survey([], tuple(CRITERIA.values()))


def test_a_metric_in_the_critics_place_is_not_taken_for_a_critic(tmp_path):
    class Seed:
        async def score(self, image, prompt, store):
            return float(image.seed)

    parts = roles({}) | {"critic": MetricCritic("seed", lambda: OneByOne(Seed()))}
    run(PROMPTS[0], out=tmp_path / "best" / "a", policy=BestOfN(n=1), **parts)
    [item] = survey_of([str(tmp_path / "best")], checks=True).key.items.values()
    assert (item.sources[0].score, item.sources[0].confidence, item.sources[0].answers) == (None, None, {})


def test_methods_keep_the_order_in_which_they_were_named(runs):
    assert survey_of(runs).key.methods == tuple(SEEDS)
    assert survey_of(runs[::-1]).key.methods == tuple(SEEDS)[::-1]
