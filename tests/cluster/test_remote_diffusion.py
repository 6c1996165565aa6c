"""One graph process that draws on engines elsewhere: the images that it would draw itself, in its own store."""

import os
import signal
import time

import numpy as np
import pytest
from PIL import Image

from detailscribe.agent import BestOfN, run
from detailscribe.state import ImageRecord
from detailscribe.tools.cluster.memory_store import MemoryStore, files_of
from detailscribe.tools.cluster.remote import RemoteDiffusion
from detailscribe.tools.errors import MissingLatentError, ModelError
from detailscribe.tools.roles import GenerateRequest, RedenoiseRequest
from detailscribe.tools.store import Store

from .quick import Looker, Notes, Painter, Reader

PROMPT = "a cat holding a red umbrella"
TOLERANCE = 2
"""Of 255, by which a picture may differ."""


def request(number, **changes):
    fields = {"id": f"00-{number:02d}", "round": 0, "prompt": PROMPT, "seed": number, "steps": 6}
    return GenerateRequest(**(fields | changes))


def pixels(store, record):
    return np.asarray(Image.open(store.path(record.path)).convert("RGB"), np.int16)


@pytest.mark.slow
async def test_engines_draw_and_take_up_again_what_a_local_model_does(ray, tmp_path):
    from detailscribe.agent.roles import EMBEDDED_DIFFUSION
    from detailscribe.tools.diffusion import LocalDiffusion

    local = LocalDiffusion.load(EMBEDDED_DIFFUSION, steps=6, guidance=3.0)
    here, there, seen = Store(tmp_path / "here"), Store(tmp_path / "there"), []
    with RemoteDiffusion.load(EMBEDDED_DIFFUSION, engines=2, steps=6, guidance=3.0) as remote:
        assert remote.evaluations_per_drawing == local.evaluations_per_drawing
        assert (remote.model, remote.schedule.steps) == (local.model, local.schedule.steps)
        asked = [request(n, keep_steps=(2,)) for n in range(3)]
        drawn = await local.generate(asked, here)
        far = await remote.generate(asked, there, lambda *step: seen.append(step))
        for one, other in zip(drawn, far, strict=True):
            assert one.model_copy(update={"seconds": 0, "waited": 0}) == other.model_copy(
                update={"seconds": 0, "waited": 0}
            )
            assert np.abs(pixels(here, one) - pixels(there, other)).max() <= TOLERANCE
            assert there.path(other.latent).is_file()
            assert there.path(other.trajectory[2]).is_file()
        assert {(id, done) for id, done, _ in seen} >= {(image.id, 6) for image in far}

        def again(source: ImageRecord, operator):
            id = f"01-{operator}"
            return RedenoiseRequest(
                id=id, round=1, prompt=PROMPT, source=source, operator=operator, start_step=2, seed=9, steps=6
            )

        for operator in ("inject", "resume"):
            [one] = await local.redenoise([again(drawn[0], operator)], here)
            [other] = await remote.redenoise([again(far[0], operator)], there)
            assert np.abs(pixels(here, one) - pixels(there, other)).max() <= TOLERANCE
        there.path(far[1].trajectory[2]).unlink()
        with pytest.raises(MissingLatentError):
            await remote.redenoise([again(far[1], "resume")], there)


def test_a_run_draws_on_engines_and_leaves_all_of_it_in_its_own_folder(ray, tmp_path):
    notes = Notes(tmp_path / "notes")
    folder = str(notes.folder)
    with RemoteDiffusion(lambda: Painter(Notes(folder), 0.0), engines=2) as remote:
        done = run(
            "a thing",
            out=tmp_path / "run",
            policy=BestOfN(n=4),
            decomposer=Reader(),
            critic=Looker(),
            diffusion=remote,
        )
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

    def falls_once():
        painter = Painter(Notes(folder), 0.0)
        if not Notes(folder).read("begin"):
            Notes(folder).write("begin", "the first")
            painter.one = lambda request, store: os.kill(os.getpid(), signal.SIGKILL)
        return painter

    with RemoteDiffusion(falls_once) as remote:
        [record] = await remote.generate([request(1)], Store(tmp_path / "run"))
        assert (tmp_path / "run" / record.path).is_file()


def test_a_model_that_cannot_be_loaded_is_told(ray):
    def broken():
        from detailscribe.tools.errors import ModelError

        raise ModelError("the weights are gone")

    with pytest.raises(ModelError, match="the weights are gone"):
        RemoteDiffusion(broken)


def test_files_in_memory_are_whole_and_stay_inside_their_folder(tmp_path):
    on_disk = Store(tmp_path)
    on_disk.write("latents/a", b"abc")
    given = files_of(on_disk, {"latents/a", "latents/none"})
    store = MemoryStore(tmp_path, given)
    assert store.read("latents/a") == b"abc"
    store.write("images/b", b"")
    assert store.read("images/b") == b""
    assert list(store.written) == ["images/b"]
    for reference in ("latents/none", "images/c"):
        with pytest.raises(FileNotFoundError):
            store.read(reference)
    with pytest.raises(ValueError, match="outside"):
        store.write("../b", b"")
