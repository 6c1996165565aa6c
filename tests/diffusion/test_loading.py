"""A model loads whole and quietly, or ends in one line."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from detailscribe.agent.settings.checks import look_at_diffusion
from detailscribe.agent.settings.settings import Settings
from detailscribe.state import Attempt
from detailscribe.tools.diffusion import LocalDiffusion, loading
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.diffusion.loading import content_hash
from detailscribe.tools.diffusion.memory import Placement
from detailscribe.tools.errors import ModelError
from detailscribe.tools.world.autoencoder import CellAutoencoder


def change_json(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def drop_a_weight(path: Path) -> None:
    weights = load_file(path)
    weights.pop(sorted(weights)[0])
    save_file(weights, path, metadata={"format": "pt"})


DAMAGE = {
    "no index": lambda root: (root / "model_index.json").unlink(),
    "broken index": lambda root: (root / "model_index.json").write_text("{"),
    "another pipeline": lambda root: change_json(root / "model_index.json", _class_name="FluxPipeline"),
    "unknown class": lambda root: change_json(root / "model_index.json", transformer=["os", "system"]),
    "no weights": lambda root: (root / "transformer" / "diffusion_pytorch_model.safetensors").unlink(),
    "cut denoiser": lambda root: cut_short(root / "transformer" / "diffusion_pytorch_model.safetensors"),
    "cut vae": lambda root: cut_short(root / "vae" / "diffusion_pytorch_model.safetensors"),
    "cut encoder": lambda root: cut_short(root / "text_encoder" / "model.safetensors"),
    "denoiser lacks a weight": lambda root: drop_a_weight(root / "transformer" / "diffusion_pytorch_model.safetensors"),
    "encoder lacks a weight": lambda root: drop_a_weight(root / "text_encoder" / "model.safetensors"),
    "weights of another size": lambda root: change_json(root / "transformer" / "config.json", num_attention_heads=4),
    "no scheduler": lambda root: (root / "scheduler" / "scheduler_config.json").unlink(),
    "broken tokenizer": lambda root: (root / "tokenizer" / "tokenizer.json").write_text("{}"),
    "stochastic": lambda root: change_json(root / "scheduler" / "scheduler_config.json", stochastic_sampling=True),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_one_line(broken, damage):
    damage(broken)
    with pytest.raises(ModelError) as caught:
        LocalDiffusion.load(broken)
    assert str(broken) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("source", ["nowhere", "no/such/folder", Path("no/folder"), ""])
def test_what_is_not_there_is_one_line(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"\A.*\Z"):
        LocalDiffusion.load(source)


def test_a_hub_that_gives_nothing_is_one_line(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"\Anobody/nothing is no folder here.*\Z"):
        LocalDiffusion.load("nobody/nothing")


class Hub(BaseHTTPRequestHandler):
    """Refuses every model as the real hub does: the owner of its name says how."""

    ways: ClassVar = {
        "gated": (401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model x/y is restricted."}),
        "forbidden": (403, {"X-Error-Message": "Access to this model is not granted."}),
        "private": (401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}),
        "missing": (404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}),
        "bare": (404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}),
        "token": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
        "busy": (503, {}),
    }

    def do_GET(self) -> None:
        owner = next((owner for owner in self.ways if f"/{owner}/" in self.path), "missing")
        status, headers = self.ways[owner]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_) -> None: ...


ADVICE = {
    "gated": "gated/model is gated: accept its licence at https://huggingface.co/gated/model, then log in with",
    "forbidden": "forbidden/model is gated: accept its licence",
    "private": "the hub has no model private/model; if it is private, log in with `hf auth login` or set HF_TOKEN",
    "missing": "the hub has no model missing/model",
    "bare": "bare/model on the hub has no model_index.json, so it is no diffusers model",
    "token": "the hub refuses the token of HF_TOKEN or of an earlier login: log in with",
    "busy": "the hub does not give busy/model (status 503): try again later",
}
ASKS = """
import sys
import time
time.sleep = lambda seconds: None  # of the hub's client, before it asks a busy hub again
from typer.testing import CliRunner
from detailscribe.agent.cli import app
from detailscribe.tools.diffusion import LocalDiffusion
for owner in sys.argv[1:]:
    done = CliRunner().invoke(app, ["run", "a cat", "--preset", "diffusers", "--diffusion", f"{owner}/model"])
    print(done.exit_code, done.stderr.strip())
    try:
        LocalDiffusion.load(f"{owner}/model")
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_what_the_hub_refuses_is_one_line_that_says_what_to_do(tmp_path):
    """A server in the place of the hub, by HF_ENDPOINT: for a command before anything else, and for a load."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        environment = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hub")}
        environment |= {"HF_TOKEN": "hf_" + "x" * 34, "DETAILSCRIBE_CHAT__MODEL": "m"}
        environment |= {"DETAILSCRIBE_CHAT__URL": "http://127.0.0.1:9/v1", "NO_PROXY": "127.0.0.1"}
        done = run(ASKS, tmp_path, *ADVICE, **environment)
        server.shutdown()
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(ADVICE), done
    for advice, command, load in zip(ADVICE.values(), lines[::2], lines[1::2], strict=True):
        assert command.startswith(f"2 error: {advice}")
        assert load.startswith(f"ModelError {advice}")
    assert [path.name for path in tmp_path.iterdir() if path.name != "hub"] == []


def as_variant(root: Path) -> None:
    for file in root.glob("*/*.safetensors"):
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))


def as_pickles(root: Path) -> None:
    for file in root.glob("*/*.safetensors"):
        name = "pytorch_model.bin" if file.stem == "model" else "diffusion_pytorch_model.bin"
        torch.save(load_file(file), file.with_name(name))
        file.unlink()


FORMS = {
    "fp16 alone": (as_variant, "from_pretrained(FOLDER, variant='fp16').save_pretrained(OTHER)"),
    ".bin": (as_pickles, "if you trust them, DiffusionPipeline.from_pretrained(FOLDER).save_pretrained(OTHER)"),
    "T5 left out": (lambda root: shutil.rmtree(root / "text_encoder_3"), 'set diffusion.t5 = "drop"'),
}


@pytest.mark.parametrize(("change", "advice"), FORMS.values(), ids=FORMS)
def test_a_folder_of_another_form_is_refused_with_the_way_out_before_a_run_and_by_a_load(
    folders, tmp_path, change, advice
):
    folder = shutil.copytree(folders["sd3"], tmp_path / "model")
    change(folder)
    with pytest.raises(ModelError, match=re.escape(advice)):
        LocalDiffusion.load(folder)
    found = look_at_diffusion(Settings.model_validate({"diffusion": {"model": str(folder)}}))
    assert advice in " ".join(one.text for one in found if one.status == "problem")


def test_a_first_run_says_nothing(folders, tmp_path):
    """Nor does bitsandbytes, for which a stand-in says what it says on a CPU when diffusers imports it."""
    code = f"""
import asyncio, logging, sys
class Finder:
    def find_spec(self, name, *rest):
        if name == "diffusers":
            logging.getLogger("bitsandbytes.backends.cpu.ops").warning("Please `pip install kernels`")
sys.meta_path.insert(0, Finder())
from pathlib import Path
from detailscribe.state import Attempt
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.files import Store
model = LocalDiffusion.load(Path({str(folders["one_clip"])!r}), steps=2)
asyncio.run(model.draw(Attempt(id="a", prompt="a cat", seed=1), Store("run")))
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def run(code: str, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_device_that_is_not_there_is_one_line(folders):
    with pytest.raises(ModelError, match="cannot be put on the device"):
        LocalDiffusion.load(folders["one_clip"], device="xpu")


def test_a_part_may_be_a_class_of_this_package(broken):
    """As the embedded autoencoder is; diffusers writes the module's name into the index."""
    vae = CellAutoencoder(encoder_width=8, decoder_width=8, decoder_layers=1)
    shutil.rmtree(broken / "vae")
    vae.save_pretrained(broken / "vae")
    change_json(broken / "model_index.json", vae=[CellAutoencoder.__module__, "CellAutoencoder"])
    assert isinstance(LocalDiffusion.load(broken).pipe.vae, CellAutoencoder)


def test_the_name_tells_the_content(folders, broken):
    name, _, before = LocalDiffusion.load(broken).model.partition("@")
    assert name == "broken"
    assert before == LocalDiffusion.load(folders["one_clip"]).model.partition("@")[2]
    change_json(broken / "scheduler" / "scheduler_config.json", shift=2.0)
    assert LocalDiffusion.load(str(broken)).model.partition("@")[2] != before


def test_of_large_files_a_sample_of_each_tensor_tells_the_content(folders, broken, monkeypatch):
    """Reading 16 GB at each start takes 20 seconds; any training changes each tensor from its beginning on."""
    monkeypatch.setattr(loading, "_SMALL", 0)
    before = content_hash(folders["one_clip"])
    assert content_hash(broken) == before
    path = broken / "transformer" / "diffusion_pytorch_model.safetensors"
    whole = load_file(path)
    for name in list(whole)[::7]:
        weights = {key: tensor.clone() for key, tensor in whole.items()}
        weights[name].view(-1)[0] += 1
        save_file(weights, path, metadata={"format": "pt"})
        assert content_hash(broken) != before, name
    save_file(whole, path, metadata={"format": "pt"})
    assert content_hash(broken) == before


def test_weights_run_in_single_precision_on_a_cpu(folders):
    model = LocalDiffusion.load(folders["sd3"], device="cpu")
    networks = (model.pipe.transformer, model.pipe.vae, model.pipe.text_encoder, model.pipe.text_encoder_3)
    assert {network.dtype for network in networks} == {torch.float32}
    half = LocalDiffusion.load(folders["sd3"], device="cpu", precision="bf16")
    assert half.pipe.transformer.dtype == torch.bfloat16


def test_bars_are_as_before_after_loading(folders):
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    LocalDiffusion.load(folders["one_clip"])
    assert diffusers_logging.is_progress_bar_enabled()
    assert transformers_logging.is_progress_bar_enabled()


async def latent(model: LocalDiffusion, store, prompt: str = "a cat", id: str = "a") -> torch.Tensor:
    image = await model.draw(Attempt(id=id, prompt=prompt, seed=5), store)
    return read_latent(store, image.latent)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
async def test_every_width_draws(folders, store, precision):
    model = LocalDiffusion.load(folders["sd3"], steps=2, device="cpu", precision=precision)
    drawn = await latent(model, store)
    assert drawn.dtype == model.pipe.text_encoder_3.dtype == Placement(torch.device("cpu"), precision).dtype
    assert drawn.isfinite().all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
async def test_a_t5_that_is_loaded_once_draws_the_same(folders, store, precision):
    kept = LocalDiffusion.load(folders["sd3"], steps=2, precision=precision)
    once = LocalDiffusion.load(folders["sd3"], steps=2, precision=precision, t5="once")
    assert torch.equal(await latent(kept, store), await latent(once, store))


async def test_a_t5_that_is_loaded_once_is_gone_while_the_denoiser_runs(folders, store):
    model = LocalDiffusion.load(folders["sd3"], steps=2, t5="once")
    reader, seen = model.pipe.text_encoder_3, list[bool]()
    loads = count_loads(reader)
    model.pipe.transformer.register_forward_hook(lambda *called: seen.append(reader.network is not None))
    assert reader.network is None
    await asyncio.gather(latent(model, store, "a cat", "a"), latent(model, store, "a dog", "b"))
    assert (len(loads), set(seen)) == (1, {False}), "two prompts and the empty one are read together"
    await latent(model, store, "a dog", "c")
    assert len(loads) == 1, "what was read is remembered"
    await latent(model, store, "a red dog", "d")
    assert len(loads) == 2


def count_loads(reader) -> list[int]:
    loads, load = list[int](), reader.load
    reader.load = lambda: loads.append(1) or load()
    return loads


async def test_without_t5_prompts_are_read_as_sd3_reads_them_without(folders, store):
    model = LocalDiffusion.load(folders["sd3"], steps=2, t5="drop")
    assert model.pipe.text_encoder_3 is None
    kept = LocalDiffusion.load(folders["sd3"], steps=2)
    assert not torch.equal(await latent(model, store), await latent(kept, store))
    kept.pipe.register_modules(text_encoder_3=None)
    fresh = LocalDiffusion(kept.pipe, kept.model, steps=2)
    assert torch.equal(await latent(model, store), await latent(fresh, store))


@pytest.mark.parametrize("t5", ["once", "drop"])
async def test_a_model_without_t5_takes_every_setting(folders, store, t5):
    model = LocalDiffusion.load(folders["one_clip"], steps=2, t5=t5)
    plain = LocalDiffusion.load(folders["one_clip"], steps=2)
    assert torch.equal(await latent(model, store), await latent(plain, store))
