"""Weights of single files and LoRAs draw as they do in diffusers' own pipelines."""

import re
import shutil
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from packaging.version import Version
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file

from detailscribe.state import DrawingOptions
from detailscribe.tools.diffusion import LocalDiffusion, PipelineDiffusion, loading
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.diffusion.memory import Placement, memory_needed, model_size
from detailscribe.tools.errors import ModelError, SettingsError

from .test_exactness import PROMPT, SEED, STEPS, Stock
from .test_families import FAMILIES, SQUARE, flux, made, plain, qwen, same_pixels, unet_pipeline, z_image
from .test_families import draw as draw_family

Weights = dict[str, torch.Tensor]

GPU = Placement()
_ORIGINAL = {
    r"pos_embed\.proj": "x_embedder.proj",
    r"pos_embed\.pos_embed": "pos_embed",
    r"time_text_embed\.timestep_embedder\.linear_1": "t_embedder.mlp.0",
    r"time_text_embed\.timestep_embedder\.linear_2": "t_embedder.mlp.2",
    r"time_text_embed\.text_embedder\.linear_1": "y_embedder.mlp.0",
    r"time_text_embed\.text_embedder\.linear_2": "y_embedder.mlp.2",
    r"transformer_blocks\.(\d+)\.(attn2?)\.to_out\.0": r"joint_blocks.\1.x_block.\2.proj",
    r"transformer_blocks\.(\d+)\.attn\.to_add_out": r"joint_blocks.\1.context_block.attn.proj",
    r"transformer_blocks\.(\d+)\.attn\.norm_added_([qk])": r"joint_blocks.\1.context_block.attn.ln_\2",
    r"transformer_blocks\.(\d+)\.(attn2?)\.norm_([qk])": r"joint_blocks.\1.x_block.\2.ln_\3",
    r"transformer_blocks\.(\d+)\.norm1\.linear": r"joint_blocks.\1.x_block.adaLN_modulation.1",
    r"transformer_blocks\.(\d+)\.norm1_context\.linear": r"joint_blocks.\1.context_block.adaLN_modulation.1",
    r"transformer_blocks\.(\d+)\.ff\.net\.0\.proj": r"joint_blocks.\1.x_block.mlp.fc1",
    r"transformer_blocks\.(\d+)\.ff\.net\.2": r"joint_blocks.\1.x_block.mlp.fc2",
    r"transformer_blocks\.(\d+)\.ff_context\.net\.0\.proj": r"joint_blocks.\1.context_block.mlp.fc1",
    r"transformer_blocks\.(\d+)\.ff_context\.net\.2": r"joint_blocks.\1.context_block.mlp.fc2",
    r"norm_out\.linear": "final_layer.adaLN_modulation.1",
    r"proj_out": "final_layer.linear",
}
"""Names of SD3's weights in diffusers, and as its publisher has them."""


def original(weights: Weights) -> Weights:
    """The denoiser as SD3's publisher names and joins its weights."""
    named: Weights = {}
    for name, weight in weights.items():
        if joined := re.fullmatch(r"(.*)\.(to_|add_)([qkv])(?:_proj)?\.(weight|bias)", name):
            if joined[3] == "q":
                parts = [weights[name.replace(f"{joined[2]}q", f"{joined[2]}{part}")] for part in "qkv"]
                block, attention = joined[1].removeprefix("transformer_blocks.").split(".")
                side = "x" if joined[2] == "to_" else "context"
                named[f"joint_blocks.{block}.{side}_block.{attention}.qkv.{joined[4]}"] = torch.cat(parts)
            continue
        if name.startswith(("norm_out.linear", "transformer_blocks.1.norm1_context")):  # shift and scale the other way
            weight = torch.cat(weight.chunk(2)[::-1])
        for pattern, theirs in _ORIGINAL.items():
            name, found = re.subn(f"^{pattern}", theirs, name)
            if found:
                break
        named[name] = weight.contiguous()
    return named


def whole(weights: Weights) -> Weights:
    """A checkpoint that holds other parts beside the denoiser."""
    mine = {f"model.diffusion_model.{name}": weight for name, weight in original(weights).items()}
    return mine | {"first_stage_model.decoder.conv_in.weight": torch.zeros(2, 2)}


def narrow(weights: Weights) -> Weights:
    return {name: weight.to(torch.float8_e4m3fn) for name, weight in weights.items()}


def scaled(weights: Weights, scale: float = 1 / 64) -> tuple[Weights, Weights]:
    """8-bit floats with a scale beside each, as ComfyUI has them, and what they stand for."""
    file: Weights = {"scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn)}
    read: Weights = {}
    for name, weight in weights.items():
        file[name], read[name] = weight, weight
        if weight.dim() == 2:
            file[name] = (weight / scale).to(torch.float8_e4m3fn)
            file[f"{name.removesuffix('.weight')}.scale_weight"] = torch.tensor(scale)
            read[name] = (file[name].float() * scale).bfloat16().float()
    return file, read


def write_gguf(path: Path, weights: Weights) -> Weights:
    """In 8 bits where the rows are long enough, and what these stand for."""
    writer, read = gguf.GGUFWriter(path, "sd3"), dict(weights)
    for name, weight in weights.items():
        values, kind = weight.numpy(), gguf.GGMLQuantizationType.F32
        if weight.dim() == 2 and weight.shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
            values = gguf.quantize(values, kind)
            read[name] = torch.tensor(gguf.dequantize(values, kind).astype(np.float32))
        writer.add_tensor(name, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return read


@pytest.fixture(scope="module")
def other(folders) -> Weights:
    """Another denoiser's weights of the same sizes."""
    network = Stock(folders["sd3"]).pipe.transformer
    torch.manual_seed(5)
    # What is not learned, and norms, stay in their range.
    return {
        name: weight if name == "pos_embed.pos_embed" else weight + 0.05 * torch.randn_like(weight)
        for name, weight in network.state_dict().items()
    }


@pytest.fixture(params=["diffusers", "original", "whole", "fp8", "scaled", "gguf"])
def file(request, tmp_path, other) -> tuple[Path, Weights]:
    """A file of weights, and what they are."""
    path, read = tmp_path / f"other.{'gguf' if request.param == 'gguf' else 'safetensors'}", other
    if request.param == "gguf":
        return path, write_gguf(path, other)
    file = other
    if request.param == "original":
        file = original(other)
    elif request.param == "whole":
        file = whole(other)
    elif request.param == "fp8":
        file = narrow(other)
        read = {name: weight.float() for name, weight in file.items()}
    elif request.param == "scaled":
        file, read = scaled(other)
    save_file(file, path)
    return path, read


async def test_a_file_takes_the_place_of_the_denoisers_weights(folders, file, store, draw):
    path, weights = file
    stock = Stock(folders["sd3"])
    before = stock.draw(PROMPT)
    stock.pipe.transformer.load_state_dict(weights)
    expected = stock.draw(PROMPT)
    options = DrawingOptions(weights=str(path))
    model = LocalDiffusion.load(folders["sd3"], steps=STEPS, options=options)
    image = await draw(model, "a", PROMPT, SEED)
    latent = read_latent(store, image.latent)
    # GGUF keeps its scales in 16 bits.
    torch.testing.assert_close(latent, expected, atol=1e-3 if path.suffix == ".gguf" else 1e-4, rtol=0)
    assert (latent - before).abs().max() > 0.01
    assert image.options == options
    assert re.fullmatch(rf"sd3@\w{{12}}\+{path.name}@\w{{12}}", image.model)
    again = await draw(LocalDiffusion.load(folders["sd3"], steps=STEPS, options=options), "b", PROMPT, SEED)
    assert (again.model, again.digest) == (image.model, image.digest)


async def test_a_model_of_which_only_the_denoiser_is_missing_is_whole_with_a_file(folders, tmp_path, other):
    """As a download without the denoiser leaves it."""
    save_file(other, tmp_path / "other.safetensors")
    folder = Path(shutil.copytree(folders["sd3"], tmp_path / "rest"))
    for weights in (folder / "transformer").glob("*.safetensors"):
        weights.unlink()
    with pytest.raises(ModelError):
        LocalDiffusion.load(folder)
    LocalDiffusion.load(folder, options=DrawingOptions(weights=str(tmp_path / "other.safetensors")))


@pytest.mark.parametrize(("name", "make"), [("z-image", z_image), ("flux", unet_pipeline)])
async def test_a_file_of_another_family_takes_its_place_too(tmp_path, store, name, make):
    pipe, part = made(make), "unet" if make is unet_pipeline else "transformer"
    pipe.save_pretrained(tmp_path / "tiny")
    torch.manual_seed(3)
    network = getattr(pipe, part)
    weights = {name: weight + 0.05 * torch.randn_like(weight) for name, weight in network.state_dict().items()}
    save_file(weights, tmp_path / "other.safetensors")
    network.load_state_dict(weights)
    for file in (tmp_path / "tiny" / part).glob("*.safetensors"):
        file.unlink()  # as a download without the denoiser leaves it
    options = SQUARE.model_copy(update={"weights": str(tmp_path / "other.safetensors")})
    model = PipelineDiffusion.load(tmp_path / "tiny", options=options, steps=4, guidance=2.0, device="cpu")
    image = await draw_family(model, store)
    assert same_pixels(store, image, plain((name, pipe)))


def test_a_file_is_downloaded_and_the_denoiser_that_it_replaces_is_not(monkeypatch, folders, tmp_path, other):
    write_gguf(tmp_path / "other.gguf", other)
    asked: list[str] = []

    def fetch(model: str, file: str) -> str:
        asked.append(f"{model}/{file}")
        return str(tmp_path / file if file.endswith(".gguf") else folders["sd3"] / file)

    def download(model: str, **without: None) -> str:
        asked.append(f"{model} without {', '.join(without)}")
        return str(folders["sd3"])

    monkeypatch.setattr(loading, "hf_hub_download", fetch)
    monkeypatch.setattr(DiffusionPipeline, "download", download)
    monkeypatch.setattr(loading.memory, "model_size", lambda model, options, **how: model_size(folders["sd3"]))
    LocalDiffusion.load("owner/name", device="cpu", options=DrawingOptions(weights="them/quantized/other.gguf"))
    assert asked == [
        "owner/name/model_index.json",
        "them/quantized/other.gguf",
        "owner/name without transformer, unet",
        "owner/name/transformer/config.json",
    ]


def test_the_memory_is_that_of_the_file_and_of_the_pixels(folders, tmp_path, other):
    own = model_size(folders["sd3"])
    write_gguf(tmp_path / "other.gguf", other)
    size = model_size(folders["sd3"], DrawingOptions(weights=str(tmp_path / "other.gguf"), width=48))
    assert size.parts["transformer"].quantized == (tmp_path / "other.gguf").stat().st_size
    assert (own.pixels, size.pixels) == (24 * 24, 48 * 24)
    save_file(whole(other), tmp_path / "other.safetensors")
    size = model_size(folders["sd3"], DrawingOptions(weights=str(tmp_path / "other.safetensors")))
    assert memory_needed(size, GPU).gpu_bytes == pytest.approx(memory_needed(own, GPU).gpu_bytes, rel=0.01)


def test_weights_that_are_in_8_bits_already_are_counted_as_such(folders, tmp_path):
    folder = Path(shutil.copytree(folders["sd3"], tmp_path / "sd3"))
    save_file({"a.weight": torch.zeros(8, 4, dtype=torch.int8)}, next((folder / "transformer").glob("*.safetensors")))
    assert memory_needed(model_size(folders["sd3"]), GPU) != memory_needed(model_size(folder), GPU)
    part = model_size(folder).parts["transformer"]
    assert (part.parameters, part.quantized) == (0, 32)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"weights": "nowhere.gguf"}, ModelError, "there is no file nowhere.gguf"),
        ({"loras": {"nowhere.safetensors": 1.0}}, ModelError, "there is no file nowhere.safetensors"),
        ({"weights": "vae.safetensors"}, ModelError, "has no weights of a SD3Transformer2DModel|lacks"),
        ({"loras": {"vae.safetensors": 1.0}}, ModelError, "the LoRA .* cannot be added to this model"),
        ({"loras": {"flux.safetensors": 1.0}}, ModelError, "the LoRA .* cannot be added to this model"),
        ({"weights": "vae.safetensors", "precision": "nf4"}, SettingsError, 'precision "nf4" has no effect'),
        ({"weights": "other.gguf", "precision": "fp8"}, SettingsError, 'precision "fp8" has no effect'),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(folders, tmp_path, monkeypatch, other, options, error, says):
    monkeypatch.chdir(tmp_path)
    save_file(Stock(folders["sd3"]).pipe.vae.state_dict(), "vae.safetensors")
    write_gguf(tmp_path / "other.gguf", other)
    write_lora(made(flux), Path("flux.safetensors"))
    how: dict[str, Any] = {}
    if precision := options.get("precision"):
        how["precision"] = precision
        monkeypatch.setattr("detailscribe.tools.diffusion.local.choose_placement", placement_anyway)
    chosen = DrawingOptions(**{name: value for name, value in options.items() if name != "precision"})
    with pytest.raises(error, match=says) as refused:
        LocalDiffusion.load(folders["sd3"], options=chosen, device="cpu", **how)
    assert "\n" not in str(refused.value)


def placement_anyway(device, precision, offload, t5):
    """One that could not be here."""
    return Placement(torch.device("cpu"), precision, offload, t5)


def write_lora(pipe: Any, path: Path, parts: tuple[str, ...] = ("transformer",)) -> Path:
    """A LoRA of random weights of some parts of a pipeline, which stays as it is."""
    layers: dict[str, Any] = {}
    for part in parts:
        names = ["to_q", "to_k", "to_v"] if part == "transformer" else ["q_proj", "v_proj"]
        network = getattr(pipe, part)
        torch.manual_seed(2)
        network.add_adapter(LoraConfig(r=2, target_modules=names, init_lora_weights=False), "made")
        layers[f"{part}_lora_layers"] = get_peft_model_state_dict(network, adapter_name="made")
        network.delete_adapters("made") if part == "transformer" else network.delete_adapter("made")
    type(pipe).save_lora_weights(path.parent, weight_name=path.name, **layers)
    return path


@pytest.mark.parametrize("quantized", [False, True])
async def test_sd3_draws_with_loras_as_its_own_pipeline(folders, tmp_path, store, draw, other, quantized):
    # transformers 5 adds no LoRA to a text encoder with an older peft.
    readers = ("text_encoder", "text_encoder_2") if Version(version("peft")) >= Version("0.22") else ()
    first = write_lora(Stock(folders["sd3"]).pipe, tmp_path / "first.safetensors", ("transformer", *readers))
    second = write_lora(Stock(folders["sd3"]).pipe, tmp_path / "second.safetensors")
    stock = Stock(folders["sd3"])
    options = DrawingOptions(loras={str(first): 0.5, str(second): -0.25})
    if quantized:
        stock.pipe.transformer.load_state_dict(write_gguf(tmp_path / "other.gguf", other))
        options = options.model_copy(update={"weights": str(tmp_path / "other.gguf")})
    before = stock.draw(PROMPT)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")
        for name, file in (("a", first), ("b", second)):
            stock.pipe.load_lora_weights(str(file), adapter_name=name)
    stock.pipe.set_adapters(["a", "b"], [0.5, -0.25])
    model = LocalDiffusion.load(folders["sd3"], steps=STEPS, options=options)
    image = await draw(model, "a", PROMPT, SEED)
    latent = read_latent(store, image.latent)
    torch.testing.assert_close(latent, stock.draw(PROMPT), atol=1e-3 if quantized else 2e-4, rtol=0)
    assert (latent - before).abs().max() > 0.01
    assert image.options == options
    assert re.search(r"\+first\.safetensors@\w{12}\*0\.5\+second\.safetensors@\w{12}\*-0\.25$", image.model)


@pytest.mark.parametrize("name", ["flux", "qwen", "z-image"])
async def test_other_families_draw_with_loras_as_their_own_pipelines(name, tmp_path, store):
    pipe = made(FAMILIES[name])
    pipe.save_pretrained(tmp_path / "tiny")
    before = plain((name, pipe))
    lora = write_lora(pipe, tmp_path / "style.safetensors")
    pipe.load_lora_weights(str(lora), adapter_name="style")
    pipe.set_adapters(["style"], [2.0])
    options = SQUARE.model_copy(update={"loras": {str(lora): 2.0}})
    model = PipelineDiffusion.load(tmp_path / "tiny", options=options, steps=4, guidance=2.0, device="cpu")
    image = await draw_family(model, store, keep_steps=())
    expected = plain((name, pipe))
    assert not same_pixels(store, image, before)
    with Image.open(store.path(image.path)) as ours:
        apart = np.abs(np.asarray(ours, int) - np.asarray(expected, int))
    assert apart.max() <= 2


@pytest.mark.parametrize(
    ("model", "layers", "steps", "guidance"),
    [
        ("stable-diffusion-3.5-large@0", 38, 28, 4.5),
        ("stable-diffusion-3.5-large-turbo@0", 38, 4, 0),
        ("stable-diffusion-3.5-medium@0", 24, 40, 4.5),
    ],
)
def test_steps_and_guidance_of_sd35_are_its_publishers(folders, model, layers, steps, guidance):
    pipe = Stock(folders["sd3"]).pipe
    pipe.transformer.register_to_config(num_layers=layers)
    drawn = LocalDiffusion(pipe, model)
    assert (drawn.steps, drawn.guidance) == (steps, guidance)


@pytest.mark.parametrize(
    ("lora", "steps", "guidance"),
    [
        ("style.safetensors", 28, 4.5),
        ("SD35-turbo-8steps.safetensors", 8, 1),
        ("Hyper-SD3-16steps-CFG-lora.safetensors", 16, 4.5),
        ("style_4_steps_v1.safetensors", 4, 1),
    ],
)
def test_a_step_distilled_lora_brings_its_steps(folders, tmp_path, lora, steps, guidance):
    file = write_lora(Stock(folders["sd3"]).pipe, tmp_path / lora)
    options = DrawingOptions(loras={str(file): 1.0})
    model = LocalDiffusion.load(folders["sd3"], options=options)
    assert (model.steps, model.guidance) == (steps, guidance)
    chosen = LocalDiffusion.load(folders["sd3"], options=options, steps=3, guidance=2.0)
    assert (chosen.steps, chosen.guidance) == (3, 2.0)


def test_a_step_distilled_lora_of_qwen_image_is_drawn_with_the_shift_of_its_publisher():
    options = DrawingOptions(
        loras={"owner/name/Qwen-Image-Lightning-4steps-V1.0.safetensors": 1.0}, width=32, height=32
    )
    pipe = made(qwen)
    own = pipe.scheduler.config
    pipe.register_modules(scheduler=type(pipe.scheduler).from_config(own, shift_terminal=0.02))
    model = PipelineDiffusion(pipe, "tiny@0", options=options)
    assert (model.steps, model.guidance, model.evaluations_per_drawing) == (4, 1, 4)
    assert model.options.shift == 3
    assert model.schedule(4).sigmas.tolist() == pytest.approx([1, 0.9, 0.75, 0.5, 0])
