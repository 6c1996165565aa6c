"""Presets: plain settings by one name, each of which can be made into roles."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from detailscribe.agent.cli import app
from detailscribe.agent.policies import POLICIES, BestOfN, resolve_policy
from detailscribe.agent.settings.checks import is_sd3
from detailscribe.agent.settings.loading import load_settings
from detailscribe.agent.settings.models import Models, make_critic, make_decomposer, make_diffusion
from detailscribe.agent.settings.presets import EMBEDDED_DIFFUSION, PRESETS, preset_named
from detailscribe.agent.settings.settings import Settings
from detailscribe.tools.diffusion.memory import KNOWN, Placement, memory_needed
from detailscribe.tools.errors import SettingsError
from detailscribe.tools.roles import model_name, ready

CHAT = {"model": "m", "url": "http://localhost:1/v1"}


def settings_of(name: str, **sections) -> Settings:
    """Of a preset as it comes, but for these sections; neither environment nor file takes part."""
    given = {"run": {"preset": name}, **sections}
    if name == "diffusers":
        given.setdefault("diffusion", {"model": "owner/name"})
    return load_settings(Settings(), given)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_usable_settings_with_a_policy_that_exists(name):
    settings = settings_of(name)
    assert settings.run.preset == name
    resolve_policy(settings.run.policy, **settings.run.policy_args)
    assert settings.is_embedded == (name == "embedded")
    assert PRESETS[name].summary


def test_paper_is_what_was_published():
    settings = settings_of("paper")
    policy = resolve_policy(settings.run.policy)
    assert (settings.run.seed, settings.run.steps, settings.run.guidance) == (2628670643, 28, 4.5)
    assert policy.start_steps == (0, 2, 3, 5)
    chosen = settings.diffusion
    assert chosen.model == "stabilityai/stable-diffusion-3.5-large"
    assert (chosen.precision, chosen.offload, chosen.max_tokens, chosen.swap_pooled) == (
        "nf4-denoiser",
        "model",
        512,
        False,
    )


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in ("embedded", "paper")])
def test_steps_and_guidance_are_the_models_own_so_that_a_distilled_lora_can_change_them(name):
    run = settings_of(name).run
    assert (run.steps, run.guidance) == (None, None)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.endswith("gb")])
def test_a_preset_that_names_its_memory_fits_with_a_tenth_to_spare(name):
    chosen = settings_of(name).diffusion
    room = int(name.rpartition("-")[2].removesuffix("gb")) * 1e9
    placement = Placement("cuda", chosen.precision or "bf16", chosen.offload, chosen.t5)
    assert memory_needed(KNOWN[chosen.model], placement).gpu_bytes < 0.9 * room


def test_an_endpoint_only_draws_by_default():
    assert resolve_policy(settings_of("images-endpoint").run.policy) == BestOfN()


def test_what_a_preset_loads_is_told_to_the_model(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "detailscribe.tools.diffusion.local.LocalDiffusion.load",
        lambda source, **how: asked.update(how, source=source),
    )
    make_diffusion(settings_of("paper", diffusion={"kind": "sd3"}))
    assert asked["source"] == "stabilityai/stable-diffusion-3.5-large"
    assert (asked["precision"], asked["offload"], asked["t5"]) == ("nf4-denoiser", "model", "keep")
    assert (asked["steps"], asked["guidance"], asked["max_tokens"]) == (28, 4.5, 512)
    assert asked["swap_pooled"] is False


async def test_the_embedded_models_need_no_settings(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "detailscribe.tools.diffusion.local.LocalDiffusion.load", lambda source, **_: asked.append(source)
    )
    models = Models(settings_of("embedded"))
    assert type(await ready(models.decomposer)).__name__ == "EmbeddedDecomposer"
    assert models.language is None
    make_diffusion(models.settings)
    assert asked == [EMBEDDED_DIFFUSION]


async def test_one_chat_model_is_shared_by_the_roles_that_ask_it():
    alike = Models(settings_of("embedded", chat=CHAT))
    assert alike.vision is alike.language
    apart = Models(settings_of("embedded", chat=CHAT, vision={"model": "v"}))
    assert apart.vision is not apart.language
    assert model_name(await ready(apart.critic)) == "v@localhost:1"
    assert model_name(await ready(apart.decomposer)) == "m@localhost:1"


@pytest.mark.parametrize(("template", "make"), [("decompose", make_decomposer), ("critique", make_critic)])
def test_a_template_that_cannot_be_used_is_a_setting_that_cannot(tmp_path, template, make):
    (tmp_path / f"{template}.txt").write_text("says nothing of what it should")
    models = Models(settings_of("embedded", chat={**CHAT, "templates": tmp_path}))
    with pytest.raises(SettingsError, match=f"template '{template}' .* has other variables"):
        make(models.settings, models.language)


def test_a_folder_of_templates_that_is_missing_is_refused():
    with pytest.raises(SettingsError, match="no folder nowhere"):
        Models(settings_of("embedded", chat={**CHAT, "templates": "nowhere"}))


@pytest.mark.parametrize(("kind", "is_ours"), [("StableDiffusion3Pipeline", True), ("FluxPipeline", False)])
def test_the_index_of_a_folder_says_which_adapter_draws(tmp_path, kind, is_ours):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    assert is_sd3(settings_of("diffusers", diffusion={"model": str(tmp_path)})) is is_ours
    assert not is_sd3(settings_of("diffusers", diffusion={"model": str(tmp_path), "kind": "pipeline"}))


def test_another_family_is_drawn_by_the_generic_adapter(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "detailscribe.tools.diffusion.pipelines.PipelineDiffusion.load",
        lambda source, **how: asked.update(how, source=source),
    )
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    flux = {"model": str(tmp_path), "offload": "model"}
    make_diffusion(settings_of("diffusers", diffusion=flux))
    assert (asked["source"], asked["offload"]) == (str(tmp_path), "model")
    assert (asked["steps"], asked["guidance"], asked["max_tokens"]) == (None, None, None), "the model's own"
    with pytest.raises(SettingsError, match=r"diffusion\.t5 has no effect"):
        make_diffusion(settings_of("diffusers", diffusion=flux | {"t5": "once"}))


def test_an_images_endpoint_takes_its_own_server_and_price():
    images = {"url": "http://other/v1", "price": 0.04, "size": "512x512"}
    settings = settings_of("images-endpoint", chat=CHAT, images=images)
    drawer = make_diffusion(settings)
    assert drawer.model == "gpt-image-1@other"
    assert (drawer.options.price, drawer.options.size) == (0.04, "512x512")


def test_an_unknown_preset_is_told_with_the_nearest():
    with pytest.raises(SettingsError, match="did you mean 'sd35-medium'"):
        preset_named("sd35-mediun")


def test_the_embedded_model_is_a_folder_of_the_package():
    assert (Path(EMBEDDED_DIFFUSION) / "model_index.json").is_file()


def test_the_documentation_names_the_memory_of_each_preset():
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and "fp8" not in line]
    for name in PRESETS:
        chosen = settings_of(name).diffusion
        if chosen.model in KNOWN:
            placement = Placement("cuda", chosen.precision or "bf16", chosen.offload, chosen.t5)
            need = memory_needed(KNOWN[chosen.model], placement)
            [row] = [row for row in rows if f"`{name}`" in row]
            numbers = (need.gpu_bytes, need.ram_bytes, KNOWN[chosen.model].download)
            assert "".join(f"| {number / 1e9:.1f} GB " for number in numbers) in row


def test_policies_are_listed_with_every_parameter_its_default_range_and_meaning():
    listed = " ".join(CliRunner().invoke(app, ["policies"]).stdout.split())
    for name, policy in POLICIES.items():
        assert f"{name} {policy.__doc__.split()[0]}" in listed
        assert all(f"{field} = " in listed for field in policy.model_fields)
    assert "n = 4 [at least 1, at most 1000] Seeds." in listed
    assert 'operator = "inject" [inject | resume | edit] How a refinement starts;' in listed
