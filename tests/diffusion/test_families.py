"""Other families draw and are refined through their own pipelines, or say clearly that they cannot be."""

import asyncio
import json
import string
import threading
import warnings
from typing import Any

import diffusers
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from PIL import Image, ImageChops
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
    T5Config,
    T5EncoderModel,
)

from detailscribe.state import ImageRecord
from detailscribe.tools.diffusion import PipelineDiffusion, loading
from detailscribe.tools.diffusion.family import make_family
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.errors import MissingLatentError, ModelError, SettingsError
from detailscribe.tools.roles import GenerateRequest, RedenoiseRequest

STEPS, SEED, SIDE = 4, 11, 32
WIDTH = 32
PROMPT, OTHER = "a cat holding a boat", "a red cat holding a blue boat"
EVERY = tuple(range(STEPS + 1))


def tokenizer(longest: int) -> PreTrainedTokenizerFast:
    """Letter by letter, since Qwen-Image leaves out the first 34 tokens of its template."""
    special = {"<pad>": 0, "<unk>": 1, "<end>": 2}
    known = special | {letter: i for i, letter in enumerate(string.ascii_lowercase, 3)}
    words = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<end>"}
    reader = PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=longest, **names)
    reader.chat_template = "{{ messages[0].content }}"
    return reader


def vae(**more: Any) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 8],
        norm_num_groups=4,
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=1.5,
        shift_factor=0.1,
        **more,
    )


def t5() -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=32, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2))


def qwen2() -> Qwen2Model:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    return Qwen2Model(Qwen2Config(vocab_size=32, hidden_size=WIDTH, intermediate_size=32, **sizes))


def shifting() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)


def flux(distilled: bool = True) -> FluxPipeline:
    clip = CLIPTextConfig(
        vocab_size=32,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=77,
        eos_token_id=2,
    )
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            guidance_embeds=distilled,
            axes_dims_rope=(4, 4, 8),
        ),
        scheduler=shifting(),
        vae=vae(),
        text_encoder=CLIPTextModel(clip),
        tokenizer=tokenizer(77),
        text_encoder_2=t5(),
        tokenizer_2=tokenizer(64),
    )


def chroma() -> ChromaPipeline:
    return ChromaPipeline(
        transformer=ChromaTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            approximator_num_channels=8,
            approximator_hidden_dim=16,
            approximator_layers=1,
        ),
        scheduler=shifting(),
        vae=vae(),
        text_encoder=t5(),
        tokenizer=tokenizer(64),
    )


def z_image() -> ZImagePipeline:
    return ZImagePipeline(
        transformer=ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=WIDTH,
            axes_dims=[4, 6, 6],
            axes_lens=[256, 64, 64],
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(),
        text_encoder=qwen2(),
        tokenizer=tokenizer(64),
    )


def qwen() -> QwenImagePipeline:
    return QwenImagePipeline(
        transformer=QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 6, 6),
        ),
        scheduler=shifting(),
        vae=AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 1],
            num_res_blocks=1,
            temperal_downsample=[False],
            latents_mean=[0.1] * 4,
            latents_std=[1.5] * 4,
        ),
        text_encoder=qwen2(),
        tokenizer=tokenizer(512),
    )


FAMILIES = {"flux": flux, "undistilled flux": lambda: flux(False), "chroma": chroma, "z-image": z_image, "qwen": qwen}
GUIDED = {"flux": "guidance_scale", "chroma": "guidance_scale", "z-image": "guidance_scale"}
"""Other ones call it ``true_cfg_scale`` and want a negative prompt."""


def made(name: str) -> Any:
    """A pipeline of a family, as it is after loading."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        # diffusers' own Chroma imports it from where diffusers no longer wants it imported.
        warnings.filterwarnings("ignore", "`FluxPosEmbed` is deprecated", FutureWarning)
        pipe = FAMILIES[name]()
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return pipe


@pytest.fixture(scope="module", params=FAMILIES)
def family(request) -> tuple[str, Any]:
    return request.param, made(request.param)


@pytest.fixture
def model(family) -> PipelineDiffusion:
    return PipelineDiffusion(family[1], "tiny@0", steps=STEPS, guidance=2.0, width=SIDE, height=SIDE)


def guidance_of(name: str) -> dict[str, Any]:
    if name in GUIDED:
        return {GUIDED[name]: 2.0}
    return {"true_cfg_scale": 2.0, "negative_prompt": " "}


def plain(family, prompt: str = PROMPT, **more: Any) -> Any:
    """What the pipeline itself draws, used as its authors mean it."""
    name, pipe = family
    return pipe(
        prompt,
        height=SIDE,
        width=SIDE,
        num_inference_steps=STEPS,
        generator=torch.Generator("cpu").manual_seed(SEED),
        **guidance_of(name),
        **more,
    ).images[0]


async def draw(model, store, id="drawn", prompt=PROMPT, **more) -> ImageRecord:
    [image] = await model.generate([GenerateRequest(id, 0, prompt, SEED, keep_steps=EVERY, **more)], store)
    return image


async def redraw(model, store, source, operator, step, prompt=PROMPT, seed=SEED, **more) -> ImageRecord:
    request = RedenoiseRequest(f"{operator}-{step}", 1, prompt, source, operator, step, seed, **more)
    [image] = await model.redenoise([request], store)
    return image


def same_pixels(store, record: ImageRecord, picture: Image.Image) -> bool:
    with Image.open(store.path(record.path)) as ours:
        return ours.size == picture.size and ImageChops.difference(ours, picture).getbbox() is None


async def test_an_image_is_the_pipelines_own(family, model, store):
    image = await draw(model, store)
    assert torch.equal(read_latent(store, image.latent), plain(family, output_type="latent"))
    assert same_pixels(store, image, plain(family))


async def test_a_record_says_how_the_image_was_made(family, model, store):
    image = await draw(model, store)
    passes = 1 if family[0] == "flux" else 2
    assert (image.origin, image.steps, image.start_sigma, image.guidance) == ("generate", STEPS, 1.0, 2.0)
    assert (image.width, image.height, image.model) == (SIDE, SIDE, "tiny@0")
    assert image.evaluations == model.evaluations_per_drawing == passes * STEPS
    assert sorted(image.trajectory) == list(EVERY)
    again = await redraw(model, store, image, "resume", 2, keep_steps=(1, 3))
    assert (again.origin, again.parent, again.operator, again.start_step) == ("refine", "drawn", "resume", 2)
    assert again.start_sigma == pytest.approx(float(family[1].scheduler.sigmas[2]))
    assert again.evaluations == passes * (STEPS - 2)
    assert again.trajectory == {1: image.trajectory[1], 3: "latents/resume-2.k03.safetensors"}


async def test_resuming_at_every_step_is_the_uninterrupted_run(model, store):
    source = await draw(model, store)
    final = read_latent(store, source.latent)
    for step in EVERY:
        image = await redraw(model, store, source, "resume", step)
        assert torch.equal(read_latent(store, image.latent), final), step
        with Image.open(store.path(source.path)) as picture:
            assert same_pixels(store, image, picture)


@pytest.mark.parametrize("step", [1, 3])
async def test_injecting_is_image_to_image_from_the_final_latent(family, model, store, step):
    """The pipeline's own noising of the latent, where it takes a latent for an image."""
    name, pipe = family
    if name == "z-image":
        pytest.skip("its image processor takes a latent for a picture")
    source = await draw(model, store)
    image = await redraw(model, store, source, "inject", step, OTHER)
    packed = read_latent(store, source.latent)[None]
    latent = type(pipe)._unpack_latents(packed, SIDE, SIDE, pipe.vae_scale_factor)
    sibling = model.family.redrawing
    expected = sibling(
        OTHER,
        image=latent[:, :, 0] if latent.ndim == 5 else latent,
        strength=(STEPS - step - 0.5) / STEPS,
        height=SIDE,
        width=SIDE,
        num_inference_steps=STEPS,
        generator=torch.Generator("cpu").manual_seed(SEED),
        output_type="latent",
        **guidance_of(name),
    ).images[0]
    assert torch.allclose(read_latent(store, image.latent), expected, atol=1e-6)


async def test_injecting_adds_the_noise_that_the_step_has(model, store):
    source = await draw(model, store)
    image = await redraw(model, store, source, "inject", 2, seed=5, keep_steps=(2,))
    final, sigma = read_latent(store, source.latent), image.start_sigma
    noise = model.family.noise(5)
    assert 0 < sigma < 1
    assert torch.allclose(read_latent(store, image.trajectory[2]), (1 - sigma) * final + sigma * noise, atol=1e-6)


async def test_at_step_zero_nothing_of_the_source_is_left_and_at_the_last_step_nothing_changes(model, store):
    source, other = await draw(model, store), await draw(model, store, "other", OTHER)
    for operator in ("inject", "resume"):
        anew = await redraw(model, store, source, operator, 0, OTHER)
        assert store.read(anew.latent) == store.read(other.latent)
        same = await redraw(model, store, source, operator, STEPS, OTHER)
        assert store.read(same.latent) == store.read(source.latent)
        with Image.open(store.path(source.path)) as picture:
            assert same_pixels(store, same, picture)
        assert (same.evaluations, same.start_sigma) == (0, 0.0)


async def test_the_networks_are_shared_and_keep_their_width(family):
    _, pipe = family
    pipe.transformer.to(torch.bfloat16)
    both = make_family(pipe, width=SIDE, height=SIDE)
    assert both.redrawing.transformer is pipe.transformer
    assert pipe.transformer.dtype == torch.bfloat16
    assert both.redrawing.scheduler is not pipe.scheduler
    pipe.transformer.to(torch.float32)


@pytest.fixture
def one() -> PipelineDiffusion:
    return PipelineDiffusion(made("flux"), "tiny@0", steps=STEPS, width=SIDE, height=SIDE)


async def test_the_pipeline_is_never_entered_by_two_threads(one, store):
    inside: list[int] = []
    most: list[int] = []

    def enter(*called: object) -> None:
        inside.append(1)
        most.append(len(inside))

    def leave(*called: object) -> None:
        inside.pop()

    one.family.drawing.transformer.register_forward_pre_hook(enter)
    one.family.drawing.transformer.register_forward_hook(leave)
    images = await asyncio.gather(*(draw(one, store, id) for id in "abc"))
    assert [image.id for image in images] == ["a", "b", "c"]
    assert len({store.read(image.latent) for image in images}) == 1
    assert set(most) == {1}


def test_one_model_serves_one_event_loop_after_another(one, store):
    assert [asyncio.run(draw(one, store, id)).id for id in "ab"] == ["a", "b"]


async def test_progress_counts_the_steps_that_are_run(one, store):
    told: list[tuple[str, int, int]] = []
    request = GenerateRequest("a", 0, PROMPT, SEED, keep_steps=(2,))
    [source] = await one.generate([request], store, lambda *part: told.append(part))
    assert told == [("a", done, STEPS) for done in range(1, STEPS + 1)]
    told.clear()
    resumed = RedenoiseRequest("b", 1, OTHER, source, "resume", 2, SEED)
    await one.redenoise([resumed], store, lambda *part: told.append(part))
    assert told == [("b", 1, 2), ("b", 2, 2)]


async def test_a_cancelled_caller_ends_the_work(one, store):
    begun, go_on, steps = threading.Event(), threading.Event(), list[int]()

    def wait(image: str, done: int, of: int) -> None:
        steps.append(done)
        begun.set()
        go_on.wait(5)

    leaving = asyncio.create_task(one.generate([GenerateRequest("a", 0, PROMPT, SEED)], store, wait))
    await asyncio.to_thread(begun.wait, 5)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    go_on.set()
    assert (await draw(one, store, "b")).id == "b"
    assert steps == [1]
    assert not store.path("images/a.png").exists()


async def test_a_request_may_name_its_own_schedule_and_guidance(one, store):
    image = await draw(one, store, steps=2, guidance=5.0)
    assert (image.steps, image.guidance, image.evaluations) == (2, 5.0, 2)
    with pytest.raises(SettingsError, match="ask for steps=2"):
        await redraw(one, store, image, "resume", 1)
    assert (await redraw(one, store, image, "inject", 1)).steps == STEPS


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"step": 9}, SettingsError, "they go from 0 to 4"),
        ({"step": 2, "stop_step": 3}, SettingsError, "only SD3"),
        ({"step": 3}, MissingLatentError, "step 3 of image 'drawn' was not kept"),
    ],
)
async def test_what_cannot_be_is_one_line(one, store, asked, error, says):
    [source] = await one.generate([GenerateRequest("drawn", 0, PROMPT, SEED, keep_steps=(2,))], store)
    with pytest.raises(error, match=says):
        await redraw(one, store, source, "resume", **asked)


async def test_a_latent_of_another_model_is_refused(one, store):
    source = await draw(one, store)
    other = PipelineDiffusion(one.family.drawing, "tiny@0", steps=STEPS, width=2 * SIDE, height=SIDE)
    with pytest.raises(ModelError, match="is of another model"):
        await redraw(other, store, source, "inject", 2)


class NoPath:
    """Stands for a pipeline of a family, with the class name that diffusers gives it."""

    def __new__(cls, name: str, scheduler: object = None) -> Any:
        pipe = object.__new__(type(name, (), {}))
        pipe.scheduler = scheduler or shifting()
        return pipe


@pytest.mark.parametrize("name", ["Flux2Pipeline", "HiDreamImagePipeline", "Krea2Pipeline", "FluxImg2ImgPipeline"])
def test_a_family_without_such_a_path_is_refused_in_one_line(name):
    with pytest.raises(ModelError, match=rf"\Adiffusers has no image-to-image pipeline for a {name}, .*\Z"):
        make_family(NoPath(name))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("HiDreamImagePipeline", "no image-to-image pipeline for a HiDreamImagePipeline"),
        ("StableDiffusionXLPipeline", "a StableDiffusionXLImg2ImgPipeline takes no height, width"),
        ("Flux9Pipeline", "has no pipeline Flux9Pipeline"),
    ],
)
def test_a_family_that_cannot_be_refined_is_not_downloaded(tmp_path, monkeypatch, name, complaint):
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"_class_name": name}))
    monkeypatch.setattr(loading, "hf_hub_download", lambda model, file: str(tmp_path / file))
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", lambda source: pytest.fail("it was fetched"))
    with pytest.raises(ModelError, match=complaint):
        PipelineDiffusion.load("owner/name", device="cpu")


def test_schedulers_that_no_step_names_are_refused():
    with pytest.raises(ModelError, match="needs a FlowMatchEulerDiscreteScheduler"):
        make_family(NoPath("SanaSprintPipeline", diffusers.SCMScheduler()))
    stochastic = FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    with pytest.raises(ModelError, match="no seed names an image"):
        make_family(NoPath("FluxPipeline", stochastic))


async def test_a_schedule_that_is_not_the_pipelines_ends_the_call(one, store):
    """A family that shifts otherwise must not leave records with a wrong noise level."""
    one.family.drawing.scheduler.register_to_config(use_dynamic_shifting=False, shift=7.0)
    schedule = one.family.schedule(STEPS)
    one.family.drawing.scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    object.__setattr__(one, "family", Frozen(one.family, schedule))
    with pytest.raises(ModelError, match="a schedule of its own"):
        await draw(one, store)


class Frozen:
    """A family whose schedule does not follow the scheduler."""

    def __init__(self, family: Any, schedule: Any) -> None:
        self._family, self.schedule = family, lambda steps: schedule

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)


async def test_a_folder_is_loaded_by_the_class_that_it_names(one, store, tmp_path):
    one.family.drawing.save_pretrained(tmp_path / "tiny")
    loaded = PipelineDiffusion.load(tmp_path / "tiny", steps=STEPS, width=SIDE, height=SIDE, device="cpu")
    assert loaded.model.startswith("tiny@")
    image, expected = await draw(loaded, store), await draw(one, store, "b")
    assert store.read(image.latent) == store.read(expected.latent)
    narrow = PipelineDiffusion.load(tmp_path / "tiny", width=SIDE, height=SIDE, device="cpu", precision="bf16")
    assert read_latent(store, (await draw(narrow, store, "c", steps=2)).latent).dtype == torch.bfloat16


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"guidance": -1.0}])
def test_settings_that_cannot_work_are_refused(one, wrong):
    with pytest.raises(SettingsError):
        PipelineDiffusion(one.family.drawing, "name", **wrong)
