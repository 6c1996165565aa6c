"""A chat model in this process, through transformers, with the interface of a server of chat completions.

All models share one thread, which loads each at its first use and answers one question after another.
"""

import asyncio
import base64
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult

from ..errors import ModelError
from ..files import picture_in
from ..quiet import quiet_loading
from ..text import one_line
from .failures import Complaint, Declined, NoAnswer
from .settings import ChatSettings

_OWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="detailscribe-chat")
"""The thread of all models."""
_NOT_FOR_GENERATE = ("stream", "stream_options", "response_format", "logprobs")
"""Parameters of a server that mean nothing here."""


class LocalChat(BaseChatModel):
    """As a model of LangChain, so that callbacks and tracers see each call."""

    settings: ChatSettings
    """``model`` is a folder or ``owner/name`` of the hub."""

    @property
    def _llm_type(self) -> str:
        return "transformers"

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **how: Any
    ) -> ChatResult:
        return _OWNER.submit(_reply, self.settings, messages, how).result()

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **how: Any
    ) -> ChatResult:
        return await asyncio.get_running_loop().run_in_executor(_OWNER, _reply, self.settings, messages, how)


def _reply(settings: ChatSettings, messages: Sequence[BaseMessage], how: dict[str, Any]) -> ChatResult:
    """The reply, in the owner's thread; raises as ``Server.chat`` does."""
    import torch
    from jinja2 import TemplateError

    model, reader = _loaded(settings.model, settings.device, settings.precision)
    tokenizer: Any = getattr(reader, "tokenizer", reader)
    limit, temperature, top = how.pop("max_tokens"), how.pop("temperature", 0), how.pop("top_logprobs", 0)
    sampling: dict[str, Any] = {"do_sample": True, "temperature": temperature}
    if not temperature:  # transformers warns of the model's own settings for sampling
        sampling = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    sampling |= {name: value for name, value in how.items() if name not in _NOT_FOR_GENERATE}
    try:
        chat = [_for_template(message, sees=tokenizer is not reader) for message in messages]
        form: Any = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
        encoded: dict[str, torch.Tensor] = reader.apply_chat_template(chat, add_generation_prompt=True, **form)
        inputs = {
            name: value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)
            for name, value in encoded.items()
        }
        limits = {"max_new_tokens": limit, "max_time": settings.timeout}
        with torch.inference_mode():
            result = model.generate(
                **inputs, **(limits | sampling), output_logits=bool(top), return_dict_in_generate=True
            )
    except TemplateError as error:
        raise _declined(f"the chat template: {error}") from error
    except (RuntimeError, ValueError, TypeError, KeyError, StopIteration) as error:
        raise ModelError(f"{settings.name} cannot answer: {type(error).__name__}: {one_line(str(error))}") from error
    read = inputs["input_ids"].shape[1]
    tokens: list[int] = result.sequences[0, read:].tolist()
    ends = model.generation_config.eos_token_id
    ended = bool(tokens) and tokens[-1] in (ends if isinstance(ends, list) else [ends])
    if not ended and len(tokens) < limit:
        raise NoAnswer(f"timed out after {settings.timeout:g} s", transient=True)
    about: dict[str, Any] = {"finish_reason": "stop" if ended else "length"}
    if top:
        about["logprobs"] = {"content": [_top_logprobs(tokenizer, logits[0], top) for logits in result.logits]}
    message = AIMessage(
        tokenizer.decode(tokens, skip_special_tokens=True),
        response_metadata=about,
        usage_metadata=UsageMetadata(input_tokens=read, output_tokens=len(tokens), total_tokens=read + len(tokens)),
    )
    return ChatResult(generations=[ChatGeneration(message=message)])


def _for_template(message: BaseMessage, *, sees: bool) -> dict[str, Any]:
    """A message as chat templates take it: for a text model, plain text alone."""
    role = {"human": "user"}.get(message.type, message.type)
    parts: list[Any] = message.content if isinstance(message.content, list) else [{"text": message.content}]
    texts = [str(part["text"]) for part in parts if "text" in part]
    urls: list[str] = [part["image_url"]["url"] for part in parts if "image_url" in part]
    if sees:
        pictures = (picture_in(base64.b64decode(url.partition(",")[2])) for url in urls)
        images = [{"type": "image", "image": picture} for picture in pictures]
        return {"role": role, "content": [*({"type": "text", "text": text} for text in texts), *images]}
    if urls:
        raise _declined("the model takes no image input")
    return {"role": role, "content": "\n".join(texts)}


def _declined(words: str) -> Declined:
    return Declined(Complaint(400, one_line(words), words.lower()))


def _top_logprobs(tokenizer: Any, logits: Any, count: int) -> dict[str, Any]:
    """The likeliest tokens in one place, as the protocol has them."""
    tops = logits.float().log_softmax(-1).topk(min(count, len(logits)))
    pairs = zip(tops.indices.tolist(), tops.values.tolist(), strict=True)
    likely = [{"token": tokenizer.decode([token]), "logprob": logprob} for token, logprob in pairs]
    return likely[0] | {"top_logprobs": likely}


def any_loaded() -> bool:
    return _loaded.cache_info().currsize > 0


@lru_cache(maxsize=2)  # one that reads and one that sees
def _loaded(name: str, device: str | None, precision: str | None) -> tuple[Any, Any]:
    """The model on its device, and its processor, or its tokenizer where it reads text alone."""
    import torch
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING as SEEING

    gpu = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    place = device or gpu
    width = {"fp32": torch.float32, "fp16": torch.float16}.get(precision or "", torch.bfloat16)
    how: dict[str, Any] = {"dtype": torch.float32 if precision is None and place == "cpu" else width}
    if precision == "nf4":
        four_bit: Any = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": width}
        how |= {"quantization_config": transformers.BitsAndBytesConfig(**four_bit), "device_map": {"": place}}
    try:
        with quiet_loading():
            config = transformers.AutoConfig.from_pretrained(name)
            sees = type(config) in SEEING
            kind: Any = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
            model, info = kind.from_pretrained(name, use_safetensors=True, output_loading_info=True, **how)
            reader = _processor(name, config) if sees else transformers.AutoTokenizer.from_pretrained(name)
            model = model.eval() if precision == "nf4" else model.eval().to(place)
    except (OSError, ValueError, ImportError, RuntimeError, KeyError, AssertionError) as error:
        raise ModelError(f"{name} cannot be loaded as a chat model: {one_line(str(error))}") from error
    if missing := sorted(info["missing_keys"]):
        raise ModelError(f"{name} lacks {len(missing)} of its weights, such as {missing[0]}: fetch it again")
    reader.chat_template = reader.chat_template or getattr(reader, "tokenizer", reader).chat_template
    return model, reader


def _processor(name: str, config: Any) -> Any:
    """The processor of a model that sees; for pictures alone where torchvision, which videos need, is missing."""
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    try:
        return AutoProcessor.from_pretrained(name)
    except ImportError:
        return still_processor(cast(Any, PROCESSOR_MAPPING)[type(config)], name)


def still_processor(kind: Any, source: str | Path) -> Any:
    """A processor of that class for pictures alone, without torchvision."""

    class Still(kind):
        def __init__(self, image_processor: Any = None, tokenizer: Any = None, **more: Any) -> None:
            super().__init__(image_processor=image_processor, tokenizer=tokenizer, **more)

    return Still.from_pretrained(source)


def look_at(name: str) -> tuple[bool, bool, int]:
    """Whether the model is downloaded, whether it sees, and the bytes of its weight files; of a model that is not
    downloaded, only the configuration is fetched. ``ModelError`` if there is no such model."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        is_folder = Path(name).is_dir()
        config = Path(name, "config.json") if is_folder else Path(hf_hub_download(name, "config.json"))
        sees = "vision_config" in json.loads(config.read_text(encoding="utf-8"))
        if here := sum(path.stat().st_size for path in config.parent.glob("*.safetensors")):
            return True, sees, here
        listed = [] if is_folder else HfApi().model_info(name, files_metadata=True).siblings or []
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = one_line(str(error))
        raise ModelError(f"{name} is no folder with a chat model, and the hub gives none: {reason}") from error
    sizes = [file.size or 0 for file in listed if file.rfilename.endswith(".safetensors") and "/" not in file.rfilename]
    if not sizes:
        raise ModelError(f"{name} has no safetensors weights: name a model that has")
    return False, sees, sum(sizes)
