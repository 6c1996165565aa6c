"""One graph process that draws on engines elsewhere: the images that it would draw itself, in its own store."""

import asyncio
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detailscribe.agent import BestOfN, run
from detailscribe.state import Attempt
from detailscribe.tools.diffusion import RemoteDiffusion
from detailscribe.tools.errors import MissingLatentError, ModelError
from detailscribe.tools.files import Store

from .quick import Looker, Notes, Painter, Reader

PROMPT = "a cat holding a red umbrella"
TOLERANCE = 2
"""Of 255, by which a picture may differ."""


def attempt(number, **changes):
    fields = {"id": f"00-{number:02d}", "prompt": PROMPT, "seed": number, "steps": 6}
    return Attempt(**(fields | changes))


def pixels(store, record):
    return np.asarray(Image.open(store.path(record.path)).convert("RGB"), np.int16)


@pytest.mark.slow
async def test_engines_draw_and_refine_what_a_local_model_does(ray, tmp_path):
    from detailscribe.agent.settings.presets import EMBEDDED_DIFFUSION
    from detailscribe.tools.diffusion import LocalDiffusion

    local = LocalDiffusion.load(EMBEDDED_DIFFUSION, steps=6, guidance=3.0)
    here, there, seen = Store(tmp_path / "here"), Store(tmp_path / "there"), []
    with RemoteDiffusion.load(EMBEDDED_DIFFUSION, engines=2, steps=6, guidance=3.0) as remote:
        assert remote.evaluations_per_drawing == local.evaluations_per_drawing
        assert (remote.model, remote.schedule.steps) == (local.model, local.schedule.steps)
        asked = [attempt(n, keep_steps=(2,)) for n in range(3)]
        drawn = await asyncio.gather(*(local.draw(one, here) for one in asked))
        far = await asyncio.gather(
            *(remote.draw(one, there, progress=lambda *step: seen.append(step)) for one in asked)
        )
        for one, other in zip(drawn, far, strict=True):
            same = one.model_dump(exclude={"seconds", "waited", "digest"})
            assert same == other.model_dump(exclude={"seconds", "waited", "digest"})
            assert np.abs(pixels(here, one) - pixels(there, other)).max() <= TOLERANCE
            assert there.path(other.latent).is_file()
            assert there.path(other.trajectory[2]).is_file()
        assert {(id, done) for id, done, _ in seen} >= {(image.id, 6) for image in far}

        for operator, step in (("inject", 2), ("resume", 2), ("resume", 6)):
            how = {"round": 1, "source": drawn[0].id, "parent": drawn[0].id, "operator": operator, "start_step": step}
            again = attempt(9, id=f"01-{operator}{step}", **how)
            one = await local.draw(again, here, source=drawn[0])
            other = await remote.draw(again, there, source=far[0])
            assert np.abs(pixels(here, one) - pixels(there, other)).max() <= TOLERANCE
        there.path(far[0].trajectory[2]).unlink()
        gone = attempt(9, id="01-00", source=far[0].id, operator="resume", start_step=2)
        with pytest.raises(MissingLatentError):
            await remote.draw(gone, there, source=far[0])


def test_a_run_draws_on_engines_and_has_all_files_in_its_own_folder(ray, tmp_path):
    notes = Notes(tmp_path / "notes")
    folder = str(notes.folder)
    before = {*Path(tempfile.gettempdir()).glob("detailscribe-*")}
    with RemoteDiffusion(lambda: Painter(Notes(folder), 0.0), engines=2) as remote:
        done = run(
            "a thing",
            out=tmp_path / "run",
            policy=BestOfN(n=4),
            decomposer=Reader(),
            critic=Looker(),
            diffusion=remote,
        )
    assert {*Path(tempfile.gettempdir()).glob("detailscribe-*")} <= before
    assert len(done.images) == 4
    assert all(image.path.is_file() for image in done.images)
    pids = {pid for _, pid, _ in notes.read("begin")}
    assert len(pids) == 2, "both engines drew"
    assert os.getpid() not in pids
    deadline = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


async def test_a_lost_engine_comes_again_and_its_image_with_it(ray, tmp_path):
    notes = Notes(tmp_path / "notes")
    folder = str(notes.folder)

    def crashes_once():
        painter = Painter(Notes(folder), 0.0)
        if not Notes(folder).read("begin"):
            Notes(folder).write("begin", "the first")
            painter.draw = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        return painter

    with RemoteDiffusion(crashes_once) as remote:
        record = await remote.draw(attempt(1), Store(tmp_path / "run"), progress=lambda *_: None)
        assert (tmp_path / "run" / record.path).is_file()


def test_a_model_that_cannot_be_loaded_ends_the_start(ray):
    def broken():
        from detailscribe.tools.errors import ModelError

        raise ModelError("the weights are gone")

    with pytest.raises(ModelError, match="the weights are gone"):
        RemoteDiffusion(broken)
