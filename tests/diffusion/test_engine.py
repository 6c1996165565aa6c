"""The engine over a denoiser of one line: who shares which pass, who leaves, and what happens without room."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detailscribe.tools.diffusion.embeddings import Embedding
from detailscribe.tools.diffusion.engine import BEGUN, Engine, Kind, Statistics, Work, next_pass
from detailscribe.tools.diffusion.sampling import Sample, Schedule
from detailscribe.tools.errors import ModelError

NO_ROOM = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]


def sample(steps: int = 3, start: int = 0, tokens: int = 1, guidance: float = 1.0) -> Sample:
    sigmas = torch.linspace(1, 0, steps + 1)
    words = Embedding(torch.zeros(tokens, 2), torch.zeros(2))
    return Sample(torch.zeros(1, 2, 2), Schedule(sigmas, 1000 * sigmas[:-1]), words, words, guidance, start)


class Denoiser:
    """Takes steps of velocity -1 and writes down what each pass was of."""

    def __init__(self, max_batch: int = 4) -> None:
        self.passes: list[list[int]] = []
        self.before: Callable[[], object] = lambda: None
        self.fits: Callable[[Sequence[Sample]], bool] = lambda samples: True
        self.error = NO_ROOM[0]
        self.names: dict[int, int] = {}
        self.begun: list[int] = []
        self.engine = Engine(self._advance, max_batch)

    def _advance(self, samples: Sequence[Sample]) -> None:
        self.before()
        if not self.fits(samples):
            raise self.error
        self.passes.append([self.names[id(one)] for one in samples])
        for one in samples:
            one.take_step(-torch.ones(1, 2, 2))

    async def draw(self, name: int, one: Sample | None = None, **more: Callable[[Sample], object]) -> Work[Sample, int]:
        one = one or sample()

        def begin() -> Sample:
            self.begun.append(name)
            self.names[id(one)] = name
            return one

        return await self.engine.run(Work(begin, **{"finish": lambda sample: sample.step} | more))

    async def draw_all(self, *samples: Sample) -> list[Work[Sample, int]]:
        return await asyncio.gather(*(self.draw(name, one) for name, one in enumerate(samples)))


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "detailscribe-diffusion"]


async def ended() -> bool:
    """Whether the engine's thread ends soon, with nobody to end it."""
    for _ in range(200):
        if not threads():
            return True
        await asyncio.sleep(0.01)
    return False


async def test_images_at_different_steps_of_different_schedules_share_a_pass():
    denoiser = Denoiser()
    done = await denoiser.draw_all(sample(3), sample(3, start=2), sample(5, start=3))
    assert denoiser.passes == [[0, 1, 2], [0, 2], [0]]
    assert [one.result for one in done] == [3, 3, 5]
    assert [float(one.sample.latent.mean()) for one in done] == pytest.approx([1, 1 / 3, 2 / 5])


async def test_an_image_joins_between_two_steps():
    denoiser, late = Denoiser(), list[asyncio.Task[Work[Sample, int]]]()
    loop, asked = asyncio.get_running_loop(), threading.Event()

    def ask_for_another(one: Sample) -> None:
        if one.step == 1:
            loop.call_soon_threadsafe(lambda: late.append(loop.create_task(denoiser.draw(1))))
            loop.call_soon_threadsafe(lambda: loop.call_later(0.02, asked.set))
            assert asked.wait(5)

    await denoiser.draw(0, on_step=ask_for_another)
    await late[0]
    assert denoiser.passes == [[0], [0, 1], [0, 1], [1]]


async def test_the_oldest_leads_and_its_kind_rides_along():
    """Of two kinds, at most two in a pass."""
    denoiser = Denoiser(max_batch=2)
    await denoiser.draw_all(sample(2), sample(2, tokens=5), sample(1), sample(2), sample(1, tokens=5))
    assert denoiser.passes == [[0, 2], [0, 3], [1, 4], [1], [3]]


kinds = st.builds(Kind, st.sampled_from([(1,), (2,)]), st.integers(1, 4), st.booleans())


@given(st.lists(st.tuples(kinds, st.integers(1, 5)), min_size=1, max_size=30), st.integers(1, 8))
def test_every_image_gets_all_its_steps_in_full_passes(images, most):
    """The oldest is in every pass, and with it those that fit it with least padding."""
    left = [steps for _, steps in images]
    while flight := [i for i, steps in enumerate(left) if steps]:
        here = [images[i][0] for i in flight]
        taken = next_pass(here, most)
        padding = {i: abs(kind.tokens - here[0].tokens) for i, kind in enumerate(here) if kind.fits(here[0])}
        waiting = [(padding[i], i) for i in padding if i not in taken]
        assert taken[0] == 0
        assert len(taken) == min(most, len(padding))
        assert all((padding[i], i) < other for i in taken for other in waiting)
        for i in taken:
            left[flight[i]] -= 1


@given(kinds, kinds)
def test_prompts_of_two_lengths_fit_only_where_both_may_be_padded(one, other):
    same_shape, same_length = one.shape == other.shape, one.tokens == other.tokens
    assert one.fits(other) == (same_shape and (same_length or (one.any_length and other.any_length)))


async def test_memory_is_bounded_by_what_has_begun():
    denoiser, held, finished = Denoiser(max_batch=1), list[int](), list[Sample]()
    denoiser.before = lambda: held.append(len(denoiser.begun) - len(finished))
    await asyncio.gather(*(denoiser.draw(i, finish=finished.append) for i in range(20)))
    assert max(held) == BEGUN
    assert denoiser.begun == list(range(20))


@pytest.mark.parametrize("error", NO_ROOM)
async def test_without_room_the_batch_is_halved_for_good(error):
    denoiser = Denoiser(max_batch=8)
    denoiser.error, denoiser.fits = error, lambda samples: len(samples) <= 2
    done = await denoiser.draw_all(*(sample(2) for _ in range(5)))
    assert [one.result for one in done] == [2] * 5
    assert max(len(one) for one in denoiser.passes) == 2
    tried, denoiser.fits = len(denoiser.passes), lambda samples: True
    await denoiser.draw_all(*(sample(2) for _ in range(4)))
    assert [len(one) for one in denoiser.passes[tried:]] == [2] * 4


@pytest.mark.parametrize("error", NO_ROOM)
async def test_what_does_not_fit_alone_fails_alone(error):
    denoiser = Denoiser()
    denoiser.error, denoiser.fits = error, lambda samples: len(samples[0].prompt.tokens) < 9
    large, small = await asyncio.gather(
        denoiser.draw(0, sample(tokens=9)), denoiser.draw(1, sample(tokens=1)), return_exceptions=True
    )
    assert isinstance(large, ModelError)
    assert "no room in memory for one image" in str(large)
    assert small.result == 3


async def test_what_breaks_a_pass_reaches_all_in_it_and_nobody_else():
    denoiser = Denoiser()

    def breaks() -> None:
        denoiser.before = lambda: None
        raise RuntimeError("the device is lost")

    denoiser.before = breaks
    outcomes = await asyncio.gather(
        denoiser.draw(0), denoiser.draw(1, sample(tokens=4)), denoiser.draw(2), return_exceptions=True
    )
    assert [isinstance(outcome, RuntimeError) for outcome in outcomes] == [True, False, True]


@pytest.mark.parametrize("part", ["on_step", "finish"])
async def test_a_failure_of_one_leaves_the_others_alone(part):
    def breaks(one: Sample) -> None:
        raise ValueError("mine alone")

    denoiser = Denoiser()
    outcomes = await asyncio.gather(denoiser.draw(0, **{part: breaks}), denoiser.draw(1), return_exceptions=True)
    assert isinstance(outcomes[0], ValueError)
    assert outcomes[1].result == 3


@pytest.mark.parametrize("part", ["begin", "pass", "on_step", "finish", "kind"])
async def test_whatever_the_engines_thread_raises_reaches_the_caller(part, monkeypatch):
    """asyncio refuses to raise ``StopIteration``, as ``next(module.parameters())`` of a module without any does."""

    def ends(*called: object) -> None:
        next(iter([]))

    denoiser = Denoiser()
    work = {"begin": sample, "finish": lambda one: 0} | ({part: ends} if part not in ("pass", "kind") else {})
    denoiser.before = ends if part == "pass" else denoiser.before
    denoiser.engine._advance = lambda samples: (denoiser.before(), [one.take_step(one.latent) for one in samples])
    if part == "kind":
        monkeypatch.setattr("detailscribe.tools.diffusion.engine.next_pass", ends)
        monkeypatch.setattr(threading, "excepthook", lambda raised: None)
    with pytest.raises(ModelError, match="StopIteration"):
        await asyncio.wait_for(denoiser.engine.run(Work(**work)), 5)
    assert await ended()
    monkeypatch.undo()
    denoiser.before = lambda: None
    assert (await denoiser.engine.run(Work(sample, lambda one: one.step))).result == 3


async def test_a_cancelled_image_leaves_at_the_next_step():
    denoiser = Denoiser()
    begun, go_on = threading.Event(), threading.Event()
    denoiser.before = lambda: (begun.set(), go_on.wait(5))
    leaving, staying = asyncio.create_task(denoiser.draw(0)), asyncio.create_task(denoiser.draw(1))
    await asyncio.to_thread(begun.wait, 5)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    go_on.set()
    await staying
    assert denoiser.passes == [[0, 1], [1], [1]]


async def test_time_is_shared_out_by_rows(monkeypatch):
    """A guided image has two of three rows of every pass, and the third image has to wait for both."""
    now = [0.0]
    monkeypatch.setattr("detailscribe.tools.diffusion.engine.perf_counter", lambda: now[0])
    denoiser = Denoiser(max_batch=2)
    denoiser.before = lambda: now.append(now.pop() + 3.0)
    guided, plain, last = await denoiser.draw_all(sample(guidance=2.0), sample(), sample())
    assert [(one.seconds, one.waited) for one in (guided, plain, last)] == [(6.0, 0.0), (3.0, 0.0), (9.0, 9.0)]
    assert denoiser.engine.statistics == Statistics(passes=6, steps=9, rows=12, seconds=18.0)


def test_an_idle_engine_has_no_thread_and_serves_each_event_loop():
    denoiser = Denoiser()
    for name in range(3):
        assert asyncio.run(denoiser.draw(name)).result == 3
        assert asyncio.run(ended())


async def test_an_engine_nobody_holds_is_collected():
    denoiser = Denoiser()
    await denoiser.draw(0)
    assert await ended()
    engine = weakref.ref(denoiser.engine)
    del denoiser
    gc.collect()
    assert engine() is None


async def test_a_closed_engine_fails_what_is_in_flight_and_what_comes():
    denoiser, begun = Denoiser(max_batch=1), threading.Event()
    denoiser.before = lambda: (begun.set(), threading.Event().wait(0.01))
    flying = [asyncio.create_task(denoiser.draw(i, sample(1000))) for i in range(2)]
    await asyncio.to_thread(begun.wait, 5)
    denoiser.engine.close()
    assert not threads()
    for one in [*flying, asyncio.create_task(denoiser.draw(2))]:
        with pytest.raises(ModelError, match="closed"):
            await one
    assert denoiser.begun == [0, 1]
    denoiser.engine.close()


async def test_an_engine_that_fails_to_rest_works_again():
    seen = list[BaseException | None]()
    hook, threading.excepthook = threading.excepthook, lambda told: seen.append(told.exc_value)
    try:
        denoiser = Denoiser()
        denoiser.engine = Engine(denoiser._advance, 4, on_idle=lambda: 1 / 0)
        for name in range(2):
            assert (await denoiser.draw(name)).result == 3
            assert await ended()
    finally:
        threading.excepthook = hook
    assert [type(error) for error in seen] == [ZeroDivisionError] * 2
