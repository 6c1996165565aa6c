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
"""Settings that change no image and no verdict, but for rounding, in whatever section."""


def _off(value: object) -> object:
    """None for what means none where a file or the environment can only hold text."""
    return None if value is False or value in ("", "off", "false", "none") else value


def _checkpoints(value: object) -> str:
    """``sqlite``, ``off`` or a Postgres URL that holds no secret, since it is stored; no message repeats it."""
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
    """Some of the settings; an error about one does not repeat its value, which may be a secret."""

    model_config = ConfigDict(hide_input_in_errors=True)


class RunSettings(Section):
    """How a run decides, and where it writes its files."""

    preset: str = "embedded"
    """Which models take part; it brings defaults of its own for the other settings."""
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
    """A file of prompts with a benchmark's own questions, which are then the checklist; None for the decomposer's."""
    out: Path | None = None
    """The run folder; None for a new one under ``runs/``."""
    checkpoints: Annotated[str, BeforeValidator(_checkpoints)] = "sqlite"
    """Where the state is kept, so that a run can be rewound and forked: ``sqlite``, a file in the run folder; ``off``;
    or the URL of a Postgres server, without a password."""


class ServerSection(Section):
    """The server of a section, which may be that of ``chat``."""

    url: ServerUrl | None = None
    """None for that of ``chat``; in ``chat``, for OpenAI's own, and ``OPENAI_BASE_URL`` is read too."""
    key: Annotated[SecretStr | None, Field(exclude=True), BeforeValidator(_off)] = None
    """None where the server needs none, and for that of ``chat`` where the server is the same; a key is never sent to
    another. In ``chat``, ``OPENAI_API_KEY`` is read too."""
    headers: dict[str, SecretStr] = Field(default_factory=dict, exclude=True)
    """As for ``chat``, whose headers are sent where the server is the same."""
    query: dict[str, SecretStr] = Field(default_factory=dict, exclude=True)
    """As for ``chat``, whose query is sent where the server is the same."""


class ChatSection(ChatOptions, ServerSection):
    """The chat model that decomposes prompts, and looks at images unless ``vision`` names another."""

    model: Words | None = None
    """As the server names it; None leaves both roles to the embedded models."""
    cache: Annotated[Path | None, BeforeValidator(_off)] = Field(
        default_factory=lambda: user_cache_path("detailscribe", appauthor=False) / "answers"
    )
    """Folder of the disk cache of answers, so that none is paid for twice; ``off`` for none."""
    templates: Path | None = None
    """Folder of prompt templates that override the package's own."""


class VisionSection(ServerSection):
    """What the critic does differently from ``chat``."""

    model: Words | None = None
    """None for that of ``chat``."""
    second: Words | None = None
    """At the same server, for the second opinions that a policy asks for; None for the same model, asked in another
    order."""
    votes: int = Field(default=1, ge=1, le=25)
    """Calls for one answer; the majority counts."""
    probabilities: bool = False
    """Ask check by check for P(yes), where the server gives log-probabilities."""
    input_price: float | None = Field(default=None, ge=0)
    """As for ``chat``, whose price is taken where the model is the same."""
    output_price: float | None = Field(default=None, ge=0)
    """As for ``chat``, whose price is taken where the model is the same."""
    boxes: BoxForm | None = None
    """The form in which the model is asked where it looked: ``pixels`` (Qwen2.5-VL), ``thousandths`` (Qwen3-VL),
    ``shares``, or one of these with ``-yx`` where a box begins with its upper edge (Gemini: ``thousandths-yx``). None:
    it is not asked; that costs tokens, and many models place boxes badly."""
    grounding: Words | None = None
    """A folder or hub id of a model that finds things in pictures, such as ``IDEA-Research/grounding-dino-tiny`` or
    OWLv2: verdicts of a chat model have its boxes, in place of those of ``boxes``."""
    words: int = Field(default=70, ge=10)
    """Of the corrected prompt, at most."""
    corrections: Explicitness = "oracle"
    """What the embedded critic's corrected prompt says, from most to least: ``oracle`` states a whole layout that
    passes every check; ``place``, ``pose`` and ``words`` speak of what failed alone, as a person would."""


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
    """Images in one forward pass, at most."""
    swap_pooled: bool = True
    """Whether a refinement takes the new prompt's pooled embedding too; the published code does not."""
    compiled: bool = False
    """Compile the denoiser, and SD3's decoder: a minute more before the first image, less for each."""
    attention: str | None = None
    """A backend of diffusers' dispatcher, such as ``_native_cudnn``, ``flash`` or ``sage``; None for torch's choice."""
    tiled: bool = False
    """Decode in overlapping tiles: less memory, slightly other pixels. Else only once a whole picture has no room."""
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
    """self: the model that draws edits as well, such as FLUX.2 or an images endpoint; pipeline: one of diffusers, such
    as Kontext or Qwen-Image-Edit, loaded like ``diffusion``; endpoint: a server; embedded: a painter of the embedded
    world, which is no trained model."""
    model: Words | None = None
    """A diffusers folder, a hub id, or a name at an images endpoint."""
    size: str | None = Field(default=None, pattern=r"^(auto|\d+x\d+)$")
    """That an endpoint is asked for, ``auto``, or None to leave it to the server; an edit is brought to the size of its
    source."""
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
        """Whether a chat model decomposes and looks."""
        return self.chat.model is not None

    @property
    def is_embedded(self) -> bool:
        """Whether every model is one of the package's own."""
        return not self.chats and self.diffusion.model is None

    def facts(self) -> dict[str, Any]:
        """By dotted name, all that images and verdicts follow from; nothing of ``HARMLESS``."""
        sections: dict[str, dict[str, Any]] = self.model_dump(mode="json")
        sections["run.budget"] = sections["run"].pop("budget")
        return {
            f"{of}.{name}": value for of, own in sections.items() for name, value in own.items() if name not in HARMLESS
        }

    def policy_parameters(self, policy: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a policy by its name: ``adaptive`` edits where a model edits, unless ``given`` says otherwise."""
        edits = self.edit.kind != "off" and policy == "adaptive"
        return ({"operator": "edit"} if edits else {}) | dict(given)

    def chat_settings(self) -> ChatSettings:
        """Of the decomposer's model; ``chat.model`` is set."""
        return self._model_at(self.chat.model, self.chat)

    def vision_settings(self) -> ChatSettings:
        """Of the critic's model; ``chat.model`` is set."""
        own, chat = self.vision, self.chat
        looks = self._model_at(own.model or chat.model, own)
        prices = {"input_price": own.input_price, "output_price": own.output_price}
        if (looks.model, looks.base_url) == (chat.model, chat.url):
            prices = {name: getattr(chat, name) if price is None else price for name, price in prices.items()}
        return looks.model_copy(update=prices)

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
