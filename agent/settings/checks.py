"""What can be found out about models without loading them: whether they are there, answer, see and fit."""

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
from ...tools.text import HUB_ID
from .presets import EMBEDDED_DIFFUSION, PRESETS
from .settings import DiffusionSection, Settings

if TYPE_CHECKING:
    from ...tools.diffusion.endpoint import EndpointDiffusion
    from ...tools.diffusion.memory import Memory, Placement

INDEX = "model_index.json"
WORKING = 10**9
"""Bytes that a chat model in this process holds while it answers about one picture. An estimate."""
TIMEOUT = 5
"""Seconds for one question to the hub."""
LOCAL = ("localhost", "127.0.0.1", "::1")
SCHEDULER = "FlowMatchEulerDiscreteScheduler"
"""That of the families that can be refined."""
DRAWING_ALONE = ("best_of_n",)
"""Policies that never refine."""
SD3_ALONE = ("t5", "swap_pooled", "guidance_interval", "skip_layers")
"""Settings of ``diffusion`` that have no effect on other families."""
LOCAL_ALONE = tuple(name for name in DiffusionSection.model_fields if name not in ("model", "kind"))
"""Settings of ``diffusion`` that have no effect on an images endpoint."""

Status = Literal["ok", "warning", "problem"]
"""ok: works; warning: works, but the user should know; problem: a run would end with it."""


class Finding(Frozen):
    """One thing that was looked at, and what to do about it."""

    topic: str
    """What was looked at, in a word or two."""
    status: Status
    """``ok``, ``warning`` or ``problem``."""
    text: str
    """In one line, with what to do unless it is ok."""
    seconds: float | None = None
    """Of the call that found it, where there was one."""

    def refuse(self) -> None:
        """Raise ``ModelError`` for a problem."""
        if self.status == "problem":
            raise ModelError(self.text)


def found(topic: str, look: Callable[[], str]) -> Finding:
    """``ok`` with what ``look`` returns, or the problem that it raises."""
    try:
        return Finding(topic=topic, status="ok", text=look())
    except DetailScribeError as error:
        return problem(topic, error)


def problem(topic: str, error: DetailScribeError) -> Finding:
    return Finding(topic=topic, status="problem", text=" ".join(str(error).split()))


async def look_at_chat(settings: Settings) -> list[Finding]:
    """Whether the chat models answer, how fast, and whether the critic's sees; two short calls, cached where they can
    be."""
    if not settings.chats:
        return [Finding(topic="chat", status="ok", text="none: the embedded decomposer and critic, offline")]
    language, vision = settings.chat_settings(), settings.vision_settings()
    findings: list[Finding] = []
    for chat in (language,) if language == vision else (language, vision):
        parts = urlsplit(chat.url)
        if chat.api_key and not chat.is_local and parts.scheme != "https" and parts.hostname not in LOCAL:
            text = f"the key goes to {chat.host} unencrypted: use https"
            findings.append(Finding(topic="chat", status="warning", text=text))
    findings.append(await _reachable(language))
    if findings[-1].status == "ok" or language != vision:
        findings.append(await look_at_vision(vision))
    return findings


async def _reachable(chat: ChatSettings) -> Finding:
    if chat.is_local:
        return await asyncio.to_thread(found, "chat", lambda: _in_process(chat))
    from ...tools.language.chat import ChatModel

    import_module("openai")  # or its second of loading would count
    try:
        model, began = ChatModel(chat), perf_counter()
        await model.check()
    except DetailScribeError as error:
        return problem("chat", error)
    seconds = perf_counter() - began
    return Finding(topic="chat", status="ok", text=f"{chat.name} answers in {seconds:.2g} s", seconds=seconds)


class Seen(Frozen):
    """What a model reads in the test picture."""

    number: str = Field(max_length=40)


async def look_at_vision(chat: ChatSettings) -> Finding:
    """Whether the critic's model takes pictures, and sees what is in them; one in this process is not loaded for
    that."""
    if chat.is_local:
        return await asyncio.to_thread(found, "vision", lambda: _in_process(chat, looks=True))
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


def _in_process(chat: ChatSettings, *, looks: bool = False) -> str:
    """What a chat model of this process can see, or where it is and what it needs."""
    from ...tools.language.local import look_at

    here, sees, size = look_at(chat.model)
    if looks and not sees:
        raise ModelError(f"{chat.name} takes no pictures: name a vision model with --vision-model")
    if looks:
        return f"{chat.name} sees pictures"
    where = "downloaded" if here else f"not downloaded: the first run fetches {_gb(size)}"
    return f"{chat.name}, {where}; it needs about {_gb(_held(chat, size))} beside the model that draws"


def _held(chat: ChatSettings, size: int) -> int:
    """Bytes that a chat model of this process holds, whose weight files have that size."""
    return int(size * {"fp32": 2, "nf4": 0.4}.get(chat.precision or "", 1) + WORKING)


def _beside(settings: Settings, placement: "Placement", free: "Memory") -> Iterator[tuple[str, str, int]]:
    """The other models of this process that are still to be loaded, each with the memory that it takes, by the name of
    its field in ``Memory``, and its bytes; nothing of one whose size is not known."""
    from ...tools.diffusion.memory import memory_needed, model_size

    chats = [settings.chat_settings(), settings.vision_settings()] if settings.chats else []
    if own := {chat.model: chat for chat in chats if chat.is_local}:
        from ...tools.language.local import any_loaded, look_at

        with suppress(ModelError):  # it is looked at by itself
            if not any_loaded():  # else it is not in what is free
                on_cpu = free.gpu_bytes is None or str(settings.chat.device).startswith("cpu")
                taken = sum(_held(chat, look_at(name)[2]) for name, chat in own.items())
                yield "a chat model", "ram_bytes" if on_cpu else "gpu_bytes", taken
    if settings.edit.kind == "pipeline":
        with suppress(ModelError):
            need = memory_needed(model_size(settings.edit.model or ""), placement._replace(t5="keep"))
            place = "gpu_bytes" if placement.on_gpu else "ram_bytes"
            yield "a model that edits", place, getattr(need, place)


def look_at_diffusion(settings: Settings, *, loaded: bool = False) -> Iterator[Finding]:
    """Whether the model that draws is there, fits and can run here, cheapest first; nothing is loaded, and the hub is
    asked for nothing but an index. One that is ``loaded`` has its memory."""
    if settings.edit.kind != "off":
        yield found("edit", lambda: _editor(settings))
    policy = settings.run.policy if settings.edit.kind == "off" else DRAWING_ALONE[0]  # an edit needs no latents
    if settings.diffusion.kind == "endpoint":
        yield found("diffusion", lambda: _remote(settings, policy))
        return
    place = found("diffusion", lambda: _where(settings.diffusion, policy))
    yield place
    if place.status == "problem":  # nothing is known of a model that is not there
        return
    yield found("device", lambda: _device(settings.diffusion))
    if not loaded:
        yield _memory(settings)


def _editor(settings: Settings) -> str:
    """What edits; ``ModelError`` or ``SettingsError`` if it cannot be that."""
    chosen = settings.edit
    if chosen.kind == "endpoint":
        return f"{endpoint_at(settings.edit_settings(), chosen).model}, an images endpoint"
    model = settings.diffusion.model if chosen.kind == "self" else chosen.model
    if chosen.kind == "embedded" or (chosen.kind == "self" and settings.diffusion.kind == "endpoint"):
        return "a painter that is no trained model" if chosen.kind == "embedded" else f"{model}, which also draws"
    from ...tools.diffusion.loading import class_named
    from ...tools.diffusion.pipelines import takes_pictures

    if not takes_pictures(kind := class_named(EMBEDDED_DIFFUSION if model is None else model)):
        raise SettingsError(f"a {kind} takes no picture to edit: name a model that does with edit.model")
    return f"{model}, a {kind}"


def endpoint_at(server: ChatSettings, options: ImageOptions) -> "EndpointDiffusion":
    """An images endpoint; ``ModelError`` if it needs a key and has none."""
    from ...tools.diffusion.endpoint import EndpointDiffusion

    return EndpointDiffusion(server, options)


def _remote(settings: Settings, policy: str) -> str:
    """What an images endpoint can do, before its first image is paid for."""
    _check_draws_alone(policy, "an images endpoint can only draw")
    return f"{endpoint_of(settings).model}, an images endpoint; nothing runs here"


def _check_draws_alone(policy: str, reason: str) -> None:
    if ":" not in policy and policy not in DRAWING_ALONE:
        raise SettingsError(f"the policy {policy!r} refines, and {reason}: use --policy best_of_n")


def endpoint_of(settings: Settings) -> "EndpointDiffusion":
    """The images endpoint; settings that it has no use for are refused."""
    check_effect(settings.diffusion, "an images endpoint", LOCAL_ALONE)
    if settings.images_settings().is_local:
        raise SettingsError("images.url names the server that draws, since the chat model is in this process")
    return endpoint_at(settings.images_settings(), settings.images)


def check_effect(chosen: DiffusionSection, what: str, without: tuple[str, ...]) -> None:
    """``SettingsError`` if one of these settings, which have no effect on ``what``, is another than its default."""
    usual = DiffusionSection()
    if idle := [f"diffusion.{name}" for name in without if getattr(chosen, name) != getattr(usual, name)]:
        have = "has" if len(idle) == 1 else "have"
        raise SettingsError(f"{', '.join(idle)} {have} no effect on {what}: leave it out, or choose another preset")


def is_sd3(settings: Settings) -> bool:
    """Whether the model is of the SD3 class, which can be refined by every operator; its index may be fetched."""
    if settings.diffusion.kind == "auto" and settings.diffusion.model is not None:
        from ...tools.diffusion.loading import class_named

        return class_named(settings.diffusion.model).startswith("StableDiffusion3")
    return settings.diffusion.kind != "pipeline"


def _check_hub(model: str) -> None:
    """Ask the hub, in one short question, whether it would give the model to this user; ``ModelError`` if not."""
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


def _where(chosen: DiffusionSection, policy: str) -> str:
    """Where the model is; ``ModelError`` if it is nowhere, ``SettingsError`` if it cannot do what the policy does."""
    from ...tools.diffusion.memory import DENOISER, KNOWN, T5_PART, local_file, local_folder, remote_size

    missing = "".join(f"; {file} is not downloaded" for file in chosen.files if local_file(file) is None)
    model, whole = chosen.model, chosen.weights is None
    if model is None:
        return f"the embedded model, inside the package{missing}"
    from ...tools.diffusion import check_family
    from ...tools.diffusion.loading import check_t5, class_named

    if not HUB_ID.fullmatch(model) or os.path.isdir(model):
        if not os.path.isfile(Path(model) / INDEX):
            raise ModelError(f"there is no diffusers model in {model:.99}: name a folder with a {INDEX} or owner/name")
        place = f"the folder {model}"
    elif local_folder(model, whole=whole):
        place = f"{model}, downloaded"
    else:
        _check_hub(model)
        known = KNOWN.get(model)
        size = remote_size(model, whole=whole)[1] if known is None else known.download
        if known is not None and not whole:
            size -= known.parts[DENOISER].parameters * (4 if DENOISER in known.wide else 2)
        place = f"{model}, not downloaded: the first run fetches {_gb(size)}"
        if known is not None:
            if T5_PART not in known.parts:
                check_effect(chosen, "a model of another family than SD3", SD3_ALONE)
            return place + missing
    if (kind := class_named(model)).startswith("StableDiffusion3"):
        if os.path.isdir(model):
            check_t5(Path(model), chosen.t5)
    else:
        check_effect(chosen, f"a {kind}", SD3_ALONE)
        reason, scheduler = check_family(kind), class_named(model, "scheduler")
        if scheduler != SCHEDULER:
            reason = reason or f"its scheduler is a {scheduler}"
        if reason:
            _check_draws_alone(policy, reason)
    return place + missing


def _device(chosen: DiffusionSection) -> str:
    import torch

    from ...tools.diffusion import choose_placement

    placement = choose_placement(chosen.device, chosen.precision, chosen.offload, chosen.t5)
    name = torch.cuda.get_device_name(placement.device) if placement.kind == "cuda" else "no GPU is used"
    return f"{placement.device} ({name}), {placement.precision}, offload {placement.offload}, T5 {placement.t5}"


def _memory(settings: Settings) -> Finding:
    """The memory needed and free; where the device cannot be used, what a machine that can would need."""
    from ...tools.diffusion import choose_placement
    from ...tools.diffusion.memory import Placement, check_memory, free_memory, memory_needed, model_size

    chosen = settings.diffusion
    source = EMBEDDED_DIFFUSION if chosen.model is None else chosen.model
    try:
        size = model_size(source, chosen.options)
    except ModelError as error:
        return Finding(topic="memory", status="problem" if os.path.isdir(source) else "warning", text=str(error))
    try:
        placement, usable = choose_placement(chosen.device, chosen.precision, chosen.offload, chosen.t5), True
    except DetailScribeError:
        placement, usable = Placement("cuda", chosen.precision or "bf16", chosen.offload, chosen.t5), False
    need = memory_needed(size, placement)
    on_gpu = "" if need.gpu_bytes is None else f"{_gb(need.gpu_bytes)} of GPU memory and "
    needs = f"needs about {on_gpu}{_gb(need.ram_bytes)} of RAM"
    if not usable:
        return Finding(topic="memory", status="warning", text=f"{needs}; not here")
    free = free_memory(placement.device)
    beside: list[str] = []
    for what, place, taken in _beside(settings, placement, free):
        free = free._replace(**{place: max(0, (getattr(free, place) or 0) - taken)})
        beside.append(f"{what} of {_gb(taken)}")
    others = " beside " * bool(beside) + " and ".join(beside)
    try:
        check_memory(source, size, placement, free)
    except ModelError as error:
        text = f"{error}{_preset_that_fits(chosen, free) if placement.on_gpu else ''}"
        return problem("memory", ModelError(text.replace(" are free;", f" are free{others};")))
    on_gpu = "" if free.gpu_bytes is None or not placement.on_gpu else f"{_gb(free.gpu_bytes)} and "
    return Finding(topic="memory", status="ok", text=f"{needs}; {on_gpu}{_gb(free.ram_bytes)} of RAM are free{others}")


def _preset_that_fits(chosen: DiffusionSection, free: "Memory") -> str:
    """The first preset of the same model that would fit on the GPU, as advice; empty if none would."""
    from ...tools.diffusion.memory import Placement, model_size, shortage

    for name, preset in PRESETS.items():
        other = DiffusionSection.model_validate(preset.settings.get("diffusion", {}))
        if other.model is None or other.model != chosen.model or "policy" in preset.settings.get("run", {}):
            continue
        placement = Placement("cuda", other.precision or "bf16", other.offload, other.t5)
        if not shortage(model_size(other.model, chosen.options), placement, free):
            return f"; or use --preset {name}"
    return ""


def _gb(number: int) -> str:
    return f"{number / 1e9:.1f} GB"
