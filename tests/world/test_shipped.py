"""The weights inside the package: they load, they are small, they see well, and a run with them holds together."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from PIL import Image, ImageChops

from benchmarks.world import balanced_accuracy
from detailscribe.agent import read_events, run
from detailscribe.agent.settings.presets import EMBEDDED_DIFFUSION, EMBEDDED_GUIDANCE, EMBEDDED_STEPS
from detailscribe.state import Attempt, RunResult
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.diffusion.job import read_record
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.files import Store
from detailscribe.tools.world.detector import WEIGHTS, Detector
from detailscribe.tools.world.vocabulary import SIZE

PROMPT = "a fox riding a red bicycle, next to a bear holding a blue balloon"
SHORT, SEED = "a cat holding a red umbrella in the snow", 11
FEW = 4
"""Steps that suffice where only exactness counts."""


def test_all_weights_lie_in_one_folder_of_at_most_25_megabytes():
    assert EMBEDDED_DIFFUSION.parent.resolve() == WEIGHTS.resolve()
    files = list(WEIGHTS.rglob("*.safetensors"))
    assert {p.relative_to(WEIGHTS).parts[0] for p in files} == {
        "critic.safetensors",
        "judge.safetensors",
        "diffusion",
    }
    assert sum(p.stat().st_size for p in files) <= 25_000_000
    assert not [p for p in WEIGHTS.rglob("*") if p.suffix in (".pt", ".bin", ".partial")]


async def test_the_diffusion_folder_draws_a_picture_of_the_worlds_size(tmp_path):
    model = LocalDiffusion.load(EMBEDDED_DIFFUSION, steps=1)
    image = await model.draw(Attempt(id="00-00", prompt=PROMPT, seed=SEED), Store(tmp_path))
    assert (image.width, image.height) == (SIZE, SIZE)
    assert image.model.startswith("diffusion@")


class Stock:
    """The folder in diffusers' own pipeline, told of a prompt as the denoiser was trained to read it."""

    def __init__(self) -> None:
        absent: Any = dict.fromkeys(("text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3"))
        self.pipe: Any = StableDiffusion3Pipeline.from_pretrained(EMBEDDED_DIFFUSION, dtype=torch.float32, **absent)
        self.pipe.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def read(self, prompt: str, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        ids = self.pipe.tokenizer(prompt, padding="max_length", max_length=length, return_tensors="pt").input_ids
        text = self.pipe.text_encoder(ids, output_hidden_states=True)
        return text.hidden_states[-2], text.text_embeds

    def draw(self, prompt: str, output_type: str) -> Any:
        length = -(-len(self.pipe.tokenizer(prompt).input_ids) // 8) * 8
        (tokens, pooled), (empty, empty_pooled) = self.read(prompt, length), self.read("", length)
        return self.pipe(
            prompt_embeds=tokens,
            pooled_prompt_embeds=pooled,
            negative_prompt_embeds=empty,
            negative_pooled_prompt_embeds=empty_pooled,
            generator=torch.Generator("cpu").manual_seed(SEED),
            num_inference_steps=FEW,
            guidance_scale=EMBEDDED_GUIDANCE,
            output_type=output_type,
        ).images[0]


@pytest.mark.parametrize("prompt", [SHORT, f"{SHORT}. Placed in the snow: the cat left, bottom."])
async def test_one_image_is_exactly_the_one_of_diffusers_own_pipeline(tmp_path, prompt):
    store, stock = Store(tmp_path), Stock()
    model = LocalDiffusion.load(EMBEDDED_DIFFUSION, steps=FEW, guidance=EMBEDDED_GUIDANCE)
    image = await model.draw(Attempt(id="00-00", prompt=prompt, seed=SEED), store)
    assert torch.equal(read_latent(store, image.latent), stock.draw(prompt, "latent"))
    assert same_pixels(store.path(image.path), stock.draw(prompt, "pil"))


def same_pixels(path: Path, picture: Image.Image) -> bool:
    with Image.open(path) as ours:
        return ours.size == picture.size and ImageChops.difference(ours.convert("RGB"), picture).getbbox() is None


@pytest.mark.parametrize("complexity", [None, 5])
@pytest.mark.parametrize(("name", "least"), [("critic", 0.98), ("judge", 0.98)])
def test_both_critics_answer_every_kind_of_question_well(name, least, complexity):
    accuracy = balanced_accuracy(Detector.load(name), 100, complexity)
    assert set(accuracy) == {"presence", "attribute", "count", "relation", "scene", "nothing_else"}
    strangers = {"nothing_else": 0.95 if complexity else 0.97}
    assert {aspect: value for aspect, value in accuracy.items() if value < strangers.get(aspect, least)} == {}


def test_critic_and_judge_are_two_networks():
    assert Detector.load("critic").model.partition("@")[2] != Detector.load("judge").model.partition("@")[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One run as a user makes it."""
    return run(PROMPT, out=tmp_path_factory.mktemp("runs") / "one", seed=7)


@pytest.mark.slow
def test_a_run_leaves_every_file_whole(whole):
    names = {p.relative_to(whole.folder).as_posix() for p in whole.folder.rglob("*") if p.is_file()}
    assert {"events.jsonl", "manifest.json", "report.html", "result.json"} <= names
    assert {image.record.path for image in whole.images} == {n for n in names if n.endswith(".png")}
    assert not [n for n in names if n.endswith(".partial")]
    assert RunResult.model_validate_json((whole.folder / "result.json").read_bytes()) == whole.result
    assert json.loads((whole.folder / "manifest.json").read_bytes())["prompt"] == PROMPT
    assert len(read_events(whole.folder / "events.jsonl")) == len(
        (whole.folder / "events.jsonl").read_text().splitlines()
    )


@pytest.mark.slow
def test_every_picture_says_how_it_was_made(whole):
    for image in whole.images:
        assert read_record(image.path) == image.record
        assert image.record.steps == EMBEDDED_STEPS


@pytest.mark.slow
def test_the_best_image_is_one_of_the_run_and_none_passed_more(whole):
    assert whole.best.record in [image.record for image in whole.images]
    assert whole.best.critique.passed == max(image.critique.passed for image in whole.images)
    assert [d.image for d in whole.decisions] == [image.record.id for image in whole.images]


@pytest.mark.slow
def test_the_same_seed_decides_and_draws_the_same(whole, tmp_path):
    again = run(PROMPT, out=tmp_path / "again", seed=7)
    assert again.decisions == whole.decisions
    assert [i.record.seed for i in again.images] == [i.record.seed for i in whole.images]
    assert same_pixels(again.best.path, whole.best.image.convert("RGB"))
