"""Models are loaded at their first use, one at a time, and shared by the runs of a process."""

import asyncio
import gc
import json
import threading
import time

import pytest

from detailscribe.agent.settings import checks
from detailscribe.agent.settings.checks import Finding, look_at_diffusion
from detailscribe.agent.settings.loading import load_settings
from detailscribe.agent.settings.models import Models
from detailscribe.agent.settings.settings import Settings
from detailscribe.tools.errors import ModelError
from detailscribe.tools.roles import Lazy, model_name, ready

from .fakes import FakeDecomposer, FakeDiffusion, ScriptedCritic


def settings_of(**sections) -> Settings:
    return load_settings(Settings(), sections)


async def test_concurrent_callers_wait_for_one_making():
    made = []

    def make():
        time.sleep(0.05)
        made.append(threading.current_thread())
        return object()

    lazy = Lazy(make)
    first, *others = await asyncio.gather(*(lazy.get() for _ in range(8)))
    assert all(other is first for other in others)
    assert len(made) == 1
    assert made[0] is not threading.current_thread()


async def test_a_failure_reaches_every_caller_and_can_be_tried_again():
    attempts = []

    def make():
        attempts.append(1)
        time.sleep(0.05)
        if len(attempts) == 1:
            raise ModelError("no memory")
        return "made"

    lazy = Lazy(make)
    failures = await asyncio.gather(*(lazy.get() for _ in range(3)), return_exceptions=True)
    assert [type(failure) for failure in failures] == [ModelError] * 3
    assert await lazy.get() == "made"
    assert len(attempts) == 2


async def test_a_caller_that_is_cancelled_leaves_the_others_waiting():
    lazy = Lazy(lambda: time.sleep(0.1) or "made")
    first, second = asyncio.create_task(lazy.get()), asyncio.create_task(lazy.get())
    await asyncio.sleep(0.02)
    first.cancel()
    assert await second == "made"


async def test_no_two_models_load_at_once():
    loading, most = 0, 0

    def make():
        nonlocal loading, most
        loading += 1
        most = max(most, loading)
        time.sleep(0.02)
        loading -= 1

    await asyncio.gather(*(Lazy(make).get() for _ in range(4)))
    assert most == 1


def test_one_event_loop_after_the_other_gets_the_same_model():
    lazy = Lazy(object)
    assert asyncio.run(lazy.get()) is asyncio.run(lazy.get())


async def test_models_that_are_loaded_by_hand_take_turns_too():
    from detailscribe.tools.quiet import quiet_loading

    loading, most = 0, 0

    def load():
        nonlocal loading, most
        with quiet_loading():
            loading += 1
            most = max(most, loading)
            time.sleep(0.02)
            loading -= 1

    await asyncio.gather(*(asyncio.to_thread(load) for _ in range(3)), Lazy(load).get())
    assert most == 1


def test_runs_with_the_same_settings_share_local_models():
    assert Models(settings_of()).critic is Models(settings_of(run={"seed": 5})).critic
    one = Models(settings_of()).diffusion
    assert Models(settings_of(run={"seed": 5, "policy": "single"})).diffusion is one
    assert Models(settings_of(run={"preset": "embedded+base"})).diffusion is one
    assert Models(settings_of(run={"steps": 5})).diffusion is not one
    assert Models(settings_of(diffusion={"max_batch": 1})).diffusion is not one


def test_only_the_latest_model_stays_when_nobody_uses_it():
    from detailscribe.agent.settings import models

    for steps in range(1, 9):
        Models(settings_of(run={"steps": steps}))
    gc.collect()
    assert sum(key[0] == "diffusion" for key in models._ALIVE) <= 1


async def test_given_roles_stand_in_for_those_of_the_settings():
    decomposer, diffusion, critic = FakeDecomposer(), FakeDiffusion(), ScriptedCritic({})
    models = Models(settings_of(), decomposer=decomposer, diffusion=diffusion, critic=critic)
    await models.check()
    assert await ready(models.decomposer) is decomposer
    assert (models.diffusion, models.critic, models.language) == (diffusion, critic, None)
    assert model_name(models.diffusion) == "fake@0"


async def test_a_check_refuses_a_model_that_is_not_there_before_anything_loads():
    with pytest.raises(ModelError, match="no diffusers model in nowhere/at/all"):
        await Models(settings_of(diffusion={"model": "nowhere/at/all"})).check()


@pytest.mark.parametrize("files", [{"weights": "/gone.safetensors"}, {"loras": {"/gone.safetensors": 0.8}}])
async def test_a_file_that_is_not_there_is_refused_for_the_embedded_model_too(files):
    with pytest.raises(ModelError, match="there is no file /gone"):
        await Models(settings_of(diffusion=files)).check()


async def test_a_model_that_is_loaded_is_not_asked_whether_it_fits_beside_itself(tmp_path, monkeypatch):
    index = {"_class_name": "FluxPipeline", "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    refusal = Finding(topic="memory", status="problem", text="no room")
    monkeypatch.setattr(checks, "_memory", lambda *_: refusal)
    models = Models(settings_of(diffusion={"model": str(tmp_path)}))
    models.diffusion = Lazy(FakeDiffusion)
    with pytest.raises(ModelError, match="no room"):
        await models.check()
    await models.diffusion.get()
    await models.check()


@pytest.mark.parametrize(
    "name", ["./sd35", "../sd35", "~/sd35", "sd35", "C:/sd35", "C:\\sd35", "a/b/c", "-a/b", "a/.b"]
)
def test_a_folder_that_is_not_there_is_no_model_of_the_hub(name):
    settings = load_settings(Settings(diffusion={"model": name}))
    with pytest.raises(ModelError, match="no diffusers model in"):
        next(iter(look_at_diffusion(settings))).refuse()
