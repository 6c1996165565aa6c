"""Checks of models without loading them: whether they are there, answer, see and fit in memory."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from time import perf_counter
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import Field

from ...state import Frozen
from ...tools.errors import DetailScribeError, ModelError, ReplyError, SettingsError
from ...tools.language.settings import ChatSettings, ImageOptions
from ...tools.text import HUB_ID, one_line
from .presets import EMBEDDED_DIFFUSION, PRESETS
from .settings import DiffusionSection, Settings

if TYPE_CHECKING:
    from ...tools.diffusion.endpoint import EndpointDiffusion
    from ...tools.diffusion.memory import Memory, ModelSize, Placement

INDEX = "model_index.json"
WORKING = 10**9
"""Bytes that a chat model in this process needs beside its weights. An estimate."""
TIMEOUT = 5
"""Of a request to the hub, in seconds."""
LOCAL = ("localhost", "127.0.0.1", "::1")
SCHEDULER = "FlowMatchEulerDiscreteScheduler"
"""Of the families that can be refined."""
DRAWING_ALONE = ("best_of_n",)
"""Policies that never refine."""
SD3_ALONE = ("t5", "swap_pooled", "guidance_interval", "skip_layers")
"""Settings of ``diffusion`` that have no effect on other families."""
LOCAL_ALONE = tuple(name for name in DiffusionSection.model_fields if name not in ("model", "kind"))
"""Settings of ``diffusion`` that have no effect on an images endpoint."""

Status = Literal["ok", "warning", "problem"]
"""ok: works; warning: works, but the user should know; problem: a run would fail."""


class Finding(Frozen):
    """The result of one check."""

    topic: str
    """What was checked, in a word or two."""
    status: Status
    """``ok``, ``warning`` or ``problem``."""
    text: str
    """In one line, with what to do unless it is ok."""
    seconds: float | None = None
    """Duration of the call to a server, if there was one."""

    def refuse(self) -> None:
        """Raise ``ModelError`` for a problem."""
        if self.status == "problem":
            raise ModelError(self.text)


def found(topic: str, check: Callable[[], str]) -> Finding:
    """``ok`` with the text that ``check`` returns, or the problem that it raises."""
    try:
        return Finding(topic=topic, status="ok", text=check())
    except DetailScribeError as error:
        return problem(topic, error)


def problem(topic: str, error: DetailScribeError) -> Finding:
    return Finding(topic=topic, status="problem", text=one_line(str(error)))


async def look_at_chat(settings: Settings) -> list[Finding]:
    """Whether the chat models answer, how fast, and whether the critic's sees: two short calls, cached if possible."""
    if not settings.chats:
        return [Finding(topic="chat", status="ok", text="none: the embedded decomposer and critic, offline")]
    language, vision = settings.chat_settings(), settings.vision_settings()
    findings: list[Finding] = []
    for chat in [language] if language == vision else [language, vision]:
        url = urlsplit(chat.url)
        if chat.api_key and not chat.is_local and url.scheme != "https" and url.hostname not in LOCAL:
            text = f"the key goes to {chat.host} unencrypted: use https"
            findings.append(Finding(topic="chat", status="warning", text=text))
    findings.append(await _answers(language))
    if findings[-1].status == "ok" or language != vision:
        findings.append(await look_at_vision(vision))
    return findings


async def _answers(chat: ChatSettings) -> Finding:
    if chat.is_local:
        return await asyncio.to_thread(found, "chat", lambda: _in_process(chat))
    from ...tools.language.chat import ChatModel

    import_module("openai")  # outside of the time that is measured
    try:
        model, began = ChatModel(chat), perf_counter()
        await model.check()
    except DetailScribeError as error:
        return problem("chat", error)
    seconds = perf_counter() - began
    return Finding(topic="chat", status="ok", text=f"{chat.name} answers in {seconds:.2g} s", seconds=seconds)


def _in_process(chat: ChatSettings, *, vision: bool = False) -> str:
    from ...tools.language.local import look_at

    is_here, sees, size = look_at(chat.model)
    if vision and not sees:
        raise ModelError(f"{chat.name} takes no pictures: name a vision model with --vision-model")
    where = "downloaded" if is_here else f"not downloaded: the first run fetches {_gb(size)}"
    needs = f"{where}; it needs about {_gb(_memory_of(chat, size))} beside the model that draws"
    return f"{chat.name} sees pictures" if vision else f"{chat.name}, {needs}"


def _memory_of(chat: ChatSettings, size: int) -> int:
    """Bytes that a chat model in this process needs, whose weight files have that ``size``."""
    return int(size * {"fp32": 2, "nf4": 0.4}.get(chat.precision or "", 1) + WORKING)


class Seen(Frozen):
    """The model's answer about the test picture."""

    number: str = Field(max_length=40)


async def look_at_vision(chat: ChatSettings) -> Finding:
    """Whether the critic's model takes pictures and sees what is in them; a model in this process is not loaded."""
    if chat.is_local:
        return await asyncio.to_thread(found, "vision", lambda: _in_process(chat, vision=True))
    from ...tools.language.chat import ChatModel
    from ...tools.language.question import NUMBER, Picture, Question, picture_of_number

    question = Question(
        name="vision_check",
        system="You look at pictures and say what is in them.",
        text='Which number is written in the picture? Answer as JSON: {"number": "..."}',
        pictures=(Picture(picture_of_number(), "a test picture"),),
    )
    try:
        reply = await ChatModel(chat.model_copy(update={"attempts": 1, "max_tokens": 256})).ask(question, Seen)
    except ModelError as error:
        return problem("vision", error)
    except ReplyError as error:
        but = f"did not say what is in one: {shorten(error.reason, 120, placeholder=' ...')}"
    else:
        if NUMBER in reply.value.number:
            return Finding(topic="vision", status="ok", text=f"{chat.name} sees pictures")
        but = f"read {NUMBER} as {reply.value.number!r}"
    return Finding(topic="vision", status="warning", text=f"{chat.name} takes pictures, but {but}")


def look_at_diffusion(settings: Settings, *, loaded: bool = False) -> Iterator[Finding]:
    """Whether the model that draws is there, works on this machine and, unless it is ``loaded``, fits in memory; the
    cheapest check first. Of the hub, only an index is fetched."""
    if settings.edit.kind != "off":
        yield found("edit", lambda: _editor(settings))
    chosen, place = settings.diffusion, found("diffusion", lambda: _where(settings))
    yield place
    if place.status == "problem" or chosen.kind == "endpoint":
        return
    import torch

    from ...tools.diffusion import choose_placement

    try:
        placement = choose_placement(chosen.device, chosen.precision, chosen.offload, chosen.t5)
    except DetailScribeError as error:
        placement = None
        yield problem("device", error)
    else:
        name = torch.cuda.get_device_name(placement.device) if placement.kind == "cuda" else "no GPU is used"
        text = f"{placement.device} ({name}), {placement.precision}, offload {placement.offload}, T5 {placement.t5}"
        yield Finding(topic="device", status="ok", text=text)
    if not loaded:
        yield _memory(settings, placement)


def _editor(settings: Settings) -> str:
    """The model that edits; ``ModelError`` or ``SettingsError`` if it cannot."""
    chosen = settings.edit
    if chosen.kind == "endpoint":
        return f"{endpoint_at(settings.edit_settings(), chosen).model}, an images endpoint"
    if chosen.kind == "embedded":
        return "a painter that is no trained model"
    model = settings.diffusion.model if chosen.kind == "self" else chosen.model
    if chosen.kind == "self" and settings.diffusion.kind == "endpoint":
        return f"{model}, which also draws"
    from ...tools.diffusion.loading import class_named
    from ...tools.diffusion.pipelines import check_family, takes_pictures

    if not takes_pictures(kind := class_named(EMBEDDED_DIFFUSION if model is None else model)):
        raise SettingsError(f"a {kind} takes no picture to edit: name a model that does with edit.model")
    check_family(kind)
    return f"{model}, a {kind}"


def endpoint_at(server: ChatSettings, options: ImageOptions) -> "EndpointDiffusion":
    """An images endpoint; ``ModelError`` if it needs a key and has none."""
    from ...tools.diffusion.endpoint import EndpointDiffusion

    return EndpointDiffusion(server, options)


def endpoint_of(settings: Settings) -> "EndpointDiffusion":
    """The images endpoint that draws; ``SettingsError`` for settings that have no effect on it."""
    check_effect(settings.diffusion, "an images endpoint", LOCAL_ALONE)
    if settings.images_settings().is_local:
        raise SettingsError("images.url names the server that draws, since the chat model is in this process")
    return endpoint_at(settings.images_settings(), settings.images)


def _check_draws_alone(settings: Settings, reason: str) -> None:
    policy = settings.run.policy
    if settings.edit.kind == "off" and ":" not in policy and policy not in DRAWING_ALONE:  # an edit needs no latents
        raise SettingsError(f"the policy {policy!r} refines, and {reason}: use --policy best_of_n")


def check_effect(chosen: DiffusionSection, what: str, without: tuple[str, ...]) -> None:
    """``SettingsError`` if one of the settings ``without`` effect on ``what`` is set."""
    usual = DiffusionSection()
    if idle := [f"diffusion.{name}" for name in without if getattr(chosen, name) != getattr(usual, name)]:
        have = "has" if len(idle) == 1 else "have"
        raise SettingsError(f"{', '.join(idle)} {have} no effect on {what}: leave it out, or choose another preset")


def is_sd3(settings: Settings) -> bool:
    """Whether the model is of the SD3 class, which every operator can refine; its index may be fetched."""
    if settings.diffusion.kind == "auto" and settings.diffusion.model is not None:
        from ...tools.diffusion.loading import class_named

        return class_named(settings.diffusion.model).startswith("StableDiffusion3")
    return settings.diffusion.kind != "pipeline"


def _where(settings: Settings) -> str:
    """Where the model is; ``ModelError`` if it is missing, ``SettingsError`` if it cannot do what the policy does."""
    chosen = settings.diffusion
    if chosen.kind == "endpoint":
        _check_draws_alone(settings, "an images endpoint can only draw")
        return f"{endpoint_of(settings).model}, an images endpoint; nothing runs here"
    from ...tools.diffusion import check_family
    from ...tools.diffusion.loading import check_t5, class_named
    from ...tools.diffusion.memory import DENOISER, KNOWN, T5_PART, local_file, local_folder, remote_size

    missing = "".join(f"; {file} is not downloaded" for file in chosen.files if local_file(file) is None)
    model, whole = chosen.model, chosen.weights is None
    if model is None:
        return f"the embedded model, inside the package{missing}"
    if not HUB_ID.fullmatch(model) or os.path.isdir(model):
        if not os.path.isfile(Path(model) / INDEX):
            raise ModelError(f"there is no diffusers model in {model:.99}: name a folder with a {INDEX} or owner/name")
        place = f"the folder {model}"
    elif local_folder(model, whole=whole):
        place = f"{model}, downloaded"
    else:
        _check_hub(model)
        if (known := KNOWN.get(model)) is None:
            place = f"{model}, not downloaded: the first run fetches {_gb(remote_size(model, whole=whole)[1])}"
        else:
            if T5_PART not in known.parts:
                check_effect(chosen, "a model of another family than SD3", SD3_ALONE)
            denoiser = known.parts[DENOISER].parameters * (4 if DENOISER in known.wide else 2)
            size = known.download - (0 if whole else denoiser)
            return f"{model}, not downloaded: the first run fetches {_gb(size)}{missing}"
    kind = class_named(model)
    if not kind.startswith("StableDiffusion3"):
        check_effect(chosen, f"a {kind}", SD3_ALONE)
        reason, scheduler = check_family(kind), class_named(model, "scheduler")
        if not reason and scheduler != SCHEDULER:
            reason = f"its scheduler is a {scheduler}"
        if reason:
            _check_draws_alone(settings, reason)
    elif os.path.isdir(model):
        check_t5(Path(model), chosen.t5)
    return place + missing


def _check_hub(model: str) -> None:
    """Ask the hub in one short request whether this user may download the model; ``ModelError`` if not."""
    import httpx
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    from ...tools.diffusion.memory import hub_refusal

    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"{model} is not downloaded, and HF_HUB_OFFLINE is set: unset it, or give a diffusers folder")
    try:
        answer = httpx.head(hf_hub_url(model, INDEX), headers=build_hf_headers(), timeout=TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError) as error:  # the last two for proxies
        raise ModelError(
            f"{model} is not downloaded, and the hub cannot be reached ({error}): connect, or download it elsewhere "
            "and name its folder with --diffusion FOLDER"
        ) from error
    if answer.status_code >= 400:
        raise hub_refusal(model, answer)


def _memory(settings: Settings, placement: "Placement | None") -> Finding:
    """Memory needed and free; without a ``placement``, what a machine needs that can run the model."""
    from ...tools.diffusion.memory import Placement, check_memory, free_memory, memory_needed, model_size

    chosen = settings.diffusion
    source = EMBEDDED_DIFFUSION if chosen.model is None else chosen.model
    try:
        size = model_size(source, chosen.options)
    except ModelError as error:
        return Finding(topic="memory", status="problem" if os.path.isdir(source) else "warning", text=str(error))
    elsewhere = Placement("cuda", chosen.precision or "bf16", chosen.offload, chosen.t5)
    need = memory_needed(size, placement or elsewhere)
    on_gpu = "" if need.gpu_bytes is None else f"{_gb(need.gpu_bytes)} of GPU memory and "
    needs = f"needs about {on_gpu}{_gb(need.ram_bytes)} of RAM"
    if placement is None:
        return Finding(topic="memory", status="warning", text=f"{needs}; not here")
    free, others = free_memory(placement.device), list[str]()
    for name, place, taken in _other_models(settings, placement, free):
        free = free._replace(**{place: max(0, (getattr(free, place) or 0) - taken)})
        others.append(f"{name} of {_gb(taken)}")
    beside = " beside " * bool(others) + " and ".join(others)
    try:
        check_memory(source, size, placement, free)
    except ModelError as error:
        text = str(error).replace(" are free;", f" are free{beside};")
        return problem("memory", ModelError(text + _preset_that_fits(chosen, size, free) * placement.on_gpu))
    on_gpu = "" if free.gpu_bytes is None or not placement.on_gpu else f"{_gb(free.gpu_bytes)} and "
    return Finding(topic="memory", status="ok", text=f"{needs}; {on_gpu}{_gb(free.ram_bytes)} of RAM are free{beside}")


def _other_models(settings: Settings, placement: "Placement", free: "Memory") -> Iterator[tuple[str, str, int]]:
    """The other models of this process that are not loaded yet and whose size is known: name, field of ``Memory`` and
    bytes."""
    from ...tools.diffusion.memory import memory_needed, model_size

    chats = [settings.chat_settings(), settings.vision_settings()] if settings.chats else []
    if local := {chat.model: chat for chat in chats if chat.is_local}:
        from ...tools.language.local import any_loaded, look_at

        with suppress(ModelError):  # the check of the chat model reports it
            if not any_loaded():  # free memory is already without it
                on_cpu = free.gpu_bytes is None or str(settings.chat.device).startswith("cpu")
                taken = sum(_memory_of(chat, look_at(name)[2]) for name, chat in local.items())
                yield "a chat model", "ram_bytes" if on_cpu else "gpu_bytes", taken
    if settings.edit.kind == "pipeline":
        with suppress(ModelError):
            need = memory_needed(model_size(settings.edit.model or ""), placement._replace(t5="keep"))
            place = "gpu_bytes" if placement.on_gpu else "ram_bytes"
            yield "a model that edits", place, getattr(need, place)


def _preset_that_fits(chosen: DiffusionSection, size: "ModelSize", free: "Memory") -> str:
    """The first preset of the same model that would fit on the GPU, as advice; empty if none would."""
    from ...tools.diffusion.memory import Placement, shortage

    for name, preset in PRESETS.items():
        other = DiffusionSection.model_validate(preset.settings.get("diffusion", {}))
        if other.model is None or other.model != chosen.model or "policy" in preset.settings.get("run", {}):
            continue
        if not shortage(size, Placement("cuda", other.precision or "bf16", other.offload, other.t5), free):
            return f"; or use --preset {name}"
    return ""


def _gb(number: int) -> str:
    return f"{number / 1e9:.1f} GB"
