"""What refinements keep is measured: checks, pixels outside of what was wrong, and LPIPS by given weights."""

import io
from collections import OrderedDict
from math import nan

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_model
from torch import nn

from detailscribe.agent.evaluation.collect import Shot
from detailscribe.agent.evaluation.measure import changed_outside, kept, preserved
from detailscribe.agent.experiments.measures import MEASURES
from detailscribe.agent.experiments.rows import ExperimentRow, with_result
from detailscribe.state import Budget, RunResult, Spend
from detailscribe.tools.errors import ModelError
from detailscribe.tools.files import Store
from detailscribe.tools.metrics import Sample

from ..agent.fakes import PROMPT, concepts, critique, record

MEASURED = ("kept", "outside_changed", "lpips")
LEFT = ((0.0, 0.0, 0.25, 1.0),)
OLD, NEW = record("00-00"), record("01-00", "00-00", "refine")
WEIGHTS = ((3, 8, 11, "net.slice1.0"), (8, 12, 5, "net.slice2.3"), (12, 12, 3, "net.slice3.6"))
WEIGHTS += ((12, 12, 3, "net.slice4.8"), (12, 12, 3, "net.slice5.10"))


def half(left: int, right: int) -> Image.Image:
    """A grey on either side, of 72 pixels; the margin of a box of the left quarter ends at 30."""
    picture = Image.new("RGB", (72, 72), (right,) * 3)
    picture.paste((left,) * 3, (0, 0, 30, 72))
    return picture


def wrong_on_the_left(image: str, fails: str):
    seen = critique(image, fails)
    verdicts = [v.model_copy(update={"boxes": LEFT}) if v.answer == "fail" else v for v in seen.verdicts]
    return seen.model_copy(update={"verdicts": tuple(verdicts)})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    for image, picture in ((OLD, half(0, 0)), (NEW, half(255, 51))):
        file = io.BytesIO()
        picture.save(file, "PNG")
        store.write(image.path, file.getvalue())
    return store


@pytest.fixture
def lpips(tmp_path):
    """The modules of ``lpips.LPIPS(net="alex")`` that have weights, smaller and random; it shares them under two
    names, so that only ``save_model`` takes it."""
    torch.manual_seed(0)
    module, lins = nn.Module(), []
    module.net = nn.Module()
    for n, (inputs, outputs, side, name) in enumerate(WEIGHTS):
        _, part, place = name.split(".")
        module.net.add_module(part, nn.Sequential(OrderedDict({place: nn.Conv2d(inputs, outputs, side)})))
        lins.append(nn.Module())
        lins[n].model = nn.Sequential(nn.Dropout(), nn.Conv2d(outputs, 1, 1, bias=False))
        nn.init.uniform_(lins[n].model[1].weight)
        module.add_module(f"lin{n}", lins[n])
    module.lins = nn.ModuleList(lins)
    save_model(module, str(tmp_path / "lpips.safetensors"))
    return tmp_path / "lpips.safetensors"


def shots(store, fails: str = "red"):
    sample = Sample(NEW, PROMPT, store, concepts())
    before = (OLD, wrong_on_the_left("00-00", fails))
    refined = Shot("ours", "", "", "run", 7, sample, critique("01-00", "cat"), before)
    return [refined, Shot("ours", "", "", "run", 7, sample, None)]


def test_what_passed_and_passes_still():
    assert kept({"a": "pass", "b": "pass", "c": "fail"}, {"a": "pass", "b": "unknown", "c": "pass"}) == 0.5
    assert kept({"a": "fail"}, {"a": "pass"}) is None


def test_pixels_outside_of_the_boxes_with_their_margin():
    assert changed_outside(half(0, 0), half(255, 51), LEFT) == pytest.approx(0.2)
    assert changed_outside(half(0, 0), half(255, 0), LEFT) == 0
    assert changed_outside(half(0, 0), half(255, 51), ()) is None
    assert changed_outside(half(0, 0), half(0, 0), ((0, 0, 1, 1),)) is None
    assert changed_outside(half(0, 0), half(0, 0).resize((36, 36)), LEFT) is None


def test_refinements_are_measured_and_first_drawings_are_not(store, lpips):
    found = {one.metric: one for one in preserved(shots(store), lpips)}
    assert [(name, one.image) for name, one in found.items()] == [(name, "01-00") for name in MEASURED]
    assert (found["kept"].value, found["outside_changed"].value) == (0.75, pytest.approx(0.2))
    assert found["lpips"].value > 0
    nowhere = {one.metric: one for one in preserved(shots(store, fails=""))}
    assert nowhere["outside_changed"].reason == "the critic said of nothing where it is wrong"
    assert "lpips" not in nowhere


def as_published(weights, first, second):
    """Equation 1 of the paper over the layers of AlexNet."""
    pixels = torch.tensor([[*one.tobytes()] for one in (first, second)]).reshape(2, 72, 72, 3) / 127.5 - 1
    x = (pixels - torch.tensor([-0.030, -0.088, -0.188])) / torch.tensor([0.458, 0.448, 0.450])
    x, total = x.permute(0, 3, 1, 2), 0.0
    for n, (*_, name) in enumerate(WEIGHTS):
        x = nn.MaxPool2d(3, 2)(x) if n in (1, 2) else x
        how = {"stride": 4 if n == 0 else 1, "padding": 2 if n < 2 else 1}
        x = nn.functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **how).relu()
        unit = x / x.norm(dim=1, keepdim=True)
        total += ((unit[0] - unit[1]) ** 2 * weights[f"lin{n}.model.1.weight"][0]).sum(0).mean().item()
    return total


def test_the_same_picture_is_at_no_distance(lpips):
    from detailscribe.tools.metrics.local import Lpips

    network = Lpips(lpips)
    assert network.distance(half(9, 80), half(9, 80)) == 0
    near, far = (network.distance(half(0, 0), other) for other in (half(0, 20), half(255, 200)))
    assert 0 < near < far
    assert near == pytest.approx(as_published(load_file(lpips), half(0, 0), half(0, 20)), rel=1e-4)
    assert network.distance(half(0, 0), half(0, 0).resize((80, 72))) is None
    small = Image.new("RGB", (62, 80))
    assert network.distance(small, small) is None
    with pytest.raises(ModelError, match=r"\A.*has no weights of LPIPS.*save_model.*\Z"):
        Lpips(lpips.with_name("other.safetensors"))


def test_an_experiments_row_has_it_for_each_refinement(store):
    looks = (wrong_on_the_left("00-00", "red"), critique("01-00"))
    ends = [{"image": image.id, "rule": "all_pass", "reason": "so"} for image in (OLD, NEW)]
    result = RunResult(
        run="a", prompt=PROMPT, concepts=concepts(), best=NEW, images=(OLD, NEW), critiques=looks, decisions=ends,
        stop="all_pass", spend=Spend(),
    )  # fmt: skip
    row = with_result(ExperimentRow(job="a", label="a", prompt=PROMPT, seed=1, budget=Budget()), result, {}, store)
    assert [image.outside_changed for image in row.images] == [None, pytest.approx(0.2)]
    assert MEASURES["outside_changed"](row) == pytest.approx(0.2)
    assert (row.lpips, MEASURES["lpips"](row)) == (None, pytest.approx(nan, nan_ok=True))
    store.path(OLD.path).unlink()
    assert with_result(row, result, {}, store).images[1].outside_changed is None
