"""The settings of a run, by section."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from platformdirs import user_cache_path
from pydantic import BeforeValidator, ConfigDict, Field, SecretStr

from ...state import SEED_LIMIT, Budget, DrawingOptions, Frozen, Words
from ...tools.language.settings import ChatOptions, ChatSettings, ImageOptions, ServerUrl
from ...tools.roles import BoxForm, Explicitness

SECRETS = ("key", "headers", "query")
"""Settings of a server that are never stored or printed."""
HARMLESS = {
    *SECRETS,
    *("cache", "checkpoints", "compiled", "concurrency", "device", "input_price", "max_batch", "offload", "out"),
    *("output_price", "picture_hosts", "price", "requests_per_minute", "timeout", "transport_retries"),
}
"""Settings, in any section, that change no image and no verdict except by rounding."""


def _off(value: object) -> object:
    """None for the words by which files and environment variables say none."""
    return None if value is False or value in ("", "off", "false", "none") else value


def _checkpoints(value: object) -> str:
    """``sqlite``, ``off`` or a Postgres URL without a secret, since it is stored; no message repeats it."""
    where = "off" if _off(value) is None else str(value)
    if where in ("sqlite", "off"):
        return where
    parts = urlsplit(where)
    if parts.scheme not in ("postgres", "postgresql") or not parts.hostname:
        raise ValueError("this is neither sqlite nor off, nor a URL such as postgresql://localhost/detailscribe")
    if parts.password is not None or parts.query:
        raise ValueError("the URL is stored with the run, so it may hold no password or query; set PGPASSWORD instead")
    return where


class Section(Frozen):
    """Some of the settings; errors do not repeat values, which may be secret."""

    model_config = ConfigDict(hide_input_in_errors=True)


class RunSettings(Section):
    """How a run decides, and where it writes its files."""

    preset: str = "embedded"
    """Which models take part; it also sets defaults of other settings."""
    policy: str = "adaptive"
    """A known name or ``module:Name``."""
    policy_args: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the policy's class."""
    seed: int = Field(default=0, ge=0, lt=SEED_LIMIT)
    """The seeds of all images follow from it."""
    steps: int | None = Field(default=None, ge=1, le=1000)
    """Length of the denoising schedule; None for the model's own."""
    guidance: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Scale of classifier-free guidance; 1 or less means none; None for the model's own."""
    budget: Budget = Field(default_factory=Budget)
    """Bounds that no policy can exceed."""
    checklist: Words | None = None
    """A file of prompts with a benchmark's own questions, which replace the decomposer's checks."""
    out: Path | None = None
    """The run folder; None for a new one under ``runs/``."""
    checkpoints: Annotated[str, BeforeValidator(_checkpoints)] = "sqlite"
    """Where the state is kept, for ``fork``: ``sqlite``, a file in the run folder; ``off``; or the URL of a Postgres
    server, without a password."""


class ServerSection(Section):
    """The server of a section, which may be that of ``chat``."""

    url: ServerUrl | None = None
    """None for that of ``chat``; in ``chat``, for OpenAI's, and ``OPENAI_BASE_URL`` is read too."""
    key: Annotated[SecretStr | None, Field(exclude=True), BeforeValidator(_off)] = None
    """None if the server needs none, or for that of ``chat`` at the same server; a key is never sent to another. In
    ``chat``, ``OPENAI_API_KEY`` is read too."""
    headers: dict[str, SecretStr] = Field(default_factory=dict, exclude=True)
    """HTTP headers; by default those of ``chat``, if the server is the same."""
    query: dict[str, SecretStr] = Field(default_factory=dict, exclude=True)
    """Query parameters; by default those of ``chat``, if the server is the same."""


class ChatSection(ChatOptions, ServerSection):
    """The chat model that decomposes prompts, and looks at images unless ``vision`` names another."""

    model: Words | None = None
    """As the server names it; None for the embedded models in both roles."""
    cache: Annotated[Path | None, BeforeValidator(_off)] = Field(
        default_factory=lambda: user_cache_path("detailscribe", appauthor=False) / "answers"
    )
    """Folder of the disk cache of answers; ``off`` for none."""
    templates: Path | None = None
    """Folder of prompt templates that override the package's own."""


class VisionSection(ServerSection):
    """What the critic does differently from ``chat``."""

    model: Words | None = None
    """None for that of ``chat``."""
    second: Words | None = None
    """For second opinions, at the same server; None for the same model, with the checks in another order."""
    votes: int = Field(default=1, ge=1, le=25)
    """Calls for one answer; the majority counts."""
    probabilities: bool = False
    """Ask check by check for P(yes), where the server gives log-probabilities."""
    input_price: float | None = Field(default=None, ge=0)
    """US dollars per million prompt tokens; by default that of ``chat``, if the model is the same."""
    output_price: float | None = Field(default=None, ge=0)
    """US dollars per million reply tokens; by default that of ``chat``, if the model is the same."""
    boxes: BoxForm | None = None
    """The form in which the model is asked for boxes, which costs tokens: ``pixels`` (Qwen2.5-VL), ``thousandths``
    (Qwen3-VL), ``shares``, or one of these with ``-yx`` if the upper edge comes first (Gemini: ``thousandths-yx``)."""
    grounding: Words | None = None
    """A folder or hub id of a detector, such as ``IDEA-Research/grounding-dino-tiny`` or OWLv2, whose boxes replace
    those of the chat model."""
    words: int = Field(default=70, ge=10)
    """Longest corrected prompt, in words."""
    corrections: Explicitness = "oracle"
    """What the embedded critic's corrected prompt says, from most to least: ``oracle``, a whole layout that passes all
    checks; ``place``, ``pose`` and ``words``, only about what failed, as a person would."""


class DiffusionSection(DrawingOptions, Section):
    """The model that draws, and how it is loaded."""

    model: Words | None = None
    """A diffusers folder, a hub id, or a name at an images endpoint; None for the embedded one."""
    kind: Literal["auto", "sd3", "pipeline", "endpoint"] = "auto"
    """sd3: with every operator; pipeline: any other family of diffusers; endpoint: a server, see ``images``;
    auto: sd3 or pipeline, as the model's index says."""
    precision: Literal["bf16", "fp32", "fp16", "fp8", "nf4", "nf4-denoiser", "nf4-t5"] | None = None
    """fp8: the denoiser in 8-bit floats; nf4: denoiser and T5 in four bits; nf4-denoiser and nf4-t5: one of them; the
    rest of these is in bf16. None: bf16 on a GPU, fp32 on a CPU."""
    offload: Literal["none", "model", "group"] = "none"
    """model: large parts take turns on the GPU; group: a few layers at a time."""
    t5: Literal["keep", "once", "drop"] = "keep"
    """once: loaded for new prompts and dropped before the denoiser runs; drop: prompts are read without it."""
    max_tokens: int | None = Field(default=None, ge=1)
    """What T5, or the text encoder of another family, reads of a prompt; None for the model's own."""
    max_batch: int = Field(default=8, ge=1)
    """Most images in one forward pass."""
    swap_pooled: bool = True
    """Whether a refinement takes the new prompt's pooled embedding too; the published code does not."""
    compiled: bool = False
    """Compile the denoiser, and SD3's decoder: a minute more before the first image, less for each."""
    attention: str | None = None
    """A backend of diffusers' dispatcher, such as ``_native_cudnn``, ``flash`` or ``sage``; None for torch's choice."""
    tiled: bool = False
    """Decode in overlapping tiles: less memory, slightly other pixels. False: only if a whole picture does not fit."""
    device: str | None = None
    """As torch names it; None for the GPU if there is one."""

    @property
    def options(self) -> DrawingOptions:
        """How it draws, without how it is loaded."""
        return DrawingOptions(**{name: getattr(self, name) for name in DrawingOptions.model_fields})


class ImagesSection(ImageOptions, ServerSection):
    """The OpenAI-compatible endpoint that draws where ``diffusion.kind`` is ``endpoint``."""


class EditSection(ImageOptions, ServerSection):
    """The model that edits pictures, where there is one beside the model that draws."""

    kind: Literal["off", "self", "pipeline", "endpoint", "embedded"] = "off"
    """self: the model that draws, such as FLUX.2 or an images endpoint; pipeline: a pipeline of diffusers, such as
    Kontext or Qwen-Image-Edit, loaded like ``diffusion``; endpoint: a server; embedded: an untrained painter of the
    embedded world."""
    model: Words | None = None
    """A diffusers folder, a hub id, or a name at an images endpoint."""
    size: str | None = Field(default=None, pattern=r"^(auto|\d+x\d+)$")
    """Asked of an endpoint; ``auto`` or None for the server's choice. An edit is scaled to the size of its source."""
    mistakes: float = Field(default=0.1, ge=0, le=1)
    """How often a change of the embedded painter goes wrong."""


class Settings(Section):
    """Everything about a run but the prompt."""

    run: RunSettings = Field(default_factory=RunSettings)
    chat: ChatSection = Field(default_factory=ChatSection)
    vision: VisionSection = Field(default_factory=VisionSection)
    diffusion: DiffusionSection = Field(default_factory=DiffusionSection)
    images: ImagesSection = Field(default_factory=ImagesSection)
    edit: EditSection = Field(default_factory=EditSection)

    @property
    def chats(self) -> bool:
        """Whether a chat model decomposes and checks."""
        return self.chat.model is not None

    @property
    def is_embedded(self) -> bool:
        """Whether every model is one of the package's own."""
        return not self.chats and self.diffusion.model is None

    def facts(self) -> dict[str, Any]:
        """All settings but ``HARMLESS`` by dotted name: what images and verdicts depend on."""
        sections: dict[str, dict[str, Any]] = self.model_dump(mode="json")
        sections["run.budget"] = sections["run"].pop("budget")
        return {
            f"{of}.{name}": value for of, own in sections.items() for name, value in own.items() if name not in HARMLESS
        }

    def policy_parameters(self, policy: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of a policy: ``adaptive`` edits by default if there is a model that edits."""
        edits = self.edit.kind != "off" and policy == "adaptive"
        return ({"operator": "edit"} if edits else {}) | dict(given)

    def chat_settings(self) -> ChatSettings:
        """Of the decomposer's model; ``chat.model`` is set."""
        return self._model_at(self.chat.model, self.chat)

    def vision_settings(self) -> ChatSettings:
        """Of the critic's model; ``chat.model`` is set."""
        own, chat = self.vision, self.chat
        settings = self._model_at(own.model or chat.model, own)
        prices = {"input_price": own.input_price, "output_price": own.output_price}
        if (settings.model, settings.base_url) == (chat.model, chat.url):
            prices = {name: getattr(chat, name) if price is None else price for name, price in prices.items()}
        return settings.model_copy(update=prices)

    def images_settings(self) -> ChatSettings:
        """Of the images endpoint; ``diffusion.model`` is set."""
        return self._model_at(self.diffusion.model, self.images)

    def edit_settings(self) -> ChatSettings:
        """Of the endpoint that edits; ``edit.model`` is set."""
        return self._model_at(self.edit.model, self.edit)

    def _model_at(self, model: str | None, own: ServerSection) -> ChatSettings:
        """A model at a server of its own, or at that of ``chat``, whose secrets no other server gets."""
        chat = self.chat
        same = own.url in (None, chat.url)
        secrets = {name: getattr(own, name) or (getattr(chat, name) if same else None) for name in SECRETS}
        options: dict[str, Any] = {name: getattr(chat, name) for name in ChatOptions.model_fields}
        options |= {"headers": secrets["headers"] or {}, "query": secrets["query"] or {}}
        return ChatSettings(
            model=model or "", base_url=own.url or chat.url, api_key=secrets["key"], cache=chat.cache, **options
        )
