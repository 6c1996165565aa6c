"""Pipelines that take a picture and an instruction edit, each by its own signature, with tiny random weights."""

from importlib.util import find_spec

import diffusers.pipelines.longcat_image.pipeline_longcat_image_edit as longcat_edit
import diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus as qwen_edit_plus
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FluxKontextPipeline,
    LongCatImageEditPipeline,
    LongCatImageTransformer2DModel,
    QwenImageEditPlusPipeline,
)
from PIL import Image, ImageDraw
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
)

from detailscribe.state import Attempt, DrawingOptions, ImageRecord, Region
from detailscribe.tools.diffusion import LocalDiffusion, PipelineDiffusion
from detailscribe.tools.diffusion.editing import WithEditor
from detailscribe.tools.diffusion.job import DrawJob
from detailscribe.tools.errors import ModelError, SettingsError

from .test_families import OTHER, WIDTH, flux, klein, made, qwen, same_pixels, shifting, vae

STEPS, SEED, SIZE = 2, 3, (96, 64)
MARKS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]


class Still(Qwen2VLProcessor):
    """Qwen's own processor without its part for videos, which needs torchvision."""

    def __init__(self, image_processor=None, tokenizer=None, **more) -> None:
        super().__init__(image_processor=image_processor, tokenizer=tokenizer, **more)


def kontext() -> FluxKontextPipeline:
    return FluxKontextPipeline(**flux().components)


def qwen_edit() -> QwenImageEditPlusPipeline:
    parts = qwen().components
    words = parts["tokenizer"]
    words.add_special_tokens({"additional_special_tokens": MARKS})
    start, end, still, video = words.convert_tokens_to_ids(MARKS)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    ids = {"vocab_size": len(words), "bos_token_id": 1, "eos_token_id": 2}
    text = ids | sizes | {"hidden_size": WIDTH, "intermediate_size": 32, "rope_parameters": rope}
    shape = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": WIDTH}
    vision = shape | {"window_size": 56, "fullatt_block_indexes": [0]}
    marks = {"vision_start_token_id": start, "vision_end_token_id": end}
    marks |= {"image_token_id": still, "video_token_id": video}
    reads = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2, min_pixels=28 * 28, max_pixels=96 * 64)
    parts["text_encoder"] = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=text, vision_config=vision, **marks)
    )
    return QwenImageEditPlusPipeline(**parts, processor=Still(reads, words))


def longcat() -> LongCatImageEditPipeline:
    parts = qwen_edit().components
    sizes = {"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2}
    sizes |= {"joint_attention_dim": WIDTH, "pooled_projection_dim": WIDTH, "axes_dims_rope": (4, 4, 8)}
    return LongCatImageEditPipeline(
        transformer=LongCatImageTransformer2DModel(in_channels=64, **sizes),
        scheduler=shifting(),
        vae=AutoencoderKL.from_config(vae().config, latent_channels=16),
        text_encoder=parts["text_encoder"],
        tokenizer=parts["tokenizer"],
        text_processor=parts["processor"],
    )


EDITORS = {"kontext": kontext, "qwen": qwen_edit, "klein": klein, "longcat": longcat}


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    """These pipelines look at each picture in a megapixel."""
    monkeypatch.setattr(qwen_edit_plus, "CONDITION_IMAGE_SIZE", 96 * 64)
    monkeypatch.setattr(qwen_edit_plus, "VAE_IMAGE_SIZE", 96 * 64)
    monkeypatch.setattr(longcat_edit, "calculate_dimensions", lambda area, ratio: SIZE)


def drawn(store, id: str = "a", size: tuple[int, int] = SIZE) -> ImageRecord:
    picture = Image.new("RGB", size, "green")
    ImageDraw.Draw(picture).ellipse((4, 4, 24, 24), "red")
    job = DrawJob(Attempt(id=id, prompt="a ball", seed=1), store)
    how = {"guidance": 0.0, "model": "painter", "evaluations": 0, "seconds": 0.0}
    return job.write(picture, latent=None, steps=1, start_sigma=1.0, **how)


def edit(source: ImageRecord, **more) -> Attempt:
    about = {"source": source.id, "parent": source.id, "operator": "edit", "prompt": OTHER, "seed": SEED}
    return Attempt(**{"id": "b", "round": 1} | about | more)


@pytest.mark.parametrize("name", EDITORS)
async def test_an_edit_is_what_the_pipeline_makes_of_picture_and_instruction(store, name):
    pipe, source = made(EDITORS[name]), drawn(store)
    model = PipelineDiffusion(pipe, "tiny@0", steps=STEPS, guidance=2.0)
    image = await model.draw(edit(source), store, source=source)
    assert (image.width, image.height, image.operator, image.parent, image.start_sigma) == (*SIZE, "edit", "a", 1.0)
    assert image.evaluations == (1 if name == "kontext" else 2) * STEPS
    guidance = {"true_cfg_scale": 2.0, "negative_prompt": " "} if name == "qwen" else {"guidance_scale": 2.0}
    size = {} if name == "longcat" else {"width": SIZE[0], "height": SIZE[1]}
    whole = {"max_area": SIZE[0] * SIZE[1], "_auto_resize": False} if name == "kontext" else {}

    def own(picture: Image.Image) -> Image.Image:
        generator = torch.Generator("cpu").manual_seed(SEED)
        how = size | {"num_inference_steps": STEPS, "generator": generator}
        return pipe(image=picture, prompt=OTHER, **how, **guidance, **whole).images[0]

    assert same_pixels(store, image, own(Image.open(store.path(source.path)).convert("RGB")))
    assert not same_pixels(store, image, own(Image.new("RGB", SIZE)))
    again = await model.draw(edit(image, id="c"), store, source=image)  # from an edit, too
    assert again.parent == "b"


async def test_a_picture_of_any_size_keeps_it_and_everything_outside_a_region(store):
    source = drawn(store, size=(98, 66))
    model = PipelineDiffusion(made(klein), "tiny@0", steps=1, guidance=1.0)
    right = Region(boxes=((0.5, 0.0, 1.0, 1.0),), margin=0)
    whole = await model.draw(edit(source, id="whole"), store, source=source)
    image = await model.draw(edit(source, region=right), store, source=source)
    assert (image.width, image.height) == (whole.width, whole.height) == (98, 66)
    before, after = (Image.open(store.path(one.path)).convert("RGB") for one in (source, image))
    assert before.crop((0, 0, 49, 66)).tobytes() == after.crop((0, 0, 49, 66)).tobytes()
    assert before.crop((49, 0, 98, 66)).tobytes() != after.crop((49, 0, 98, 66)).tobytes()
    assert image.latent is None  # it would be of another picture


async def test_what_takes_no_picture_or_draws_nothing_says_so_in_one_line(store, folders):
    source = drawn(store)
    for model in (LocalDiffusion.load(folders["one_clip"]), PipelineDiffusion(made(flux), "tiny@0", steps=1)):
        with pytest.raises(SettingsError, match=r"\A'b' is an edit, and the model that draws takes no picture.*\Z"):
            await model.draw(edit(source), store, source=source)
    for make in (qwen_edit, longcat):
        editor = PipelineDiffusion(made(make), "tiny@0", steps=1)
        with pytest.raises(SettingsError, match=r"\Atiny@0 edits pictures and draws none.*\Z"):
            await editor.draw(Attempt(id="c", prompt="a cat", seed=1), store)
    with pytest.raises(SettingsError, match="leave width and height out"):
        PipelineDiffusion(made(longcat), "tiny@0", options=DrawingOptions(width=96))
    tiny = drawn(store, "tiny", (48, 32))
    with pytest.raises(ModelError, match=r"\Atiny@0 cannot edit 'tiny': Image too small.*\Z"):
        await PipelineDiffusion(made(klein), "tiny@0", steps=1).draw(edit(tiny), store, source=tiny)


async def test_kontext_draws_the_size_that_was_asked_for_and_spares_no_blocks(store):
    options = DrawingOptions(width=SIZE[0], height=SIZE[1])
    model = PipelineDiffusion(made(kontext), "tiny@0", steps=1, options=options)
    image = await model.draw(Attempt(id="a", prompt="a cat", seed=1), store)
    assert (image.width, image.height) == SIZE
    with pytest.raises(SettingsError, match=r"has no block cache.*no cache_context"):
        PipelineDiffusion(made(kontext), "tiny@0", options=options.model_copy(update={"block_cache": 0.1}))


async def test_one_model_draws_and_another_edits(store, model):
    both = WithEditor(model, PipelineDiffusion(made(kontext), "tiny@0", steps=1))
    assert (both.model, both.evaluations_per_drawing) == (f"{model.model}, edits by tiny@0", 12)
    source = await both.draw(Attempt(id="a", prompt="a cat", seed=1), store)
    image = await both.draw(edit(source), store, source=source)
    assert (source.model, image.model) == (model.model, "tiny@0")
    assert source.latent
    assert (image.latent, image.trajectory) == (None, {})  # which the model that draws could not read


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="the processor for videos is there")
async def test_a_folder_of_qwens_is_read_without_torchvision(store, tmp_path):
    qwen_edit().save_pretrained(tmp_path)
    for file in (tmp_path / "model_index.json", *(tmp_path / "processor").glob("*.json")):  # as its publishers write it
        text = file.read_text().replace("tests.diffusion.test_edits", "transformers")
        file.write_text(text.replace('"Still"', '"Qwen2VLProcessor"'))
    source = drawn(store)
    model = PipelineDiffusion.load(tmp_path, steps=1, precision="fp32")
    image = await model.draw(edit(source), store, source=source)
    assert (image.width, image.height, image.operator) == (*SIZE, "edit")
