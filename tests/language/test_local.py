"""A chat model in this process: the real Qwen3-VL class, of tiny random weights, behind the same role as a server's."""

import asyncio
import math
import string

import pytest
import torch
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.runnables import RunnableLambda
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from detailscribe.agent.settings.checks import endpoint_of, look_at_chat, look_at_vision
from detailscribe.agent.settings.loading import load_settings
from detailscribe.agent.settings.settings import Settings
from detailscribe.state import Check, ConceptGraph, Entity
from detailscribe.tools.errors import ModelError, ReplyError, SettingsError
from detailscribe.tools.files import Store
from detailscribe.tools.language import local
from detailscribe.tools.language.chat import ChatModel
from detailscribe.tools.language.question import Picture, Question, picture_of_number
from detailscribe.tools.language.settings import ChatSettings
from detailscribe.tools.vision.critic import ChatCritic

from ..agent.fakes import record
from .scripted import Colour

MARKS = ["<pad>", "<unk>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
WORDS = [*MARKS, "<|video_pad|>", "Yes", "No", *string.printable]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
QUESTION = Question("colour", "You see.", "Which colour is it?")
SIZES = {"vocab_size": len(WORDS), "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    words.decoder = decoders.Fuse()
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<|im_end|>"}
    made = PreTrainedTokenizerFast(tokenizer_object=words, extra_special_tokens=WORDS[2:8], **names)
    made.chat_template = TEMPLATE
    return made


def save(model, folder) -> str:
    model.generation_config.eos_token_id = WORDS.index("<|im_end|>")
    model.generation_config.pad_token_id = 0
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def seeing(tmp_path_factory) -> str:
    """The folder of a model that sees."""
    torch.manual_seed(0)
    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
    vision |= {"patch_size": 4, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    marks = {f"{name}_token_id": WORDS.index(f"<|{name}_pad|>") for name in ("image", "video")}
    marks |= {f"vision_{end}_token_id": WORDS.index(f"<|vision_{end}|>") for end in ("start", "end")}
    config = Qwen3VLConfig(text_config=SIZES | {"rope_parameters": rope}, vision_config=vision, **marks)
    folder = save(Qwen3VLForConditionalGeneration(config), tmp_path_factory.mktemp("seeing"))
    pixels = {"shortest_edge": 8 * 8, "longest_edge": 64 * 64}
    Qwen2VLImageProcessor(patch_size=4, temporal_patch_size=2, merge_size=2, size=pixels).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reading(tmp_path_factory) -> str:
    """The folder of a model of text alone."""
    torch.manual_seed(0)
    return save(Qwen3ForCausalLM(Qwen3Config(**SIZES)), tmp_path_factory.mktemp("reading"))


@pytest.fixture(autouse=True)
def unloaded():
    local._loaded.cache_clear()


def chat(model: str, **more) -> ChatModel:
    return ChatModel(ChatSettings(model=model, base_url="local", **{"max_tokens": 12, "device": "cpu"} | more))


def saying(monkeypatch, *texts: str, asked: list | None = None) -> None:
    """The network's own choice of words is replaced by these, token by token, each text at its call; then the last."""
    plain, left = Qwen3VLForConditionalGeneration.generate, list(texts)

    def generate(self, **how):
        text, reader = left.pop(0) if len(left) > 1 else left[0], tokenizer()
        ids = [*reader(text).input_ids, WORDS.index("<|im_end|>")]
        begun = how["input_ids"].shape[1]
        (asked if asked is not None else []).append(reader.decode(how["input_ids"][0]))

        def allowed(batch, written):
            return [ids[min(len(written) - begun, len(ids) - 1)]]

        return plain(self, **how, prefix_allowed_tokens_fn=allowed)

    monkeypatch.setattr(Qwen3VLForConditionalGeneration, "generate", generate)


async def test_an_answer_is_read_as_a_servers_is_and_asked_for_again(seeing, monkeypatch):
    asked = []
    saying(monkeypatch, "Well, red.", 'So: {"colour": "red"}', asked=asked)
    reply = await chat(seeing, max_tokens=40, input_price=1.0, output_price=10.0).ask(QUESTION, Colour)
    assert reply.value == Colour(colour="red")
    first, second = reply.exchanges
    assert (first.reply, second.reply) == ("Well, red.", 'So: {"colour": "red"}')
    assert asked[0].startswith("<|im_start|>system\nYou see.<|im_end|>\n<|im_start|>user\nWhich colour is it?")
    assert '"required": ["colour"]' in asked[0], "nothing else binds the answer to its schema"
    assert "Well, red." in asked[1]
    assert (first.prompt_tokens, first.reply_tokens) == (len(tokenizer()(asked[0]).input_ids), 11)
    assert first.money == pytest.approx((first.prompt_tokens + 110) / 1e6)
    assert first.model == f"{seeing}@local"


async def test_what_random_weights_say_is_no_answer_and_says_why(seeing):
    with pytest.raises(ReplyError) as failed:
        await chat(seeing, attempts=2).ask(QUESTION, Colour)
    assert len(failed.value.exchanges) == 2
    assert "length: the answer was cut after 12 tokens" in failed.value.reason


async def test_a_critic_whose_answers_cannot_be_read_was_not_heard(seeing, tmp_path):
    store, image = Store(tmp_path), record("00-00")
    store.write(image.path, picture_of_number())
    checks = (Check(id="cat", question="Is there a cat?", aspect="presence", about="c"),)
    concepts = ConceptGraph(prompt="a cat", entities=(Entity(id="c", name="cat"),), checks=checks)
    seen = await ChatCritic(chat(seeing, attempts=1)).critique(image, concepts, store)
    [verdict] = seen.verdicts
    assert (verdict.answer, verdict.heard) == ("unknown", False)
    assert seen.silence


@pytest.mark.parametrize("ahead", [-2.0, 0.5])
async def test_the_probability_of_yes_is_that_of_the_networks_logits(seeing, ahead):
    network, _ = await asyncio.to_thread(local._loaded, seeing, "cpu", None)
    yes, no = WORDS.index("Yes"), WORDS.index("No")

    def favour(module, args, logits):
        logits[..., [yes, no]] = logits.max() + 5 + torch.tensor([ahead, 0.0])
        return logits

    network.lm_head.register_forward_hook(favour)
    question = Question("holds", "", "Is it red? Answer yes or no.", (Picture(picture_of_number(), "a.png"),))
    found = await chat(seeing, picture_side=64).likelihood(question)
    assert found.probability == pytest.approx(1 / (1 + math.exp(-ahead)))
    assert found.exchange.reply.startswith("Yes" if ahead > 0 else "No")


async def test_without_yes_or_no_among_the_likely_words_nothing_is_known(seeing):
    network, _ = await asyncio.to_thread(local._loaded, seeing, "cpu", None)
    network.lm_head.register_forward_hook(lambda module, args, logits: logits + 50 * (torch.arange(len(WORDS)) > 20))
    found = await chat(seeing).likelihood(QUESTION)
    assert (found.probability, "neither yes nor no" in found.reason) == (None, True)


async def test_pictures_are_seen(seeing):
    model, blank = chat(seeing, picture_side=64), Picture(picture_of_number(), "a.png")
    with_picture = await model.likelihood(Question("q", "", "Red?", (blank,)))
    without = await model.likelihood(Question("q", "", "Red?"))
    marks = with_picture.exchange.prompt_tokens - without.exchange.prompt_tokens
    assert marks == 2 + (64 // 4 // 2) ** 2, "one place for each patch, begin and end"


async def test_it_is_loaded_once_at_the_first_question_and_answers_one_after_another(seeing, monkeypatch):
    saying(monkeypatch, '{"colour": "red"}')
    loads, inside, most = [], 0, 0
    plain, spoken = Qwen3VLForConditionalGeneration.from_pretrained, Qwen3VLForConditionalGeneration.generate

    def load(*args, **how):
        loads.append(args)
        return plain(*args, **how)

    def generate(self, **how):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            return spoken(self, **how)
        finally:
            inside -= 1

    monkeypatch.setattr(Qwen3VLForConditionalGeneration, "from_pretrained", load)
    monkeypatch.setattr(Qwen3VLForConditionalGeneration, "generate", generate)
    first, second = chat(seeing, max_tokens=40), chat(seeing, max_tokens=40)
    assert not loads
    await asyncio.gather(*(model.ask(QUESTION, Colour) for model in (first, second) for _ in range(3)))
    assert (len(loads), most) == (1, 1)


async def test_tracers_see_its_calls(seeing):
    class Tracer(AsyncCallbackHandler):
        async def on_chat_model_start(self, serialized, messages, *, name=None, **_):
            named.append(name)

    named = []

    async def asking(_):
        return await chat(seeing).likelihood(QUESTION)

    await RunnableLambda(asking).ainvoke("", {"callbacks": [Tracer()]})
    assert named == ["colour"]


async def test_a_question_ends_with_its_time(seeing):
    with pytest.raises(ReplyError, match=r"timed out after 1e-06 s"):
        await chat(seeing, timeout=1e-6, max_tokens=500, attempts=1).ask(QUESTION, Colour)


async def test_arguments_of_generate_are_the_body(seeing):
    with pytest.raises(ModelError, match="cannot answer"):
        await chat(seeing, body={"no_such": 1}).likelihood(QUESTION)


async def test_a_model_of_text_decomposes_and_is_no_critic(reading):
    with pytest.raises(ReplyError, match="length"):
        await chat(reading, attempts=1).ask(QUESTION, Colour)
    with pytest.raises(ModelError, match="takes no pictures"):
        await chat(reading).ask(Question("q", "", "Red?", (Picture(picture_of_number(), "a"),)), Colour)
    found = await look_at_vision(ChatSettings(model=reading, base_url="local"))
    assert (found.status, "takes no pictures" in found.text) == ("problem", True)


async def test_a_template_that_knows_no_system_message_is_given_none(seeing, monkeypatch):
    asked = []
    saying(monkeypatch, '{"colour": "red"}', asked=asked)
    _, reader = await asyncio.to_thread(local._loaded, seeing, "cpu", None)
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    monkeypatch.setattr(reader, "chat_template", refusal + TEMPLATE)
    await chat(seeing, max_tokens=40).ask(QUESTION, Colour)
    assert asked[-1].startswith("<|im_start|>user\nYou see.\n\nWhich colour")


@pytest.mark.parametrize("damage", ["nowhere", "empty", "lacks"])
async def test_a_model_that_is_not_there_or_not_whole_is_one_line(tmp_path, reading, damage):
    folder = tmp_path / "model"
    if damage != "nowhere":
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    if damage == "lacks":
        Qwen3ForCausalLM(Qwen3Config(**SIZES)).save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        weights.pop("model.norm.weight")
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError) as failed:
        await chat(str(folder)).ask(QUESTION, Colour)
    assert len(str(failed.value).splitlines()) == 1


def settings_of(**chat_section) -> Settings:
    return load_settings(Settings(), {"chat": {"url": "local", **chat_section}})


async def test_doctor_says_where_it_is_and_what_it_needs_and_loads_nothing(seeing, monkeypatch):
    monkeypatch.setattr(local, "_loaded", None)
    found = await look_at_chat(settings_of(model=seeing))
    assert [(one.topic, one.status) for one in found] == [("chat", "ok"), ("vision", "ok")]
    assert found[0].text == f"{seeing}@local, downloaded; it needs about 1.0 GB beside the model that draws"
    missing = await look_at_chat(settings_of(model="/no/such/folder"))
    assert missing[0].status == "problem"


def test_settings_of_a_model_in_this_process_belong_to_one():
    chosen = settings_of(model="Qwen/Qwen3-VL-8B-Instruct", precision="nf4", device="cuda:1")
    assert chosen.vision_settings() == chosen.chat_settings()
    assert (chosen.chat_settings().precision, chosen.chat_settings().name) == ("nf4", "Qwen/Qwen3-VL-8B-Instruct@local")
    with pytest.raises(SettingsError, match="for a model in this process"):
        load_settings(Settings(), {"chat": {"model": "m", "precision": "nf4"}})


def test_a_key_in_the_environment_is_not_in_the_way_and_goes_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-server")
    (tmp_path / "detailscribe.toml").write_text('[chat]\nurl = "local"\nmodel = "owner/name"\n')
    assert load_settings().chat_settings().is_local


def test_an_images_endpoint_is_no_model_in_this_process():
    chosen = load_settings(Settings(), {"run": {"preset": "images-endpoint"}, "chat": {"url": "local", "model": "m"}})
    with pytest.raises(SettingsError, match=r"images\.url names the server"):
        endpoint_of(chosen)
