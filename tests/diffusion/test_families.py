"""Other families draw and are refined through their own pipelines, or say clearly that they cannot be."""

import asyncio
import functools
import json
import string
import threading
import warnings
from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from PIL import Image, ImageChops
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLTextConfig,
    Qwen3VLTextModel,
    T5Config,
    T5EncoderModel,
)

from detailscribe.state import Attempt, DrawingOptions, ImageRecord, Region
from detailscribe.tools.diffusion import PipelineDiffusion, loading
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.errors import MissingLatentError, ModelError, SettingsError

STEPS, SEED, SIDE = 4, 11, 32
SQUARE = DrawingOptions(width=SIDE, height=SIDE)
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


def vae(halvings: int = 1) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * (halvings + 1),
        up_block_types=["UpDecoderBlock2D"] * (halvings + 1),
        block_out_channels=[8] * (halvings + 1),
        norm_num_groups=4,
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=1.5,
        shift_factor=0.1,
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
            num_layers=2,
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


def klein(distilled: bool = False) -> Flux2KleinPipeline:
    sizes = {"num_hidden_layers": 28, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8}
    return Flux2KleinPipeline(
        transformer=Flux2Transformer2DModel(
            in_channels=16,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=3 * 8,
            timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        scheduler=shifting(),
        vae=AutoencoderKLFlux2(
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            block_out_channels=[8, 8],
            norm_num_groups=4,
            layers_per_block=1,
            latent_channels=4,
        ),
        text_encoder=Qwen3ForCausalLM(Qwen3Config(vocab_size=32, hidden_size=8, intermediate_size=8, **sizes)),
        tokenizer=tokenizer(512),
        is_distilled=distilled,
    )


def lumina2() -> Lumina2Pipeline:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    return Lumina2Pipeline(
        transformer=Lumina2Transformer2DModel(
            sample_size=16,
            in_channels=4,
            hidden_size=24,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=1,
            num_kv_heads=1,
            multiple_of=8,
            axes_dim_rope=(8, 8, 8),
            axes_lens=(300, 32, 32),
            cap_feat_dim=WIDTH,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=vae(halvings=3),
        text_encoder=Gemma2Model(Gemma2Config(vocab_size=32, hidden_size=WIDTH, intermediate_size=32, **sizes)),
        tokenizer=tokenizer(256),
    )


def flux2() -> Flux2Pipeline:
    small = klein()
    sizes = {"num_hidden_layers": 30, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8}
    reader = tokenizer(512)
    reader.chat_template = "{{ messages[-1].content[0].text }}"
    return Flux2Pipeline(
        transformer=Flux2Transformer2DModel.from_config(small.transformer.config, guidance_embeds=True),
        scheduler=shifting(),
        vae=small.vae,
        text_encoder=MistralForCausalLM(MistralConfig(vocab_size=32, hidden_size=8, intermediate_size=8, **sizes)),
        tokenizer=reader,
    )


def krea2() -> Krea2Pipeline:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    text = Qwen3VLTextConfig(vocab_size=32, hidden_size=16, intermediate_size=16, rope_parameters=rope, **sizes)
    return Krea2Pipeline(
        transformer=Krea2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=32,
            timestep_embed_dim=16,
            text_hidden_dim=16,
            num_text_layers=2,
            text_num_attention_heads=2,
            text_num_key_value_heads=2,
            text_intermediate_size=16,
            num_layerwise_text_blocks=1,
            num_refiner_text_blocks=1,
            axes_dims_rope=(4, 6, 6),
        ),
        scheduler=shifting(),
        vae=qwen().vae,
        text_encoder=Qwen3VLTextModel(text),
        tokenizer=tokenizer(512),
        text_encoder_select_layers=(1, 2),
    )


FAMILIES = {
    "klein": klein,
    "flux2": flux2,
    "krea2": krea2,
    "lumina2": lumina2,
    "flux": flux,
    "undistilled flux": lambda: flux(False),
    "chroma": chroma,
    "z-image": z_image,
    "qwen": qwen,
}
NEGATIVE = ("krea2", "lumina2", "undistilled flux", "chroma", "z-image", "qwen")
"""Families that take a negative prompt."""
NO_CACHE = ("lumina2", "chroma", "z-image", "klein", "flux2", "krea2")
"""Families of which diffusers can spare no blocks."""
GUIDED = {
    "klein": "guidance_scale",
    "flux2": "guidance_scale",
    "krea2": "guidance_scale",
    "lumina2": "guidance_scale",
    "flux": "guidance_scale",
    "chroma": "guidance_scale",
    "z-image": "guidance_scale",
}
"""Other ones call it ``true_cfg_scale`` and want a negative prompt."""


def made(make: Callable[[], Any]) -> Any:
    """A pipeline of a family, as it is after loading."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        # diffusers' own Chroma imports it from where diffusers no longer wants it imported.
        warnings.filterwarnings("ignore", "`FluxPosEmbed` is deprecated", FutureWarning)
        pipe = make()
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return pipe


@pytest.fixture(scope="module", params=FAMILIES)
def family(request) -> tuple[str, Any]:
    return request.param, made(FAMILIES[request.param])


@pytest.fixture
def model(family) -> PipelineDiffusion:
    return PipelineDiffusion(family[1], "tiny@0", steps=STEPS, guidance=2.0, options=SQUARE)


def guidance_of(name: str) -> dict[str, Any]:
    if name in GUIDED:
        return {GUIDED[name]: 2.0}
    return {"true_cfg_scale": 2.0, "negative_prompt": " "}


def plain(family, prompt: str = PROMPT, **more: Any) -> Any:
    """What the pipeline itself draws, used as its authors mean it."""
    name, pipe = family
    return pipe(
        prompt=prompt,
        height=SIDE,
        width=SIDE,
        num_inference_steps=STEPS,
        generator=torch.Generator("cpu").manual_seed(SEED),
        **guidance_of(name),
        **more,
    ).images[0]


async def draw(model, store, id="drawn", prompt=PROMPT, **more) -> ImageRecord:
    progress = more.pop("progress", None)
    attempt = Attempt(id=id, prompt=prompt, **{"seed": SEED, "keep_steps": EVERY} | more)
    return await model.draw(attempt, store, progress=progress)


async def redraw(model, store, source, operator, step, prompt=PROMPT, seed=SEED, **more) -> ImageRecord:
    progress = more.pop("progress", None)
    start = {"source": source.id, "parent": source.id, "operator": operator, "start_step": step}
    attempt = Attempt(id=f"{operator}-{step}", round=1, prompt=prompt, seed=seed, **start, **more)
    return await model.draw(attempt, store, source=source, progress=progress)


def same_pixels(store, record: ImageRecord, picture: Image.Image) -> bool:
    with Image.open(store.path(record.path)) as ours:
        return ours.size == picture.size and ImageChops.difference(ours, picture).getbbox() is None


async def test_an_image_is_the_pipelines_own(family, model, store):
    image = await draw(model, store)
    if family[0] != "klein":  # which unpacks its latents before it hands them out
        assert torch.equal(read_latent(store, image.latent), plain(family, output_type="latent"))
    assert same_pixels(store, image, plain(family))


async def test_a_record_says_how_the_image_was_made(family, model, store):
    image = await draw(model, store)
    passes = 1 if family[0] in ("flux", "flux2") else 2
    assert (image.origin, image.steps, image.start_sigma, image.guidance) == ("generate", STEPS, 1.0, 2.0)
    assert (image.width, image.height, image.model, image.options) == (SIDE, SIDE, SQUARE.name("tiny@0"), SQUARE)
    assert image.evaluations == model.evaluations_per_drawing == passes * STEPS
    assert sorted(image.trajectory) == list(EVERY)
    again = await redraw(model, store, image, "resume", 2, keep_steps=(1, 3))
    assert (again.origin, again.parent, again.operator, again.start_step) == ("refine", "drawn", "resume", 2)
    plain(family)
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


async def test_injecting_adds_the_noise_that_the_step_has(model, store):
    source = await draw(model, store)
    image = await redraw(model, store, source, "inject", 2, seed=5, keep_steps=(2,))
    final, sigma = read_latent(store, source.latent), image.start_sigma
    noise = read_latent(store, (await draw(model, store, "noise", seed=5)).trajectory[0])
    assert 0 < sigma < 1
    assert torch.allclose(read_latent(store, image.trajectory[2]), (1 - sigma) * final + sigma * noise, atol=1e-6)


@pytest.mark.parametrize("operator", ["inject", "resume"])
async def test_a_region_is_kept_to_through_the_callback(family, model, store, operator):
    source = await draw(model, store)
    plain = await redraw(model, store, source, operator, 1, OTHER)
    whole = await redraw(model, store, source, operator, 1, OTHER, region=Region(boxes=((0, 0, 1, 1),)))
    assert store.read(plain.latent) == store.read(whole.latent)
    upper = Region(boxes=((0, 0, 1, 0.5),), margin=0, release=0)
    image = await redraw(model, store, source, operator, 1, OTHER, region=upper)
    before, after = read_latent(store, source.latent), read_latent(store, image.latent)
    rows = before.ndim - 2  # packed latents are tokens, row by row
    for half, same in zip(range(2), (False, True), strict=True):
        assert torch.equal(before.chunk(2, rows)[half], after.chunk(2, rows)[half]) is same, family[0]


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


def schnell() -> FluxPipeline:
    pipe = flux(False)
    pipe.register_modules(scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0))
    return pipe


def whole_z_image() -> ZImagePipeline:
    pipe = z_image()
    pipe.register_modules(scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0))
    return pipe


@pytest.mark.parametrize(
    ("make", "steps", "guidance", "evaluations"),
    [
        (flux, 28, 3.5, 28),
        (schnell, 4, 0, 4),
        (z_image, 9, 0, 9),
        (whole_z_image, 50, 5, 100),
        (qwen, 50, 4, 100),
        (chroma, 35, 5, 70),
        (lumina2, 30, 4, 60),
        (klein, 50, 4, 100),
        (lambda: klein(True), 4, 1, 4),
    ],
)
def test_a_model_is_drawn_with_the_steps_and_guidance_that_it_was_made_for(make, steps, guidance, evaluations):
    model = PipelineDiffusion(made(make), "tiny@0")
    assert (model.steps, model.guidance, model.evaluations_per_drawing) == (steps, guidance, evaluations)
    chosen = PipelineDiffusion(made(make), "tiny@0", steps=7, guidance=0.0)
    assert (chosen.steps, chosen.guidance, chosen.evaluations_per_drawing) == (7, 0, 7)


@pytest.mark.parametrize(("make", "own", "tokens"), [(schnell, None, 256), (schnell, 100, 100), (flux, None, 512)])
async def test_schnell_reads_the_tokens_that_it_was_made_for(make, own, tokens, store):
    pipe, read = made(make), []
    pipe.text_encoder_2.register_forward_pre_hook(lambda module, args: read.append(args[0].shape[1]))
    await draw(PipelineDiffusion(pipe, "tiny@0", steps=1, options=SQUARE, max_tokens=own), store, keep_steps=())
    assert read == [tokens]


@pytest.mark.parametrize("make", [schnell, z_image, lambda: klein(True)])
async def test_a_distilled_model_takes_one_pass_a_step(make, store):
    model = PipelineDiffusion(made(make), "tiny@0", options=SQUARE)
    image = await draw(model, store, keep_steps=(2,))
    assert image.evaluations == model.evaluations_per_drawing == model.steps
    again = await redraw(model, store, image, "resume", 2)
    assert store.read(again.latent) == store.read(image.latent)


def passes_of(model) -> list[int]:
    """The rows of each forward pass from now on."""
    rows: list[int] = []

    def count(module, args, given):
        rows.append(len(given["hidden_states"] if "hidden_states" in given else args[0]))

    model.denoiser.register_forward_pre_hook(count, with_kwargs=True)
    return rows


async def test_images_that_wait_together_share_their_passes_and_are_the_same_as_alone(family, store):
    """Prompts of several lengths, new and refined; the refined ones start from latents of their own."""
    pipe = family[1]
    options = SQUARE.model_copy(update={"negative_prompt": "dog"} if family[0] in NEGATIVE else {})
    alone, together = (
        PipelineDiffusion(pipe, "tiny@0", steps=STEPS, guidance=2.0, options=options, max_batch=most) for most in (1, 8)
    )
    prompts = {"a": PROMPT, "b": OTHER, "c": "a boat"}
    sources = [await draw(alone, store, id, prompt, seed=seed) for seed, (id, prompt) in enumerate(prompts.items())]

    def everything(model, mark: str) -> list[Any]:
        drawn = [draw(model, store, id + mark, prompt, seed=seed) for seed, (id, prompt) in enumerate(prompts.items())]
        ways = zip(sources, ("resume", "inject"), strict=False)
        return drawn + [redraw(model, store, one, way, 2, OTHER, seed=7, keep_steps=(3,)) for one, way in ways]

    expected = [await image for image in everything(alone, "1")]
    kept = [[read_latent(store, latent) for latent in (image.latent, image.trajectory[3])] for image in expected]
    rows = passes_of(together)
    images = await asyncio.gather(*everything(together, "2"))
    assert max(rows) in (3, 6)
    assert sum(rows) == sum(image.evaluations for image in images)
    for image, one, latents in zip(images, expected, kept, strict=True):
        assert (image.seed, image.evaluations) == (one.seed, one.evaluations)
        now = [read_latent(store, latent) for latent in (image.latent, image.trajectory[3])]
        torch.testing.assert_close(now, latents, atol=1e-4, rtol=0)


@pytest.fixture
def one() -> PipelineDiffusion:
    return PipelineDiffusion(made(flux), "tiny@0", steps=STEPS, options=SQUARE)


async def test_the_pipeline_is_never_entered_by_two_threads(one, store):
    inside: list[int] = []
    most: list[int] = []

    def enter(*called: object) -> None:
        inside.append(1)
        most.append(len(inside))

    def leave(*called: object) -> None:
        inside.pop()

    one.pipe.transformer.register_forward_pre_hook(enter)
    one.pipe.transformer.register_forward_hook(leave)
    images = await asyncio.gather(*(draw(one, store, id) for id in "abc"))
    assert [image.id for image in images] == ["a", "b", "c"]
    assert len({store.read(image.latent) for image in images}) == 1
    assert set(most) == {1}


def test_one_model_serves_one_event_loop_after_another(one, store):
    assert [asyncio.run(draw(one, store, id)).id for id in "ab"] == ["a", "b"]


async def test_progress_counts_the_steps_that_are_run(one, store):
    told: list[tuple[str, int, int]] = []
    source = await draw(one, store, "a", progress=lambda *part: told.append(part))
    assert told == [("a", done, STEPS) for done in range(1, STEPS + 1)]
    told.clear()
    await redraw(one, store, source, "resume", 2, progress=lambda *part: told.append(part))
    assert told == [("resume-2", 1, 2), ("resume-2", 2, 2)]


async def test_one_of_a_batch_can_be_cancelled_or_fail_alone(one, store):
    expected = read_latent(store, (await draw(one, store, "b")).latent)
    rows, tasks = passes_of(one), dict[str, asyncio.Task[Any]]()
    loop = asyncio.get_running_loop()

    def cancel(image: str, done: int, of: int) -> None:
        loop.call_soon_threadsafe(tasks["a"].cancel)

    for id, more in {"a": {"progress": cancel}, "early": {"stop_step": 2}, "b2": {}}.items():
        tasks[id] = asyncio.create_task(draw(one, store, id, **more))
    with pytest.raises(asyncio.CancelledError):
        await tasks["a"]
    with pytest.raises(SettingsError, match="cannot stop at step 2"):
        await tasks["early"]
    assert (await tasks["b2"]).id == "b2"
    assert rows == [2] * STEPS
    torch.testing.assert_close(read_latent(store, "latents/b2.safetensors"), expected, atol=1e-4, rtol=0)
    assert not store.path("images/a.png").exists()


async def test_where_there_is_no_room_for_a_batch_half_of_it_is_drawn_at_a_time(one, store):
    expected, rows = read_latent(store, (await draw(one, store)).latent), passes_of(one)

    def refuse(module, args, given):
        if len(given["hidden_states"]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    most = 2
    one.denoiser.register_forward_pre_hook(refuse, with_kwargs=True)
    images = await asyncio.gather(*(draw(one, store, id) for id in "abcd"))
    assert rows == [4, *[2] * (2 * STEPS)]
    for image in images:
        assert image.evaluations == STEPS
        torch.testing.assert_close(read_latent(store, image.latent), expected, atol=1e-4, rtol=0)
    most = 0
    with pytest.raises(ModelError, match="no room in memory for one image"):
        await draw(one, store, "e")


async def test_of_a_long_refined_prompt_clip_reads_the_corrections_first(one, store, caplog):
    read = list[list[int]]()
    one.pipe.text_encoder.register_forward_pre_hook(lambda module, args: read.append(args[0][0].tolist()))
    original, correction = "a cat " * 12 + ".", "red boat and blue dog."
    source = await draw(one, store, "a", original)
    await redraw(one, store, source, "resume", 1, f"{original} {correction}")
    assert len(one.pipe.tokenizer(f"{original} {correction}").input_ids) > 77
    assert read[-1][: len(correction)] == one.pipe.tokenizer(correction).input_ids
    assert "CLIP" not in caplog.text


async def test_a_cancelled_caller_ends_the_work(one, store):
    begun, go_on, steps = threading.Event(), threading.Event(), list[int]()

    def wait(image: str, done: int, of: int) -> None:
        steps.append(done)
        begun.set()
        go_on.wait(5)

    leaving = asyncio.create_task(draw(one, store, "a", progress=wait))
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


class FixedSteps(QwenImagePipeline):
    def __init__(self, scheduler, vae, text_encoder, tokenizer, transformer, sample_sigmas=(1.0, 0.9, 0.4)) -> None:
        super().__init__(scheduler, vae, text_encoder, tokenizer, transformer)
        self.register_to_config(sample_sigmas=list(sample_sigmas))

    @functools.wraps(QwenImagePipeline.__call__)
    def __call__(self, **how: Any) -> Any:
        return super().__call__(sigmas=self.config.sample_sigmas, **how)


async def test_a_model_with_noise_levels_of_its_own_takes_no_other_number_of_steps(store):
    """As Qwen-Image 2.1 does."""
    model = PipelineDiffusion(made(lambda: FixedSteps(**qwen().components)), "tiny@0", guidance=1.0, options=SQUARE)
    image = await draw(model, store, keep_steps=(2,))
    assert image.steps == image.evaluations == model.evaluations_per_drawing == 3
    again = await redraw(model, store, image, "resume", 2)
    assert store.read(again.latent) == store.read(image.latent)
    with pytest.raises(SettingsError, match=r"takes 3 steps, not 20: ask for steps=3"):
        await draw(model, store, steps=20)


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"step": 9}, SettingsError, "steps go from 0 to 4"),
        ({"step": 2, "stop_step": 3}, SettingsError, "only SD3"),
        ({"step": 3}, MissingLatentError, "step 3 of image 'drawn' was not kept"),
    ],
)
async def test_what_cannot_be_is_one_line(one, store, asked, error, says):
    source = await draw(one, store, keep_steps=(2,))
    with pytest.raises(error, match=says):
        await redraw(one, store, source, "resume", **asked)


async def test_a_latent_of_another_model_is_refused(one, store):
    source = await draw(one, store)
    other = PipelineDiffusion(one.pipe, "tiny@0", steps=STEPS, options=DrawingOptions(width=2 * SIDE, height=SIDE))
    with pytest.raises(ModelError, match="is of another model"):
        await redraw(other, store, source, "inject", 2)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("FluxImg2ImgPipeline", "here is only a prompt"),
        ("FluxControlPipeline", "takes control_image"),
        ("DDPMPipeline", "takes no prompt"),
        ("Ideogram4Pipeline", "has no default guidance_scale"),
        ("QwenImageLayeredPipeline", "takes layers"),
        ("Flux9Pipeline", "has no pipeline Flux9Pipeline"),
    ],
)
def test_a_pipeline_that_cannot_be_steered_is_not_downloaded(tmp_path, monkeypatch, name, complaint):
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"_class_name": name}))
    monkeypatch.setattr(loading, "hf_hub_download", lambda model, file: str(tmp_path / file))
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", lambda source: pytest.fail("it was fetched"))
    with pytest.raises(ModelError, match=complaint):
        PipelineDiffusion.load("owner/name", device="cpu")


def test_a_scheduler_that_draws_its_noise_from_elsewhere_is_refused():
    pipe = made(flux)
    pipe.register_modules(scheduler=FlowMatchEulerDiscreteScheduler(stochastic_sampling=True))
    with pytest.raises(ModelError, match="no seed would name an image"):
        PipelineDiffusion(pipe, "tiny@0")


def unet_pipeline() -> StableDiffusionPipeline:
    clip = CLIPTextConfig(
        vocab_size=32,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=77,
        eos_token_id=2,
    )
    return StableDiffusionPipeline(
        unet=UNet2DConditionModel(
            sample_size=SIDE // 2,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH,
        ),
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        vae=vae(),
        text_encoder=CLIPTextModel(clip),
        tokenizer=tokenizer(77),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


async def test_what_cannot_be_refined_draws_what_its_pipeline_draws(store, tmp_path):
    """Stable Diffusion 1.5: a U-Net under a scheduler of another kind."""
    pipe = made(unet_pipeline)
    drawer = PipelineDiffusion(pipe, "tiny@0", steps=STEPS, guidance=2.0)
    reports = []
    image = await draw(drawer, store, progress=lambda *report: reports.append(report))
    generator = torch.Generator("cpu").manual_seed(SEED)
    alone = pipe(PROMPT, num_inference_steps=STEPS, guidance_scale=2.0, generator=generator).images[0]
    assert same_pixels(store, image, alone)
    assert (image.width, image.latent, image.trajectory, image.evaluations) == (SIDE, None, {}, 2 * STEPS)
    assert (drawer.evaluations_per_drawing, drawer.steps, len(reports)) == (2 * STEPS, STEPS, STEPS)
    with pytest.raises(SettingsError, match="its scheduler is a DDIMScheduler, so it draws and"):
        await redraw(drawer, store, image, "inject", 2)
    assert PipelineDiffusion(pipe, "tiny@0").guidance == 7.5
    pipe.save_pretrained(tmp_path / "tiny")
    loaded = PipelineDiffusion.load(tmp_path / "tiny", steps=STEPS, guidance=2.0, device="cpu")
    assert (await draw(loaded, store, "again")).width == SIDE
    with pytest.raises(SettingsError, match="has no shift"):
        PipelineDiffusion(pipe, "tiny@0", options=DrawingOptions(shift=3))


def sdxl() -> StableDiffusionXLPipeline:
    parts = unet_pipeline().components
    more = {"cross_attention_dim": 2 * WIDTH, "addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    reader = CLIPTextModelWithProjection(parts["text_encoder"].config)
    more["projection_class_embeddings_input_dim"] = reader.config.projection_dim + 6 * 8
    unet: Any = UNet2DConditionModel.from_config(parts["unet"].config, **more)
    shared = {name: parts[name] for name in ("vae", "text_encoder", "tokenizer", "scheduler")}
    return StableDiffusionXLPipeline(**shared, text_encoder_2=reader, tokenizer_2=tokenizer(77), unet=unet)


class Untested(FluxPipeline):
    """Of which nothing is known but that it can draw."""


@pytest.mark.parametrize(
    ("make", "passes"),
    [
        (unet_pipeline, [4] * STEPS),
        (sdxl, [4] * STEPS),
        (lambda: Untested(**flux().components), [1] * 2 * STEPS),
    ],
)
async def test_only_classes_of_which_images_are_the_same_in_a_batch_share_passes(make, passes, store):
    model = PipelineDiffusion(made(make), "tiny@0", steps=STEPS, guidance=2.0, options=SQUARE)

    def both(mark: str) -> list[Any]:
        return [draw(model, store, f"{mark}{n}", prompt, seed=n) for n, prompt in enumerate((PROMPT, OTHER))]

    alone = [await image for image in both("alone")]
    rows = passes_of(model)
    for image, one in zip(await asyncio.gather(*both("together")), alone, strict=True):
        with Image.open(store.path(image.path)) as picture, Image.open(store.path(one.path)) as expected:
            assert max(high for _, high in ImageChops.difference(picture, expected).getextrema()) <= 1
    assert rows == passes


async def test_what_its_thread_raises_reaches_the_caller(one, store, monkeypatch):
    monkeypatch.setattr(type(one.pipe), "encode_prompt", lambda *given, **more: next(iter(())))
    with pytest.raises(ModelError, match="StopIteration"):
        await asyncio.wait_for(draw(one, store), 30)


async def test_a_folder_is_loaded_by_the_class_that_it_names(one, store, tmp_path):
    one.pipe.save_pretrained(tmp_path / "tiny")
    loaded = PipelineDiffusion.load(tmp_path / "tiny", steps=STEPS, options=SQUARE, device="cpu")
    assert loaded.model.startswith("tiny@")
    image, expected = await draw(loaded, store), await draw(one, store, "b")
    # Where weights lie in memory may change the last bit.
    torch.testing.assert_close(read_latent(store, image.latent), read_latent(store, expected.latent), atol=1e-5, rtol=0)
    narrow = PipelineDiffusion.load(tmp_path / "tiny", options=SQUARE, device="cpu", precision="bf16")
    assert read_latent(store, (await draw(narrow, store, "c", steps=2)).latent).dtype == torch.bfloat16


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"guidance": -1.0}])
def test_settings_that_cannot_work_are_refused(one, wrong):
    with pytest.raises(SettingsError):
        PipelineDiffusion(one.pipe, "name", **wrong)


async def test_blocks_are_spared_by_diffusers_own_cache_or_the_setting_is_refused(family, model, store):
    name, _ = family
    plain, pipe = await draw(model, store, "plain"), made(FAMILIES[name])
    options = SQUARE.model_copy(update={"block_cache": 0.99})
    if name in NO_CACHE:
        with pytest.raises(SettingsError, match="has no block cache"):
            PipelineDiffusion(pipe, "tiny@0", options=options)
        return
    sparing = PipelineDiffusion(pipe, "tiny@0", steps=STEPS, guidance=2.0, options=options)
    first = await draw(sparing, store, "first")
    assert not torch.equal(read_latent(store, first.latent), read_latent(store, plain.latent))
    stopped = asyncio.create_task(draw(sparing, store, "stopped", progress=lambda *done: stopped.cancel()))
    with pytest.raises(asyncio.CancelledError):
        await stopped
    again = await draw(sparing, store, "again")
    assert torch.equal(read_latent(store, again.latent), read_latent(store, first.latent))


async def test_attention_and_tiles_can_be_chosen_or_are_refused(family, model, store):
    plain, pipe = await draw(model, store, "plain"), made(FAMILIES[family[0]])
    if family[0] == "lumina2":
        with pytest.raises(SettingsError, match="attends in its own way"):
            PipelineDiffusion(pipe, "tiny@0", attention="native")
        return
    how = {"attention": "_native_math", "tiled": True}
    chosen = PipelineDiffusion(pipe, "tiny@0", steps=STEPS, guidance=2.0, options=SQUARE, **how)
    image = await draw(chosen, store)
    torch.testing.assert_close(*(read_latent(store, x.latent) for x in (image, plain)), atol=1e-4, rtol=0)
    assert pipe.vae.use_tiling


def test_guidance_at_some_noise_levels_alone_is_for_sd3(family):
    with pytest.raises(SettingsError, match="leave guidance_interval out"):
        PipelineDiffusion(family[1], "tiny@0", options=DrawingOptions(guidance_interval=(0.2, 0.8)))
