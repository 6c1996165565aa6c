"""Tiny models with random weights: SD3 with a T5, SD3 without one but with dynamic shifting, and one with one CLIP."""

import json
import shutil
from collections.abc import Coroutine
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from detailscribe.state import Attempt, ImageRecord
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.files import Store

WORDS = ["a", "cat", "dog", "red", "blue", "holding", "riding", "boat", "and"]
STEPS = 6
WIDTH = 16


def tokenizer(longest: int) -> PreTrainedTokenizerFast:
    special = {"<pad>": 0, "<unk>": 1, "<begin>": 2, "<end>": 3}
    words = Tokenizer(models.WordLevel(special | {w: i for i, w in enumerate(WORDS, 4)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="<begin> $A <end>", special_tokens=[("<begin>", 2), ("<end>", 3)]
    )
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<begin>", "eos_token": "<end>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=longest, **names)


def clip(longest: int) -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=4 + len(WORDS),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=longest,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
        )
    )


def denoiser(side: int, patch: int, text_width: int) -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        sample_size=side,
        patch_size=patch,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=text_width,
        caption_projection_dim=16,
        pooled_projection_dim=text_width,
        pos_embed_max_size=side // patch,
        qk_norm="rms_norm",
        dual_attention_layers=(0,),
    )


def sd3(t5: bool, **shifting: object) -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    width = 2 * WIDTH
    config = T5Config(vocab_size=32, d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return StableDiffusion3Pipeline(
        transformer=denoiser(12, 2, width),
        scheduler=FlowMatchEulerDiscreteScheduler(**shifting),
        vae=AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            block_out_channels=[8, 8],
            norm_num_groups=4,
            layers_per_block=1,
            latent_channels=4,
            scaling_factor=1.5,
            shift_factor=0.1,
        ),
        text_encoder=clip(20),
        tokenizer=tokenizer(20),
        text_encoder_2=clip(20),
        tokenizer_2=tokenizer(20),
        text_encoder_3=T5EncoderModel(config) if t5 else None,
        tokenizer_3=tokenizer(256) if t5 else None,
    )


def one_clip() -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(0, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )
    vae.register_to_config(scaling_factor=1.6, shift_factor=0.002)
    return StableDiffusion3Pipeline(
        transformer=denoiser(18, 3, WIDTH),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae,
        text_encoder=clip(48),
        tokenizer=tokenizer(48),
        text_encoder_2=None,
        tokenizer_2=None,
        text_encoder_3=None,
        tokenizer_3=None,
    )


def save(pipe: StableDiffusion3Pipeline, folder: Path) -> Path:
    """In half precision, as the embedded model ships."""
    for name in ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"):
        if getattr(pipe, name) is not None:
            getattr(pipe, name).half()
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    made = {
        "sd3": save(sd3(t5=True, shift=3.0), root / "sd3"),
        "dynamic": save(sd3(t5=False, use_dynamic_shifting=True), root / "dynamic"),
        "one_clip": save(one_clip(), root / "one_clip"),
    }
    # diffusers writes it, needs it at no time, and complains of it at every load.
    config = made["one_clip"] / "vae" / "config.json"
    config.write_text(
        json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "block_out_channels"})
    )
    return made


@pytest.fixture(params=["sd3", "dynamic", "one_clip"])
def folder(request, folders) -> Path:
    return folders[request.param]


@pytest.fixture
def broken(folders, tmp_path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(folders["one_clip"], tmp_path / "broken"))


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "run")


@pytest.fixture
def model(folders) -> LocalDiffusion:
    return LocalDiffusion.load(folders["one_clip"], steps=STEPS)


class Draw:
    """Carries attempts out in few words; a refinement is one with a ``source``."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __call__(
        self, model, id: str = "a", prompt: str = "a cat", seed: int = 5, *, source: ImageRecord | None = None, **more
    ) -> Coroutine[None, None, ImageRecord]:
        progress = more.pop("progress", None)
        if source is not None:
            lineage = {"round": 1, "source": source.id, "operator": "resume", "parent": source.id}
            more = lineage | more
        attempt = Attempt(id=id, prompt=prompt, seed=seed, **more)
        return model.draw(attempt, self.store, source=source, progress=progress)


@pytest.fixture
def draw(store) -> Draw:
    return Draw(store)
