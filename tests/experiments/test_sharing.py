"""Equal images are made once, and every run has its own copy of them."""

import asyncio
from dataclasses import replace

import pytest

from detailscribe.agent.experiments.sharing import Sharing, sharing
from detailscribe.tools.diffusion.png import read_record
from detailscribe.tools.roles import GenerateRequest, KnowsItsCost, RedenoiseRequest
from detailscribe.tools.store import Store

from ..agent.fakes import FakeDiffusion

ONE = GenerateRequest("00-00", 0, "a cat", 7, keep_steps=(4,))


class WithLatents(FakeDiffusion):
    """Leaves latents that tell how they came about, and can be made to fail or wait."""

    gate: asyncio.Event | None = None

    def _make(self, request, store, progress, **changes):
        image = super()._make(request, store, progress, **changes)
        for reference in (image.latent, *image.trajectory.values()):
            store.write(reference, f"{request.prompt} {request.seed}".encode())
        return image

    async def generate(self, requests, store, progress=None):
        if self.gate is not None:
            await self.gate.wait()
        return await super().generate(requests, store, progress)


@pytest.fixture
def model():
    return WithLatents()


@pytest.fixture
def stores(tmp_path):
    return Store(tmp_path / "a"), Store(tmp_path / "b")


async def test_an_equal_drawing_is_made_once_and_copied_under_its_own_id(model, stores):
    shared = Sharing(model)
    [first] = await shared.generate([ONE], stores[0])
    [copy] = await shared.generate([replace(ONE, id="02-01", round=2, parent="01-00")], stores[1])
    assert len(model.requests) == 1
    assert (copy.id, copy.round, copy.parent, copy.origin) == ("02-01", 2, "01-00", "reseed")
    assert (copy.path, copy.latent) == ("images/02-01.png", "latents/02-01.safetensors")
    assert copy.trajectory == {4: "latents/02-01-4.safetensors"}
    assert (copy.evaluations, copy.seconds) == (first.evaluations, first.seconds)
    assert stores[1].read(copy.trajectory[4]) == b"a cat 7"
    assert read_record(stores[1].path(copy.path)) == copy


@pytest.mark.parametrize(
    "change",
    [{"prompt": "a dog"}, {"seed": 8}, {"keep_steps": ()}, {"stop_step": 9}, {"steps": 4}, {"guidance": 1.0}],
    ids=lambda change: next(iter(change)),
)
async def test_whatever_decides_about_an_image_makes_it_another(model, stores, change):
    shared = Sharing(model)
    await shared.generate([ONE], stores[0])
    await shared.generate([replace(ONE, **change)], stores[0])
    assert len(model.requests) == 2


async def test_a_drawing_that_is_under_way_is_waited_for(model, stores):
    model.gate = asyncio.Event()
    shared = Sharing(model)
    both = [asyncio.create_task(shared.generate([ONE], store)) for store in stores]
    await asyncio.sleep(0)
    model.gate.set()
    [[one], [other]] = await asyncio.gather(*both)
    assert len(model.requests) == 1
    assert one == other


async def test_who_waits_for_a_run_that_is_cancelled_draws_by_itself(model, stores):
    model.gate = asyncio.Event()
    shared = Sharing(model)
    first, second = [asyncio.create_task(shared.generate([ONE], store)) for store in stores]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    model.gate.set()
    [image] = await second
    assert image.id == "00-00"
    with pytest.raises(asyncio.CancelledError):
        await first
    await shared.generate([ONE], stores[0])
    assert stores[0].path("images/00-00.png").exists()


async def test_an_error_is_not_remembered(model, stores):
    model.breaks_at = "00-00"
    shared = Sharing(model)
    with pytest.raises(RuntimeError):
        await shared.generate([ONE], stores[0])
    model.breaks_at = None
    assert (await shared.generate([ONE], stores[0]))[0].id == "00-00"


async def test_refinements_of_equal_latents_are_shared_whatever_their_sources_are_called(model, stores):
    shared = Sharing(model)
    [one] = await shared.generate([ONE], stores[0])
    [other] = await shared.generate([replace(ONE, id="00-01")], stores[1])
    made = len(model.requests)
    asked = [
        RedenoiseRequest("01-00", 1, "a red cat", source, operator, 4, 7)
        for source in (one,)
        for operator in ("inject", "resume")
    ]
    for request in asked:
        await shared.redenoise([request], stores[0])
        [copy] = await shared.redenoise([replace(request, id="01-05", source=other)], stores[1])
        assert (copy.id, copy.parent, copy.origin, copy.operator) == ("01-05", "00-01", "refine", request.operator)
    assert len(model.requests) - made == 2
    [strange] = await shared.generate([replace(ONE, seed=9)], stores[0])
    await shared.redenoise([replace(asked[0], source=strange)], stores[0])
    assert len(model.requests) - made == 4


async def test_what_refers_to_latents_of_its_source_is_not_shared(model, stores):
    shared = Sharing(model)
    [one] = await shared.generate([ONE], stores[0])
    request = RedenoiseRequest("01-00", 1, "a red cat", one, "resume", 4, 7, keep_steps=(1, 4))
    for _ in range(2):
        await shared.redenoise([request], stores[0])
    assert len(model.requests) == 3


async def test_images_of_a_server_that_takes_no_seed_are_never_shared(model, stores):
    class Unseeded(WithLatents):
        async def generate(self, requests, store, progress=None):
            made = await super().generate(requests, store, progress)
            return [image.model_copy(update={"seeded": False}) for image in made]

    model = Unseeded()
    shared = Sharing(model)
    for store in stores:
        await shared.generate([ONE], store)
    assert len(model.requests) == 2


async def test_memory_is_bounded_and_the_oldest_goes_first(model, stores):
    shared = Sharing(model, memory=400)
    for seed in (1, 2, 3, 1):
        await shared.generate([replace(ONE, seed=seed)], stores[0])
    assert len(model.requests) == 4
    await shared.generate([replace(ONE, seed=1)], stores[0])
    assert len(model.requests) == 4


def test_it_knows_the_cost_where_the_model_does(model):
    assert not isinstance(sharing(model), KnowsItsCost)
    model.evaluations_per_drawing = 56
    known = sharing(model)
    assert isinstance(known, KnowsItsCost)
    assert known.evaluations_per_drawing == 56
    assert known.model == "fake@0"
