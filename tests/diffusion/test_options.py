"""What a user sets of a drawing changes it as the same arguments change diffusers' own pipeline."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from typer.testing import CliRunner

from detailscribe.agent import read_run
from detailscribe.agent.cli import app
from detailscribe.agent.settings.presets import EMBEDDED_DIFFUSION
from detailscribe.state import DrawingOptions, ImageRecord
from detailscribe.tools.diffusion import LocalDiffusion, PipelineDiffusion
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.errors import SettingsError

from .test_exactness import PROMPT, SEED, STEPS, Stock
from .test_families import FAMILIES, flux, guidance_of, klein, made, plain, redraw, same_pixels, z_image
from .test_families import draw as draw_family
from .test_weights import write_lora

SKIPS = {"skip_layers": (1,), "skip_scale": 2.0, "skip_interval": (0.1, 0.7)}
"""Four of six steps."""
NEGATIVE = "a red dog and a blue cat and a red boat"


def refuses(make: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as refused:
        make()
    assert "\n" not in str(refused.value)


def fix_shift(pipe: Any, shift: float) -> None:
    """As the documentation of diffusers does it."""
    own = {"use_dynamic_shifting": False, "shift_terminal": None, "shift": shift}
    pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config, **own)


@pytest.mark.parametrize(
    "options", [{"width": 16}, {"height": 20, "width": 16}, {"shift": 5.0}, {"negative_prompt": NEGATIVE}, SKIPS]
)
@pytest.mark.parametrize("name", ["sd3", "dynamic"])
async def test_sd3_draws_as_its_own_pipeline_with_these_arguments(folders, name, options, store, draw):
    stock = Stock(folders[name])
    usual = stock.draw(PROMPT)
    arguments = dict(options)
    if "shift" in arguments:
        fix_shift(stock.pipe, arguments.pop("shift"))
    if "skip_layers" in arguments:
        (start, stop), names = arguments.pop("skip_interval"), ("skip_guidance_layers", "skip_layer_guidance_scale")
        arguments = dict(zip(names, (list(arguments["skip_layers"]), arguments["skip_scale"]), strict=True))
        arguments |= {"skip_layer_guidance_start": start, "skip_layer_guidance_stop": stop}
    expected = stock.draw(PROMPT, **arguments)
    chosen = DrawingOptions(**options)
    model = LocalDiffusion.load(folders[name], steps=STEPS, options=chosen)
    image = await draw(model, "a", PROMPT, SEED, keep_steps=(2,))
    latent = read_latent(store, image.latent)
    torch.testing.assert_close(latent, expected, atol=1e-5, rtol=0)
    assert latent.shape != usual.shape or (latent - usual).abs().max() > 1e-3
    assert image.options == chosen
    assert image.evaluations == model.evaluations_per_drawing == 2 * STEPS + 4 * ("skip_layers" in options)
    assert (image.width, image.height) == (options.get("width", 24), options.get("height", 24))
    assert image.model == model.model != LocalDiffusion.load(folders[name]).model
    assert ImageRecord.model_validate_json(image.model_dump_json()) == image
    again = await draw(model, "b", PROMPT, SEED, source=image, start_step=2)
    torch.testing.assert_close(read_latent(store, again.latent), latent, atol=1e-5, rtol=0)


async def test_images_that_skip_and_images_that_do_not_share_passes(folders, store, draw):
    options = DrawingOptions(**SKIPS)
    model = LocalDiffusion.load(folders["one_clip"], steps=STEPS, options=options)
    alone = [
        await draw(model, "a", PROMPT, 1),
        await draw(model, "b", "a dog", 2, guidance=1.0),
        await draw(model, "c", NEGATIVE, 3, steps=4),
    ]
    together = await asyncio.gather(
        draw(model, "d", PROMPT, 1), draw(model, "e", "a dog", 2, guidance=1.0), draw(model, "f", NEGATIVE, 3, steps=4)
    )
    assert [image.evaluations for image in alone] == [image.evaluations for image in together] == [16, 6, 10]
    for one, other in zip(alone, together, strict=True):
        latents = read_latent(store, one.latent), read_latent(store, other.latent)
        torch.testing.assert_close(*latents, atol=1e-4, rtol=0)


async def test_skipping_lies_within_the_guidance_interval_and_beside_the_block_cache(folders, store, draw):
    options = DrawingOptions(**SKIPS)
    plain = await draw(LocalDiffusion.load(folders["sd3"], steps=STEPS, options=options), "a", PROMPT, SEED)
    cached = options.model_copy(update={"block_cache": 1e-9})
    image = await draw(LocalDiffusion.load(folders["sd3"], steps=STEPS, options=cached), "b", PROMPT, SEED)
    assert image.evaluations == plain.evaluations == 16
    torch.testing.assert_close(read_latent(store, image.latent), read_latent(store, plain.latent), atol=1e-5, rtol=0)
    early = LocalDiffusion.load(
        folders["sd3"], steps=STEPS, options=options.model_copy(update={"guidance_interval": (0.9, 1.0)})
    )
    guided = sum(early.schedule.sigma(step) >= 0.9 for step in range(STEPS))
    image = await draw(early, "c", PROMPT, SEED)
    assert image.evaluations == early.evaluations_per_drawing == STEPS + guided + (guided - 1)


async def test_a_negative_prompt_may_be_longer_than_the_prompt(folders, store, draw):
    """Of one encoder, which reads prompts by their length, both are read alike."""
    stock = Stock(folders["one_clip"])
    (tokens, pooled), (negative, negative_pooled) = stock.read("a cat", 16), stock.read(NEGATIVE, 16)
    words = {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled, "negative_prompt_embeds": negative}
    stock.words = lambda prompt: words | {"negative_pooled_prompt_embeds": negative_pooled}  # type: ignore[method-assign]
    options = DrawingOptions(negative_prompt=NEGATIVE, width=96)
    model = LocalDiffusion.load(folders["one_clip"], steps=STEPS, options=options)
    image = await draw(model, "a", "a cat", SEED)
    torch.testing.assert_close(read_latent(store, image.latent), stock.draw("a cat", width=96), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 18}, "no width of 18 pixels: give a multiple of 4, 24 at most"),
        ({"height": 28}, "no height of 28 pixels"),
        ({"skip_layers": (1, 2)}, "skip_layers names block 2; there are 0 to 1"),
    ],
)
def test_what_sd3_cannot_draw_is_refused(folders, options, says):
    refuses(lambda: LocalDiffusion.load(folders["sd3"], options=DrawingOptions(**options)), says)


@pytest.mark.parametrize("options", [{"negative_prompt": "a dog"}, {"skip_layers": (1,)}])
def test_what_needs_guidance_is_refused_without(folders, options):
    options = DrawingOptions(**options)
    refuses(lambda: LocalDiffusion.load(folders["sd3"], guidance=1.0, options=options), "no effect at guidance 1")


@pytest.mark.parametrize("options", [{"width": 48}, {"shift": 5.0}, {"negative_prompt": NEGATIVE}])
@pytest.mark.parametrize("name", FAMILIES)
async def test_other_families_draw_as_their_own_pipelines_with_these_arguments(name, options, store):
    arguments = {"width": 32, "height": 32} | options
    pipe = made(FAMILIES[name])
    if "negative_prompt" in options and name in ("flux", "flux2", "klein"):
        refuses(
            lambda: PipelineDiffusion(pipe, "tiny@0", guidance=2.0, options=DrawingOptions(**arguments)), "no effect"
        )
        return
    usual = plain((name, pipe))
    model = PipelineDiffusion(
        made(FAMILIES[name]), "tiny@0", steps=4, guidance=2.0, options=DrawingOptions(**arguments)
    )
    image = await draw_family(model, store)
    if "shift" in arguments:
        fix_shift(pipe, arguments.pop("shift"))
    seeded = {"num_inference_steps": 4, "generator": torch.Generator("cpu").manual_seed(SEED)}
    expected = pipe(prompt="a cat holding a boat", **seeded, **guidance_of(name) | arguments).images[0]
    assert same_pixels(store, image, expected)
    assert not same_pixels(store, image, usual)
    assert (image.options, image.width) == (model.options, arguments["width"])
    again = await redraw(model, store, image, "resume", 2)
    assert store.read(again.latent) == store.read(image.latent)


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (flux, {"width": 34}, "no width of 34 pixels: give a multiple of 4"),
        (z_image, {"negative_prompt": "a dog"}, "no effect on a ZImagePipeline at guidance 0"),
        (klein, {"negative_prompt": "a dog"}, "no effect on a Flux2KleinPipeline"),
        (flux, {"skip_layers": (1,)}, "skip_layers has no effect on a FluxPipeline"),
    ],
)
def test_what_a_family_cannot_do_is_refused(make, options, says):
    refuses(lambda: PipelineDiffusion(made(make), "tiny@0", options=DrawingOptions(**options)), says)


def test_options_of_the_command_line_reach_the_records_and_are_made_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    write_lora(LocalDiffusion.load(EMBEDDED_DIFFUSION).pipe, Path("style.safetensors"))
    options = ("--width", "96", "--negative-prompt", "a dog", "--set", "diffusion.shift=5", "--set", "run.steps=4")
    options = (*options, "--lora", "style.safetensors=0.5")
    call("run", "a cat holding an umbrella", "--preset", "embedded+base", "--out", "run", "-q", *options)
    [image] = read_run(tmp_path / "run").images.values()
    loras = {"style.safetensors": 0.5}
    assert image.options == DrawingOptions(width=96, negative_prompt="a dog", shift=5.0, loras=loras)
    assert (image.width, image.height, image.steps) == (96, 144, 4)
    assert "pixels   identical" in call("reproduce", "run", image.id).splitlines()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--lora", "nowhere.safetensors"), "there is no file nowhere.safetensors"),
        (("--lora", "style.bin=0.5"), "diffusion.loras.style.bin"),
        (("--weights", "nowhere.gguf"), "there is no file nowhere.gguf"),
        (("--width", "100"), "no width of 100 pixels: give a multiple of"),
        (("--set", "diffusion.shift=0"), "diffusion.shift"),
        (("--set", "diffusion.shift"), "--set 'diffusion.shift' should read key=value"),
        (("--set", "diffusion.skip_scale=3"), "no effect without skip_layers"),
        (("--set", "diffusion.skip_interval=[0.5, 0.2]", "--set", "diffusion.skip_layers=[1]"), "two numbers in"),
        (("--set", "diffusion.shft=3"), "did you mean 'diffusion.shift'?"),
        (("--set", "run.budget=3", "--set", "run.budget.money=3"), "both a value and a table"),
        (("--set", "diffusion.kind=endpoint", "--set", "diffusion.model=m", "--lora", "a.safetensors"), "no effect"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_drawn(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ("run", "a cat", "--preset", "embedded+base", "--out", "run", *arguments))
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert says in done.stderr
    assert not list(tmp_path.glob("run/images/*"))
