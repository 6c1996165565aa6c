"""Requests become batches, batches become images, and one caller's trouble is no other's."""

import asyncio
import contextvars
import operator
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, TypedDict

import pytest
import torch
from langgraph.graph import START, StateGraph
from langgraph.types import Send
from torch.utils._python_dispatch import TorchDispatchMode

from detailscribe.state import Attempt
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.errors import MissingLatentError, ModelError, SettingsError

STEPS = 6
TOLERANCE = 1e-4
"""Between an image alone and in a batch, in float32."""
SHORT, LONG = "a cat", "a red dog riding a boat and a cat holding a blue boat"


@pytest.fixture
def one(draw):
    """An image with the prompt and seed that its name gives; ``source`` makes it a refinement at step 2."""

    def drawn(model, id, prompt=SHORT, source=None, **more):
        if source is None:
            return draw(model, id, prompt, sum(id.encode()), **more)
        return draw(model, id, LONG, source.seed, source=source, **{"start_step": 2} | more)

    return drawn


class Drawn(TypedDict):
    drawn: Annotated[list[str], operator.add]


class Counter:
    """Rows of each of the denoiser's forward passes."""

    def __init__(self, model: LocalDiffusion) -> None:
        self.rows: list[int] = []
        self.before = lambda step: None
        model.pipe.transformer.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module, args, kwargs) -> None:
        self.before(len(self.rows))
        self.rows.append(len(kwargs["hidden_states"]))


async def rejoined() -> bool:
    """Whether the owner's thread ends by itself soon."""
    for _ in range(200):
        if not [thread for thread in threading.enumerate() if thread.name == "detailscribe-diffusion"]:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_a_record_says_how_the_image_was_made(model, one):
    first, other = await asyncio.gather(one(model, "a", keep_steps=(0, 2)), one(model, "b", LONG, parent="a"))
    assert (first.id, first.origin, first.parent, first.prompt, first.round) == ("a", "generate", None, SHORT, 0)
    assert (first.steps, first.start_step, first.start_sigma, first.evaluations) == (STEPS, 0, 1.0, 2 * STEPS)
    assert (first.width, first.height, first.guidance, first.model) == (144, 144, 4.5, model.model)
    assert first.trajectory == {0: "latents/a.k00.safetensors", 2: "latents/a.k02.safetensors"}
    assert (other.origin, other.parent, other.trajectory) == ("reseed", "a", {})
    assert min(first.seconds, other.seconds) > 0
    assert min(first.waited, other.waited) >= 0

    again = await one(model, "c", source=first, keep_steps=(0, 2, 4))
    assert (again.origin, again.parent, again.operator, again.start_step) == ("refine", "a", "resume", 2)
    assert again.start_sigma == pytest.approx(float(model.schedule.sigmas[2]))
    assert again.evaluations == 2 * (STEPS - 2)
    assert again.trajectory == {
        0: "latents/a.k00.safetensors",
        2: "latents/c.k02.safetensors",
        4: "latents/c.k04.safetensors",
    }


async def test_without_guidance_a_step_is_one_evaluation(folders, one):
    model = LocalDiffusion.load(folders["one_clip"], steps=STEPS, guidance=1.0)
    count = Counter(model)
    image = await one(model, "a")
    assert (image.evaluations, count.rows) == (STEPS, [1] * STEPS)


async def test_callers_who_arrive_together_share_every_forward_pass(model, one):
    count = Counter(model)
    images = await asyncio.gather(*(one(model, id) for id in "abc"))
    assert [image.id for image in images] == ["a", "b", "c"]
    assert count.rows == [6] * STEPS


async def test_nodes_of_a_graph_share_every_forward_pass(model, one):
    async def draw(id: str) -> dict[str, list[str]]:
        return {"drawn": [(await one(model, id)).id]}

    graph = StateGraph(Drawn)
    graph.add_node("draw", draw)
    graph.add_conditional_edges(START, lambda state: [Send("draw", id) for id in "abcd"], ["draw"])
    count = Counter(model)
    assert await graph.compile().ainvoke({"drawn": []}) == {"drawn": ["a", "b", "c", "d"]}
    assert count.rows == [8] * STEPS


async def test_a_batch_has_a_limit(folders, one):
    model = LocalDiffusion.load(folders["one_clip"], steps=STEPS, max_batch=2)
    count = Counter(model)
    images = await asyncio.gather(*(one(model, id) for id in "abc"))
    assert [image.id for image in images] == ["a", "b", "c"]
    assert count.rows == [4] * STEPS + [2] * STEPS


async def test_an_image_is_the_same_alone_and_in_a_mixed_batch(model, store, one):
    """Of two lengths of prompt and three start steps."""
    source = await one(model, "s", keep_steps=(2,))
    images = [
        {"id": "a"},
        {"id": "b", "prompt": LONG},
        {"id": "c", "source": source},
        {"id": "d", "source": source, "operator": "inject", "start_step": 4},
    ]
    together = await asyncio.gather(*(one(model, **image) for image in images))
    latents = [read_latent(store, image.latent) for image in together]
    for image, latent in zip(images, latents, strict=True):
        alone = await one(model, **image)
        assert (read_latent(store, alone.latent) - latent).abs().max() < TOLERANCE


async def test_drawn_alone_an_image_is_the_same_to_the_last_bit(folders, store, one):
    model = LocalDiffusion.load(folders["one_clip"], steps=STEPS, max_batch=1)
    count = Counter(model)
    together, _ = await asyncio.gather(one(model, "a"), one(model, "b"))
    latent = read_latent(store, together.latent)
    alone = await one(model, "a")
    assert torch.equal(read_latent(store, alone.latent), latent)
    assert set(count.rows) == {2}


async def test_progress_counts_the_steps_that_are_run(model, one):
    told: list[tuple[str, int, int]] = []
    source = await one(model, "a", keep_steps=(4,), progress=lambda *part: told.append(part))
    assert told == [("a", done, STEPS) for done in range(1, STEPS + 1)]
    told.clear()
    await one(model, "b", source=source, start_step=4, progress=lambda *part: told.append(part))
    assert told == [("b", 1, 2), ("b", 2, 2)]


async def test_progress_sees_the_callers_context(model, one):
    name, seen = contextvars.ContextVar[str]("name"), set[tuple[str, str]]()

    async def caller(id: str) -> None:
        name.set(f"of {id}")
        await one(model, id, progress=lambda image, done, steps: seen.add((image, name.get())))

    await asyncio.gather(caller("a"), caller("b"))
    assert seen == {("a", "of a"), ("b", "of b")}


async def test_one_failure_spoils_nothing_else(model, one):
    source = await one(model, "s", keep_steps=(2,))
    gone = source.model_copy(update={"latent": "latents/gone.safetensors"})

    def broken(*part):
        raise RuntimeError("the caller's progress broke")

    outcomes = await asyncio.gather(
        one(model, "a"),
        one(model, "b", source=source, start_step=3),
        one(model, "c", source=gone, operator="inject"),
        one(model, "d", progress=broken),
        one(model, "e", source=source),
        return_exceptions=True,
    )
    assert [outcome.id for outcome in outcomes if not isinstance(outcome, Exception)] == ["a", "e"]
    assert isinstance(outcomes[1], MissingLatentError)
    assert "step 3 of image 's' was not kept (kept: 2)" in str(outcomes[1])
    assert isinstance(outcomes[2], MissingLatentError)
    assert "progress broke" in str(outcomes[3])


async def test_what_breaks_the_model_reaches_everyone_who_waits(model, one):
    count = Counter(model)

    def breaks(step):
        if not step:
            raise MemoryError("no room")

    count.before = breaks
    outcomes = await asyncio.gather(*(one(model, id) for id in "ab"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [MemoryError, MemoryError]
    count.rows.append(0)
    assert (await one(model, "a")).id == "a"


async def test_a_cancelled_caller_leaves_the_others_alone(model, store, one):
    count, begun, go_on = Counter(model), threading.Event(), threading.Event()
    count.before = lambda step: (begun.set(), go_on.wait(5))
    leaving = asyncio.create_task(one(model, "a"))
    staying = asyncio.create_task(one(model, "b"))
    await asyncio.to_thread(begun.wait, 5)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    go_on.set()
    assert (await staying).id == "b"
    assert not store.path("images/a.png").exists()


async def test_work_that_nobody_waits_for_ends_early(model, store, one):
    count, begun = Counter(model), threading.Event()
    count.before = lambda step: (begun.set(), time.sleep(0.05))
    task = asyncio.create_task(one(model, "a"))
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await rejoined()
    assert len(count.rows) < STEPS
    assert not store.path("images").exists()


def test_each_event_loop_is_served_and_no_thread_is_left(model, one):
    for id in "abc":
        image = asyncio.run(one(model, id))
        assert image.id == id
    assert asyncio.run(rejoined())


def test_event_loops_of_different_threads_share_the_model(model, one):
    with ThreadPoolExecutor(3) as pool:
        images = list(pool.map(lambda id: asyncio.run(one(model, id)), "abc"))
    assert [image.id for image in images] == ["a", "b", "c"]


async def test_an_attempt_that_is_not_whole_is_a_fault_of_the_caller(model, store, one):
    image = await one(model, "s")
    for lacking in ({"id": None}, {"prompt": None}, {"seed": None}, {"source": "other", "operator": "inject"}):
        with pytest.raises(ValueError, match=r"an attempt needs|was not given"):
            await model.draw(Attempt(**{"id": "a", "prompt": SHORT, "seed": 1} | lacking), store, source=None)
    with pytest.raises(ValueError, match="was not given"):
        await model.draw(Attempt(id="a", prompt=SHORT, seed=1), store, source=image)


async def test_a_record_gives_the_attempt_that_makes_it_again(model, store, one):
    source = await one(model, "s", keep_steps=(2,))
    refined = [await one(model, operator, source=source, operator=operator) for operator in ("resume", "inject")]
    for image in (source, *refined):
        again = await model.draw(image.attempt(), store, source=source if image.operator else None)
        assert (again.digest, again.origin, again.prompt) == (image.digest, image.origin, image.prompt)


async def test_steps_beyond_the_schedule_are_not_kept(model, one):
    image = await one(model, "a", keep_steps=(4, STEPS, STEPS + 1))
    assert sorted(image.trajectory) == [4, STEPS]


async def test_a_start_outside_the_schedule_is_refused(model, one):
    source = await one(model, "s")
    with pytest.raises(SettingsError, match="from 0 to 6"):
        await one(model, "a", source=source, operator="inject", start_step=STEPS + 1)


async def test_a_trajectory_of_another_length_cannot_be_resumed(model, one):
    source = await one(model, "s", keep_steps=(2,))
    other = LocalDiffusion(model.pipe, model.model, steps=4)
    with pytest.raises(SettingsError, match="ask for steps=6"):
        await one(other, "a", source=source)
    assert (await one(other, "a", source=source, operator="inject")).steps == 4


async def test_a_latent_of_another_model_is_refused(model, folders, one):
    source = await one(model, "s", keep_steps=(2,))
    other = LocalDiffusion.load(folders["sd3"], steps=STEPS)
    with pytest.raises(ModelError, match="is of another model"):
        await one(other, "a", source=source)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"max_batch": 0}, {"guidance": -1.0}])
def test_settings_that_cannot_work_are_refused(model, wrong):
    with pytest.raises(SettingsError):
        LocalDiffusion(model.pipe, "name", **wrong)


async def test_a_closed_model_says_so(model, one):
    await one(model, "a")
    model.close()
    with pytest.raises(ModelError, match="load it again"):
        await one(model, "b")


async def test_a_run_goes_on_from_disk_after_a_kill(model, store, one):
    source = await one(model, "s", keep_steps=(2,))
    fresh = LocalDiffusion(model.pipe, model.model, steps=STEPS)
    one_way, other = [await one(who, "a", source=source) for who in (model, fresh)]
    assert read_latent(store, one_way.latent).equal(read_latent(store, other.latent))


async def test_a_small_model_computes_in_one_thread_on_a_cpu(model, one):
    """Several would wait for each other busily, at ten times the processor time beside other programs."""
    before, seen = torch.get_num_threads(), set[int]()
    torch.set_num_threads(2)
    for part in (model.pipe.transformer, model.pipe.text_encoder):
        part.register_forward_pre_hook(lambda *called: seen.add(torch.get_num_threads()))
    try:
        await one(model, "a")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == {1}


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for the device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **kwargs or {})


async def test_a_pass_never_waits_for_the_device(model, one):
    """Of guided and plain images, at several steps, with prompts of several lengths; the masked blocks among them."""
    waits, advance = Waits(), model._engine._advance

    def counted(samples):
        with waits:
            advance(samples)

    model._engine._advance = counted
    await asyncio.gather(one(model, "a"), one(model, "b", LONG, guidance=1.0), one(model, "c", steps=3, stop_step=2))
    assert model.statistics.steps > model.statistics.passes
    assert waits.count == 0
    with waits:
        bool(torch.ones(1))
    assert waits.count == 1
