"""Where weights lie changes what fits and how fast it is, never the image."""

import asyncio
import logging
import weakref
from itertools import product

import pytest
import torch
from transformers import T5EncoderModel

from detailscribe.agent.settings.presets import PRESETS
from detailscribe.tools.diffusion import LocalDiffusion, loading, local, placement
from detailscribe.tools.diffusion.embeddings import encode
from detailscribe.tools.diffusion.latents import read_latent
from detailscribe.tools.diffusion.memory import KNOWN, Placement, large_parts, memory_needed, quantized_parts
from detailscribe.tools.diffusion.memory import _weight_bytes as weight_bytes
from detailscribe.tools.diffusion.placement import DeviceTurns, TransientEncoder, choose_placement
from detailscribe.tools.errors import ModelError, SettingsError

CPU = torch.device("cpu")
LARGE, MEDIUM = "stabilityai/stable-diffusion-3.5-large", "stabilityai/stable-diffusion-3.5-medium"


@pytest.fixture
def load(folders, monkeypatch):
    """The tiny SD3, with the CPU in the place of a GPU."""

    def loaded(offload="none", t5="keep", precision="fp32", **more):
        monkeypatch.setattr(local, "choose_placement", lambda *chosen: Placement(CPU, precision, offload, t5))
        return LocalDiffusion.load(folders["sd3"], steps=2, offload=offload, **more)

    return loaded


@pytest.mark.parametrize(("offload", "t5"), [*product(["none", "model", "group"], ["keep", "once", "drop"])])
async def test_overlapping_prompts_draw_the_same_however_the_model_lies(load, store, draw, offload, t5):
    plain = load(t5="drop" if t5 == "drop" else "keep")
    expected = [read_latent(store, (await draw(plain, prompt=prompt)).latent) for prompt in ("a cat", "a dog")]
    model = load(offload, t5, max_batch=1)
    drawing = asyncio.gather(draw(model, "b", "a cat"), draw(model, "c", "a dog"))
    for image, latent in zip(await asyncio.wait_for(drawing, 60), expected, strict=True):
        assert torch.equal(read_latent(store, image.latent), latent)


class Weights(torch.nn.Linear):
    """Remembers where it was sent."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.where, self.device = "nowhere", "cpu"

    def to(self, device) -> "Weights":
        self.where = str(device)
        return self


def test_large_networks_take_turns_on_the_device():
    turns, networks = DeviceTurns(torch.device("meta")), [Weights(), Weights()]
    reader = TransientEncoder(Weights, torch.float32)
    reader.before_loading = turns.clear
    for network in networks:
        turns.add(network)
        reader.drop_before(network)
    for number in (0, 1, 1, 0):
        networks[number](torch.zeros(1, 2))
        assert [network.where for network in networks] == ["meta" if i == number else "cpu" for i in (0, 1)]
    reader(torch.zeros(1, 2))
    assert reader.network is not None
    assert [network.where for network in networks] == ["cpu", "cpu"]
    networks[1](torch.zeros(1, 2))
    assert (reader.network, networks[1].where) == (None, "meta")


def test_the_autoencoder_stays_on_the_device_since_no_hook_runs_before_its_decode(load):
    pipe = load("model").pipe
    assert pipe.transformer._forward_pre_hooks  # It takes turns, which a hook before its forward pass sees to.
    assert large_parts({"transformer": 4, "vae": 4, "text_encoder_3": 4, "text_encoder": 1}) == [
        "transformer",
        "text_encoder_3",
    ]
    assert not pipe.vae._forward_pre_hooks


async def test_the_text_encoder_and_the_denoiser_change_places_once_for_prompts_that_wait_together(load, draw):
    """Prompts that come while images are drawn are read together, when those are done."""
    model, order = load("model", "once", max_batch=1), list[str]()
    reader, loaded = model.pipe.text_encoder_3, model.pipe.text_encoder_3.load
    reader.load = lambda: order.append("T5") or loaded()
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def report(image: str, done: int, steps: int) -> None:
        order.append(image)
        loop.call_soon_threadsafe(begun.set)

    first = asyncio.create_task(draw(model, "a", progress=report))
    await begun.wait()
    await asyncio.gather(first, *(draw(model, id, f"a {id}", progress=report) for id in ("cat", "dog")))
    assert order == ["T5", "a", "a", "T5", "cat", "cat", "dog", "dog"]


@pytest.mark.parametrize(
    ("model", "way", "bound"),
    [
        (LARGE, ("bf16", "model", "once"), 24),
        (LARGE, ("fp8", "none", "keep"), 24),
        (LARGE, ("nf4", "model", "once"), 12),
        (MEDIUM, ("nf4-t5", "model", "keep"), 12),
    ],
)
def test_the_small_cards_have_room_for_what_is_on_them_at_once(model, way, bound):
    assert memory_needed(KNOWN[model], Placement("cuda", *way)).gpu_bytes < bound * 1e9 - 0.5e9


async def test_in_8_bits_the_denoiser_takes_half_the_room_and_draws_about_the_same(load, store, draw):
    wide, narrow = load(precision="bf16"), load(precision="fp8")
    expected, image = await draw(wide), await draw(narrow, "b")
    first, second = (read_latent(store, one.latent).float() for one in (expected, image))
    assert not torch.equal(first, second)
    assert torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0) > 0.99
    block = narrow.pipe.transformer.transformer_blocks[0]
    assert block.attn.to_q.weight.dtype == torch.float8_e4m3fn


def test_which_parts_are_in_4_bits():
    pytest.importorskip("bitsandbytes")
    parts = {"nf4": (True, True), "nf4-denoiser": (True, False), "nf4-t5": (False, True), "bf16": (False, False)}
    for precision, quantized in parts.items():
        chosen = Placement(torch.device("cuda", 0), precision)
        for part, library, expected in zip(
            ("transformer", "unet", "text_encoder_3"),
            ("diffusers", "diffusers", "transformers"),
            (quantized[0], *quantized),
            strict=True,
        ):
            arguments = placement.loading_arguments(library, chosen, part in quantized_parts({}, precision))
            assert ("quantization_config" in arguments) == expected
            if expected:
                assert arguments["quantization_config"].bnb_4bit_quant_type == "nf4"
                assert type(arguments["quantization_config"]).__module__.startswith(library)
        assert placement.loading_arguments("diffusers", chosen, False) == {"dtype": torch.bfloat16}


@pytest.mark.parametrize("offload", ["model", "group"])
def test_offloading_needs_somewhere_to_load_from(offload):
    with pytest.raises(SettingsError, match=r"there is no GPU: set diffusion\.offload"):
        choose_placement("cpu", offload=offload)


def test_four_bits_need_a_gpu():
    with pytest.raises(ModelError, match=r"\A.*needs an NVIDIA GPU: .*diffusion.precision = .bf16.*\Z"):
        choose_placement("cpu", "nf4")


def test_four_bits_need_bitsandbytes_and_whole_parts(monkeypatch):
    monkeypatch.setattr(placement.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'detailscribe\[gpu\]'"):
        choose_placement(None, "nf4")
    monkeypatch.setattr(placement, "find_spec", lambda name: object())
    with pytest.raises(SettingsError, match=r"set diffusion\.offload = .model"):
        choose_placement(None, "nf4", "group")
    assert choose_placement(None, "nf4", "model").dtype == torch.bfloat16


@pytest.mark.parametrize(("cuda", "mps", "device"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_the_best_device_is_taken(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(placement.torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(placement.torch.backends.mps, "is_available", lambda: mps)
    chosen = choose_placement()
    assert chosen == Placement(torch.device(device), "fp32" if device == "cpu" else "bf16")
    assert chosen.on_gpu == cuda


async def test_of_a_long_refined_prompt_the_clips_read_the_corrections_first(load, store, draw, caplog):
    """CLIP reads 20 tokens here, begin and end among them; T5 reads the whole in its order."""
    model, read = load(), {"text_encoder": [], "text_encoder_3": []}
    for name in ("text_encoder", "text_encoder_3"):
        part = getattr(model.pipe, name)
        part.register_forward_pre_hook(lambda module, args, name=name: read[name].append(args[0][0].tolist()))
    original, correction = "a cat riding a boat and a dog riding a boat and a cat .", "a red dog and a blue boat ."
    whole = model.pipe.tokenizer_3(f"{original} {correction}").input_ids
    first = model.pipe.tokenizer(correction).input_ids[:-1]
    from_the_beginning = [*whole[:19], whole[-1]]
    with caplog.at_level(logging.WARNING):
        source = await draw(model, "a", original, keep_steps=(1,))
        image = await draw(model, "b", f"{original} {correction}", source=source, start_step=1)
    assert read["text_encoder"][-1][: len(first)] == first
    assert read["text_encoder_3"][-1][: len(whole)] == whole
    assert from_the_beginning not in read["text_encoder"]
    assert not caplog.records
    published = LocalDiffusion(model.pipe, model.model, steps=2, swap_pooled=False)
    await draw(published, "c", f"{original} {correction}", source=source, start_step=1)
    assert from_the_beginning in read["text_encoder"]
    again = await model.draw(image.attempt(), store, source=source)
    assert again.digest == image.digest


def test_a_prompt_that_the_clips_can_read_whole_is_left_as_it_is(load):
    pipe = load().pipe
    for prompt in ("a cat. a red dog.", "a cat " * 30):
        assert torch.equal(encode(pipe, prompt).tokens, encode(pipe, prompt, refined=True).tokens)


needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=needs_gpu, id=" ".join(way))
        for way in [
            *product(["bf16", "fp8"], ["none", "model"], ["keep", "once"]),
            *product(["bf16"], ["group"], ["keep", "once"]),
            *product(["nf4", "nf4-denoiser", "nf4-t5"], ["none", "model"], ["keep", "once", "drop"]),
        ]
    ],
)
async def test_every_way_of_loading_draws_on_a_gpu(folders, store, draw, way):
    precision, offload, t5 = way
    if precision.startswith("nf4"):
        pytest.importorskip("bitsandbytes")
    model = LocalDiffusion.load(folders["sd3"], steps=2, precision=precision, offload=offload, t5=t5)
    first, second = [read_latent(store, (await draw(model, id)).latent) for id in "ab"]
    assert first.isfinite().all()
    assert torch.equal(first, second)


SMALL_CARDS = {
    name: preset.settings["diffusion"]
    for name, preset in PRESETS.items()
    if name.startswith("sd35") and name.endswith("gb")
}


@pytest.mark.parametrize("name", SMALL_CARDS)
async def test_two_overlapping_prompts_never_have_more_on_the_card_than_the_preset_says(
    name, folders, draw, monkeypatch
):
    """The tiny model's parts count as those of the real one; where they are is read off every move and forward pass."""
    chosen = {"t5": "keep", "precision": "bf16"} | SMALL_CARDS[name]
    way, card = (chosen["precision"], chosen["offload"], chosen["t5"]), torch.device("cpu:0")
    sizes = {part: weight_bytes(part, size, way[0]) for part, size in KNOWN[chosen["model"]].parts.items()}
    there, peaks, move = weakref.WeakValueDictionary(), list[int](), torch.nn.Module.to

    def part_of(module: torch.nn.Module) -> str | None:
        return next((part for part, one in parts.items() if one is module), None) or (
            "text_encoder_3" if isinstance(module, T5EncoderModel) else None
        )

    def traced(module: torch.nn.Module, *where, **more):
        if (part := part_of(module)) and where and isinstance(where[0], torch.device | str):
            if str(where[0]) == "cpu:0":
                there[part] = module
            else:
                there.pop(part, None)
            peaks.append(sum(sizes[one] for one in there))
        return move(module, *where, **more)

    parts: dict[str, torch.nn.Module] = {}
    real_put = loading.put

    def put(pipe, placed):
        parts.update({n: p for n, p in pipe.components.items() if isinstance(p, torch.nn.Module)})
        return real_put(pipe, placed)

    monkeypatch.setattr(torch.nn.Module, "to", traced)
    monkeypatch.setattr(loading, "put", put)
    monkeypatch.setattr(placement, "large_parts", lambda tiny: [part for part in large_parts(sizes) if part in tiny])
    monkeypatch.setattr(local, "choose_placement", lambda *a: Placement(card, "fp32", chosen["offload"], chosen["t5"]))
    model = LocalDiffusion.load(folders["sd3"], steps=2, offload=chosen["offload"], t5=chosen["t5"], max_batch=1)
    ran = set[str]()
    for part, module in parts.items():
        module.register_forward_pre_hook(lambda *called, part=part: ran.add(part) if part in there else 1 / 0)
    await asyncio.gather(draw(model, "a", "a cat"), draw(model, "b", "a dog"))
    assert ran >= {"transformer", "text_encoder", "text_encoder_2"}
    need = memory_needed(KNOWN[chosen["model"]], Placement("cuda", *way)).gpu_bytes
    working = KNOWN[chosen["model"]].pixels * 1536 * 2
    assert max(peaks) + working == need
    assert need < int(name.removesuffix("gb").rpartition("-")[2]) * 1e9
