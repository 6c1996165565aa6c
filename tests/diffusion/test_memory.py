"""What a model needs is known from its files' headers, and too little ends in one line that says what would do."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    Flux2Transformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from detailscribe.tools.diffusion import LocalDiffusion, loading
from detailscribe.tools.diffusion.memory import (
    KNOWN,
    Memory,
    ModelSize,
    PartSize,
    Placement,
    check_memory,
    free_memory,
    local_folder,
    memory_needed,
    model_size,
    read_header,
    remote_size,
)
from detailscribe.tools.errors import ModelError

LARGE = "stabilityai/stable-diffusion-3.5-large"
MEDIUM = "stabilityai/stable-diffusion-3.5-medium"
GB = 10**9
SMALL = ModelSize(
    {"transformer": PartSize(1000, 1000), "vae": PartSize(10, 0), "text_encoder_3": PartSize(600, 500)}, 1
)
WORKING = 2 * 1536


def numbers(network: torch.nn.Module) -> PartSize:
    # transformers leaves T5's wo and the last layer of a language model out of quantization.
    whole = ("wo", "lm_head")
    linear = [
        m.weight for n, m in network.named_modules() if isinstance(m, torch.nn.Linear) and n.split(".")[-1] not in whole
    ]
    held = {id(t): t for t in [*network.parameters(), *network.state_dict(keep_vars=True).values()]}
    return PartSize(sum(t.numel() for t in held.values()), sum(weight.numel() for weight in linear))


def sd35(layers: int, pos_embed: int, dual: int) -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        sample_size=128,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=layers,
        attention_head_dim=64,
        num_attention_heads=layers,
        joint_attention_dim=4096,
        caption_projection_dim=64 * layers,
        pooled_projection_dim=2048,
        pos_embed_max_size=pos_embed,
        dual_attention_layers=tuple(range(dual)),
        qk_norm="rms_norm",
    )


def clip(width: int, layers: int, heads: int) -> CLIPTextModelWithProjection:
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "projection_dim": width}
    return CLIPTextModelWithProjection(CLIPTextConfig(num_hidden_layers=layers, num_attention_heads=heads, **sizes))


def known_families() -> dict[str, dict[str, torch.nn.Module]]:
    """The networks of other families than SD3, as their publishers configured them."""
    sizes = {"hidden_size": 2560, "intermediate_size": 9728, "vocab_size": 151_936, "num_hidden_layers": 36}
    small = Qwen3Model(Qwen3Config(**sizes, num_attention_heads=32, num_key_value_heads=8, head_dim=128))
    sizes = {"hidden_size": 3584, "intermediate_size": 18944, "vocab_size": 152_064, "num_hidden_layers": 28}
    language = sizes | {"num_attention_heads": 28, "num_key_value_heads": 4}
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584}
    seeing = Qwen2_5_VLConfig(text_config=language, vision_config=vision, tie_word_embeddings=False)
    sizes = {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "joint_attention_dim": 3 * 2560}
    return {
        "Qwen/Qwen-Image": {
            "transformer": QwenImageTransformer2DModel(),
            "text_encoder": Qwen2_5_VLForConditionalGeneration(seeing),
            "vae": AutoencoderKLQwenImage(),
        },
        "Tongyi-MAI/Z-Image-Turbo": {
            "transformer": ZImageTransformer2DModel(),
            "text_encoder": small,
            "vae": wide_vae(),
        },
        "black-forest-labs/FLUX.2-klein-4B": {
            "transformer": Flux2Transformer2DModel(guidance_embeds=False, **sizes),
            "text_encoder": small,
            "vae": AutoencoderKLFlux2(),
        },
    }


def wide_vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[128, 256, 512, 512],
        layers_per_block=2,
        latent_channels=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def test_known_sizes_are_what_the_published_configurations_make():
    with torch.device("meta"):
        t5 = T5Config(
            vocab_size=32128, d_model=4096, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
        )
        encoders = {
            "text_encoder": clip(768, 12, 12),
            "text_encoder_2": clip(1280, 32, 20),
            "text_encoder_3": T5EncoderModel(t5),
            "vae": wide_vae(),
        }
        denoisers = {LARGE: sd35(38, 192, 0), MEDIUM: sd35(24, 384, 13)}
        made = {model: {"transformer": denoiser, **encoders} for model, denoiser in denoisers.items()}
        made |= known_families()
    for model, networks in made.items():
        assert KNOWN[model].parts == {name: numbers(network) for name, network in networks.items()}, model
    assert KNOWN[f"{LARGE}-turbo"] == KNOWN[LARGE]
    assert KNOWN.keys() == {*made, f"{LARGE}-turbo"}


def test_a_download_is_as_large_as_the_files_are_wide():
    assert SMALL.download == 2 * 1610
    assert replace(SMALL, wide=("transformer",)).download == 2 * 610 + 4 * 1000


def test_headers_tell_what_is_in_a_folder(folder):
    pipe = LocalDiffusion.load(folder).pipe
    networks = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    measured = model_size(folder)
    assert measured.parts.keys() == networks.keys()
    for name, network in networks.items():
        assert measured.parts[name].parameters == numbers(network).parameters, name
        if name in ("transformer", "text_encoder_3"):
            assert measured.parts[name].matrices == numbers(network).matrices
    config = pipe.transformer.config
    assert measured.pixels == (config.sample_size * pipe.vae_scale_factor) ** 2


@pytest.mark.parametrize(
    ("way", "need"),
    [
        (("bf16", "none", "keep"), Memory(2 * 1610 + WORKING, 2000)),
        (("fp32", "none", "keep"), Memory(4 * 1610 + 2 * WORKING, 4000)),
        (("bf16", "none", "drop"), Memory(2 * 1010 + WORKING, 2000)),
        (("bf16", "none", "once"), Memory(2 * 1010 + WORKING, 2000)),
        (("bf16", "model", "keep"), Memory(20 + 2000 + WORKING, 2 * 1610)),
        (("bf16", "model", "once"), Memory(20 + 2000 + WORKING, 2 * 1010)),
        (("bf16", "group", "once"), Memory(200 + WORKING, 2 * 1610)),
        (("nf4", "none", "keep"), Memory(562 + 281 + 200 + 20 + WORKING, 562)),
        (("nf4", "model", "drop"), Memory(562 + 20 + WORKING, 562 + 20)),
    ],
)
def test_what_each_way_of_loading_needs(way, need):
    assert memory_needed(SMALL, Placement("cuda", *way)) == need


def test_on_a_cpu_everything_is_in_ram():
    assert memory_needed(SMALL, Placement("cpu", "fp32")) == Memory(None, 4 * 1610 + 2 * WORKING)
    assert memory_needed(SMALL, Placement("cpu", t5="once")) == Memory(None, 2 * 1010 + WORKING)


def test_a_known_model_is_known_before_it_is_there():
    whole = memory_needed(model_size(LARGE), Placement())
    assert 28 * GB < whole.gpu_bytes < 34 * GB
    quantized = memory_needed(model_size(LARGE), Placement("cuda", "nf4", "model", "once"))
    assert quantized.gpu_bytes < 12 * GB
    with pytest.raises(ModelError, match="not known before it is here"):
        model_size("nobody/nothing")


def way(precision, offload, t5):
    return f'set diffusion.precision = "{precision}", diffusion.offload = "{offload}", diffusion.t5 = "{t5}"'


@pytest.mark.parametrize(
    ("free", "advice"),
    [
        (24, way("bf16", "model", "keep")),
        (16, way("nf4", "none", "keep")),
        (12, way("nf4", "model", "keep")),
        (6, way("bf16", "group", "once")),
        (2, "use a smaller model or another machine"),
    ],
)
def test_too_little_is_one_line_that_says_what_would_do(free, advice):
    with pytest.raises(
        ModelError, match=rf"\A.*needs about 30.8 GB of GPU memory and {free}.0 GB are free; .*\Z"
    ) as said:
        check_memory(LARGE, KNOWN[LARGE], Placement(), Memory(free * GB, 64 * GB))
    assert advice in str(said.value)


def test_ram_counts_too():
    with pytest.raises(ModelError, match=r"27.6 GB of memory and 20.0 GB are free; set .*diffusion.t5 = \"once\""):
        check_memory(LARGE, KNOWN[LARGE], Placement("cuda", "bf16", "model"), Memory(24 * GB, 20 * GB))
    with pytest.raises(ModelError, match=way("bf16", "none", "keep")):
        check_memory(LARGE, KNOWN[LARGE], Placement("cpu", "fp32"), Memory(None, 40 * GB))


def test_what_fits_is_let_through():
    assert check_memory(LARGE, KNOWN[LARGE], Placement(), Memory(40 * GB, 40 * GB)) is None


def test_loading_looks_before_it_loads(folders, monkeypatch):
    monkeypatch.setattr(loading.memory, "free_memory", lambda device: Memory(None, 1000))
    monkeypatch.setattr(loading, "_load_network", lambda *given: pytest.fail("weights were loaded"))
    with pytest.raises(ModelError, match=r"\A.*sd3 cannot be used: .*0.0 GB are free; .*\Z"):
        LocalDiffusion.load(folders["sd3"])


def test_a_model_that_does_not_fit_is_not_downloaded(monkeypatch):
    monkeypatch.setattr(loading.memory, "free_memory", lambda device: Memory(None, 10 * GB))
    monkeypatch.setattr(loading, "locate", lambda source: pytest.fail("it was fetched"))
    with pytest.raises(ModelError, match=r"10.0 GB are free"):
        LocalDiffusion.load(LARGE)


@pytest.fixture
def hub(folders, monkeypatch):
    """The hub, with the tiny SD3 as a model that nobody has seen."""

    def info(self, model, files_metadata):
        found = [path for path in folders["sd3"].rglob("*") if path.is_file()]
        files = [SimpleNamespace(rfilename=str(p.relative_to(folders["sd3"])), size=p.stat().st_size) for p in found]
        files.append(SimpleNamespace(rfilename="transformer/model.fp16.safetensors", size=10**9))
        return SimpleNamespace(siblings=files)

    def header(self, model, name):
        return SimpleNamespace(tensors=read_header(folders["sd3"] / name))

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", info)
    monkeypatch.setattr("huggingface_hub.HfApi.parse_safetensors_file_metadata", header)
    monkeypatch.setattr(loading, "hf_hub_download", lambda model, file: str(folders["sd3"] / file))
    monkeypatch.setattr(loading, "locate", lambda source: pytest.fail("it was fetched"))


def test_an_unknown_model_is_measured_on_the_hub_before_it_is_fetched(hub, folders, monkeypatch):
    size, fetched = remote_size("owner/name")
    assert size.parts == model_size(folders["sd3"]).parts
    assert fetched == sum(path.stat().st_size for path in folders["sd3"].glob("*/*.safetensors"))
    monkeypatch.setattr(loading.memory, "free_memory", lambda device: Memory(None, 1000))
    with pytest.raises(ModelError, match=r"name in fp32 with offload .none. needs about .* are free"):
        LocalDiffusion.load("owner/name", device="cpu")


def test_a_hub_that_does_not_answer_is_one_line(monkeypatch):
    def silent(self, model, **asked):
        raise OSError("gone")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", silent)
    with pytest.raises(ModelError, match="does not say how large owner/name is: gone"):
        remote_size("owner/name")


def test_a_model_of_another_class_is_not_downloaded(tmp_path, monkeypatch):
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    monkeypatch.setattr(loading, "hf_hub_download", lambda model, file: str(tmp_path / file))
    monkeypatch.setattr(loading, "locate", lambda source: pytest.fail("it was fetched"))
    with pytest.raises(ModelError, match="it holds a FluxPipeline"):
        LocalDiffusion.load("owner/name")


def test_this_machine_has_memory():
    there = free_memory()
    assert there.ram_bytes > 10**8
    assert (there.gpu_bytes is not None) == torch.cuda.is_available()


def test_the_memory_is_that_of_the_chosen_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: ({None: 1, "cuda:1": 2}[device], 9))
    assert [free_memory(device).gpu_bytes for device in (None, "cuda:1", "cpu", "mps")] == [1, 2, None, None]


@pytest.fixture
def cached(folders, tmp_path, monkeypatch):
    """A model of the hub in a local cache, as the hub's client lays it out."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--someone--something"
    shutil.copytree(folders["sd3"], model / "snapshots" / "abc")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc")
    return model / "snapshots" / "abc"


def test_a_downloaded_model_is_found_without_the_network(cached):
    assert local_folder("someone/something")
    assert model_size("someone/something") == model_size(cached)
    assert not local_folder("someone/else")
    assert not local_folder("no hub id")


def test_half_a_download_is_none(cached):
    """Of a part in several files, as large ones are, each must be there."""
    part = cached / "transformer"
    whole = part / "diffusion_pytorch_model.safetensors"
    listed = {"a": "diffusion_pytorch_model-1.safetensors", "b": "diffusion_pytorch_model-2.safetensors"}
    (part / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    shutil.copy(whole, part / listed["a"])
    assert not local_folder("someone/something")
    shutil.copy(whole, part / listed["b"])
    assert local_folder("someone/something")
    (cached / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert not local_folder("someone/something")


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, (2).to_bytes(8, "little") + b"[]"])
def test_a_broken_header_is_one_line(broken, content):
    file = broken / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"\A.*vae.*is no safetensors file.*\Z"):
        model_size(broken)
