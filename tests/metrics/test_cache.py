"""Scores on disk: what is measured once, and what is measured again."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from detailscribe.state import Entity
from detailscribe.tools.errors import SettingsError
from detailscribe.tools.metrics import LocalMetric, Sample, Score, batched, missing
from detailscribe.tools.metrics.metric import CachedMetric

from .conftest import concepts_of, noise


@dataclass
class Counting(LocalMetric):
    """Gives the length of the prompt, and notes what it was asked."""

    name: str = "counting"
    asked: list[str] = field(default_factory=list)
    uses_concepts: bool = False

    @property
    def identity(self) -> str:
        return self.name

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        self.asked += [sample.prompt for sample in samples]
        return [missing("too short") if len(s.prompt) < 3 else Score(value=len(s.prompt)) for s in samples]


async def values(metric, *samples) -> list[float | None]:
    return [score.value for score in await metric.score_all(samples)]


async def test_a_score_is_measured_once_and_kept_for_the_next_process(sample, tmp_path):
    first, second = sample(noise(1), "a cat"), sample(noise(2), "a heron")
    assert await values(CachedMetric(Counting(), tmp_path), first, second) == [5, 7]
    again = Counting()
    assert await values(CachedMetric(again, tmp_path), second, sample(noise(3), "a fox"), first) == [7, 5, 5]
    assert again.asked == ["a fox"]


async def test_the_same_pixels_are_one_picture_whatever_else_the_file_says(sample, tmp_path):
    metric = Counting()
    one, other = sample(noise(1)), sample(noise(1))
    told = noise(1)
    buffer = io.BytesIO()
    told.save(buffer, "PNG", dpi=(72, 72))
    other.store.write(other.image.path, buffer.getvalue())
    assert await values(CachedMetric(metric, tmp_path), one, other) == [5, 5]
    assert len(metric.asked) == 1


@pytest.mark.parametrize("change", ["picture", "prompt", "metric"])
async def test_another_picture_prompt_or_metric_is_another_score(sample, tmp_path, change):
    await values(CachedMetric(Counting(), tmp_path), sample(noise(1), "a cat"))
    metric = Counting("other" if change == "metric" else "counting")
    picture, prompt = noise(2 if change == "picture" else 1), "a dog" if change == "prompt" else "a cat"
    await values(CachedMetric(metric, tmp_path), sample(picture, prompt))
    assert metric.asked == [prompt]


@pytest.mark.parametrize(("uses", "asked"), [(True, 2), (False, 1)])
async def test_concepts_count_only_where_the_metric_uses_them(sample, tmp_path, uses, asked):
    metric = Counting(uses_concepts=uses)
    for name in ("cat", "dog"):
        concepts = concepts_of("a cat", Entity(id="e", name=name))
        await values(CachedMetric(metric, tmp_path), sample(noise(1), "a cat", concepts))
    assert len(metric.asked) == asked


async def test_a_missing_score_is_not_kept(sample, tmp_path):
    metric = Counting()
    for _ in range(2):
        assert await values(CachedMetric(metric, tmp_path), sample(noise(1), "a")) == [None]
    assert metric.asked == ["a", "a"]


async def test_a_broken_file_is_measured_again(sample, tmp_path):
    metric = Counting()
    await values(CachedMetric(metric, tmp_path), sample(noise(1)))
    [kept] = tmp_path.glob("??/*.json")
    kept.write_text("{")
    assert await values(CachedMetric(metric, tmp_path), sample(noise(1))) == [5]
    assert len(metric.asked) == 2


async def test_a_folder_that_cannot_be_written_is_told(sample, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be written"):
        await values(CachedMetric(Counting(), tmp_path / "file"), sample(noise(1)))


async def test_a_users_own_metric_needs_score_alone(sample):
    class Own:
        async def score(self, image, prompt, store):
            return None if "dog" in prompt else 0.5

    found = await batched(Own()).score_all([sample(noise(1), "a cat"), sample(noise(1), "a dog")])
    assert found == [Score(value=0.5), missing("the metric gives none")]
    assert batched(Counting("x")).name == "x"


def test_a_score_has_a_value_or_a_reason():
    for wrong in ({"value": None}, {"value": 1.0, "reason": "why"}):
        with pytest.raises(ValueError, match="a reason exactly when"):
            Score(**wrong)
