"""What policies ask of the graph beyond one image at a time: branches, fixed seeds, and a cost known beforehand."""

from dataclasses import dataclass

import pytest

from detailscribe.agent import BestOfN, arun, read_events
from detailscribe.agent.policies import Paper
from detailscribe.agent.records.reader import read_run
from detailscribe.state import Budget
from detailscribe.tools.errors import SettingsError

from .fakes import STEPS, FakeDiffusion, roles


@pytest.fixture
async def published(tmp_path):
    """A run of the published procedure, whose drawing passes every check."""
    script = {"01-00": "cat red", "01-01": "red holding", "01-02": "red", "01-03": "red cat"}
    return await arun("a cat holding a red umbrella", policy=Paper(), out=tmp_path / "run", **roles(script))


async def test_four_refinements_come_of_one_decision(published):
    assert [(i.record.id, i.record.parent, i.record.start_step) for i in published.images[1:]] == [
        ("01-00", "00-00", 0),
        ("01-01", "00-00", 2),
        ("01-02", "00-00", 3),
        ("01-03", "00-00", 5),
    ]
    assert [d.image for d in published.decisions] == [i.record.id for i in published.images]
    assert published.best.record.id == "01-02"


async def test_the_record_of_the_run_names_the_same_best_image(published):
    assert read_run(published.folder).best.id == "01-02"


async def test_the_trace_tells_a_decision_once_however_many_images_come_of_it(published):
    decided = [e.image for e in read_events(published.folder / "events.jsonl") if e.type == "decided"]
    assert sorted(decided) == [i.record.id for i in published.images]


@dataclass
class PricedDiffusion(FakeDiffusion):
    evaluations_per_drawing: int = 2 * STEPS


@pytest.mark.parametrize(("evaluations", "drawn"), [(4 * 56, 4), (4 * 56 - 1, 3), (56, 1)])
async def test_first_drawings_stay_within_the_evaluations_where_their_cost_is_known(tmp_path, evaluations, drawn):
    given = roles({}, diffusion=PricedDiffusion())
    run = await arun(
        "a cat", policy=BestOfN(n=8), budget=Budget(evaluations=evaluations), out=tmp_path / "run", **given
    )
    assert len(run.images) == drawn


async def test_a_budget_below_one_drawing_is_refused_in_one_line(tmp_path):
    given = roles({}, diffusion=PricedDiffusion())
    with pytest.raises(SettingsError, match="55 evaluations does not reach for one drawing, which takes 56"):
        await arun("a cat", budget=Budget(evaluations=55), out=tmp_path / "run", **given)
