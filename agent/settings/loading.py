"""Where the settings of a run come from.

Arguments override environment variables, which override a TOML file, which overrides the preset, which overrides the
defaults; pydantic-settings reads and merges them.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as EnvironmentSyntaxError

from ...tools.errors import SettingsError, first_problem
from ...tools.language.settings import IN_PROCESS, OPENAI
from ...tools.text import without_secrets
from .presets import preset_named
from .settings import SECRETS, Section, Settings

PREFIX = "DETAILSCRIBE_"
"""Of environment variables; ``DETAILSCRIBE_RUN__SEED`` is ``run.seed``."""
NESTED = "__"
DEFAULT_FILE = Path("detailscribe.toml")
"""Read if no other file is named and this one exists."""
FALLBACKS = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": "url"}
"""Environment variables that other programs read too, and the settings of ``chat`` that they set."""
OPTIONS = {"chat.url": "--chat-url", "vision.url": "--vision-url", "images.url": "DETAILSCRIBE_IMAGES__URL ="}
OPTIONS["edit.url"] = "DETAILSCRIBE_EDIT__URL ="
"""How a user names a server."""

Table = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """One place that settings come from, and what it sets."""

    kind: Literal["argument", "environment", "file", "preset"]
    place: str
    """The file, the preset or the variable; empty for several variables and for arguments."""
    values: Table = field(repr=False)
    """Nested by section; some may be secrets."""
    foreign: bool = False
    """Whether it may be a stranger's, since the user did not name it: a file in the working directory, or a recorded
    run."""

    def name(self, setting: str) -> str:
        """Kind and place of a setting in it, such as ``environment DETAILSCRIBE_RUN__SEED``."""
        variable = PREFIX + setting.replace(".", NESTED).upper()
        is_ours = self.kind == "environment" and not self.place and variable in os.environ
        return f"{self.kind} {variable if is_ours else self.place}".rstrip()


class _Merged(Settings, BaseSettings):
    """Settings as pydantic-settings merges them from ``sources``, the strongest first."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter=NESTED)

    @classmethod
    def settings_customise_sources(cls, settings_cls: Any, init_settings: Any, *_: Any, **__: Any) -> Any:
        return tuple(source.values.copy for source in init_settings.init_kwargs["sources"])


@dataclass(frozen=True)
class Loaded:
    """Settings, and where each came from."""

    settings: Settings
    sources: tuple[Source, ...]
    """Those that set something, from the strongest to the weakest."""

    def source(self, name: str) -> str:
        """Of the setting ``section.name``: ``argument``, ``environment``, ``file``, ``preset`` or ``default``, followed
        by the variable, the path of the file or the name of the preset."""
        source, _ = _found(self.sources, name)
        return "default" if source is None else source.name(name)


Given = Settings | Loaded | Mapping[str, Any]
"""A table by section; an object, of which only the fields that were set count; or what ``load`` returned."""


def load(*given: Given, file: Path | None = None) -> Loaded:
    """All sources merged; of ``given``, later ones override earlier ones.

    If one is an object, neither the environment nor a file is read. ``SettingsError`` says what is wrong with a source,
    or that a key would go to a server that it was not set for.
    """
    sources = [source for one in reversed(given) for source in _sources_of(one)]
    sources.sort(key=lambda source: source.kind != "argument")
    closed = any(isinstance(one, (Settings, Loaded)) for one in given)
    if not closed:
        sources += [_environment(), _file(file)]
    name = str(_found(sources, "run.preset")[1] or "embedded")
    preset = Source("preset", name, preset_named(name).settings)
    # A key that happens to be in the environment does not ask for a chat model.
    chat_names = ("chat.model", "chat.url", "vision.model", "vision.url")
    if not closed and any(_found([*sources, preset], name)[1] for name in chat_names):
        sources += _fallbacks()
    sources = _without_others_parameters([*sources, preset])
    settings = _merged(sources)
    source, policy = _found(sources, "run.policy")
    if source is not None and source.foreign and ":" in str(policy):
        raise SettingsError(f"{source.place} names code to run, the policy {policy}: name it yourself with --policy")
    return Loaded(settings, tuple(source for source in sources if source.values))


def load_settings(*given: Given, file: Path | None = None) -> Settings:
    """The settings alone; see ``load``."""
    return load(*given, file=file).settings


def with_secrets(settings: Settings, chat_url: str | None = None) -> Settings:
    """Adds the secrets that the environment and ``./detailscribe.toml`` hold now to recorded settings; none goes to a
    server that it was not set for. ``chat_url`` replaces the recorded server."""
    values = settings.model_dump()
    if settings.chat.cache is not None:  # perhaps a folder of another machine, or chosen by another user
        del values["chat"]["cache"]
    named = Source("argument", "", {} if chat_url is None else {"chat": {"url": chat_url}})
    recorded = Source("file", "the recorded run", values, foreign=True)
    return _merged([named, recorded, _environment(), _file(None), *(_fallbacks() if settings.chats else [])])


def known_names(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Dotted names of every setting."""
    names: list[str] = []
    for name, info in model.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += known_names(inner, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


def _sources_of(given: Given) -> list[Source]:
    if isinstance(given, Loaded):  # another preset may be given now
        return [source for source in given.sources if source.kind != "preset"]
    if not isinstance(given, (Settings, Mapping)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingsError(f"settings are a table by section or a Settings object, not {type(given).__name__}")
    return [Source("argument", "", _plain_table(given))]


def _environment() -> Source:
    for variable in os.environ:
        name = variable.upper().removeprefix(PREFIX).lower().replace(NESTED, ".")
        if variable.upper().startswith(PREFIX) and name.partition(".")[0] not in Settings.model_fields:
            raise SettingsError(f"{variable}: {_unknown(name)}")
    try:
        values = EnvSettingsSource(_Merged)()
    except (EnvironmentSyntaxError, RecursionError) as error:
        raise SettingsError(f"the environment variables {PREFIX}*: {error}") from None  # its cause holds the value
    return Source("environment", "", values)


def _file(path: Path | None) -> Source:
    """A TOML file, by default ``./detailscribe.toml`` if it exists."""
    if path is None and not DEFAULT_FILE.is_file():
        return Source("file", "", {})
    place = path or DEFAULT_FILE
    try:
        return Source("file", str(place), tomllib.loads(place.read_bytes().decode()), foreign=path is None)
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {place}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"settings file {place} is no TOML that can be read: {error}") from error


def _fallbacks() -> list[Source]:
    """Key and URL of the chat model from the variables that other programs use."""
    variables = {name: value for name in FALLBACKS if (value := os.environ.get(name))}
    return [Source("environment", name, {"chat": {FALLBACKS[name]: value}}) for name, value in variables.items()]


def _without_others_parameters(sources: Sequence[Source]) -> list[Source]:
    """Drops the ``policy_args`` of sources that are weaker than one that names another policy than they do."""
    kept: list[Source] = []
    policy: object = None
    for source in reversed(sources):
        named = _found([source], "run.policy")[1]
        if policy and named and named != policy:
            for i, weaker in enumerate(kept):
                if isinstance(run := weaker.values.get("run"), Mapping):
                    run = {name: value for name, value in cast(Table, run).items() if name != "policy_args"}
                    kept[i] = replace(weaker, values=weaker.values | {"run": run})
        policy = named or policy
        kept.insert(0, source)
    return kept


def _refuse_redirection(sources: Sequence[Source]) -> None:
    """``SettingsError`` if a foreign source would send a secret from elsewhere to a server of its choice."""
    for section in ("chat", "vision", "images", "edit"):
        where, setting, url = _server(sources, section)
        for name in (f"{section}.{secret}" for secret in SECRETS):
            source, secret = _found(sources, name)
            if source is None or where is None or not (secret and where.foreign) or source is where:
                continue
            beside = [one for one in sources if one.kind == source.kind and one is not where]
            if _server(beside, section)[2] != url:
                raise SettingsError(
                    f"{name} ({source.name(name)}) was not set for {urlsplit(without_secrets(url)).netloc}, which"
                    f" {where.place} names: name that server yourself with {OPTIONS[setting]} {without_secrets(url)},"
                    " or set its key in the same place"
                )
    where, url = _found(sources, "run.checkpoints")
    if where is not None and where.foreign and "://" in str(url) and "PGPASSWORD" in os.environ:
        trusted = _found([source for source in sources if not source.foreign], "run.checkpoints")[1]
        if trusted != url and os.environ.get("PGHOST") != urlsplit(str(url)).hostname:
            raise SettingsError(
                f"PGPASSWORD was not set for {urlsplit(without_secrets(str(url))).netloc}, which {where.place} names:"
                " name that server yourself with PGHOST or DETAILSCRIBE_RUN__CHECKPOINTS"
            )


def _server(sources: Sequence[Source], section: str) -> tuple[Source | None, str, str]:
    """The source, name and value of the setting for the server of a section; nothing if that is OpenAI's or none."""
    for name in (f"{section}.url", "chat.url"):
        source, url = _found(sources, name)
        if url:
            is_own = url == IN_PROCESS or str(url).startswith(f"https://{OPENAI}/")
            return (None, "", "") if is_own else (source, name, str(url))
    return None, "", ""


def _merged(sources: Sequence[Source]) -> Settings:
    for source in sources:
        for name, section in cast(Mapping[Any, Any], source.values).items():
            if not isinstance(section, Mapping) or not isinstance(name, str):  # pydantic-settings would ignore it
                problem = f"{name}: this should be a table of settings"
                raise SettingsError(
                    (problem if name in Settings.model_fields else _unknown(str(name)))
                    + (f" ({source.name(str(name))})" if source.place else "")
                )
    try:
        merged = cast(Any, _Merged)(sources=sources)
    except ValidationError as error:
        detail = error.errors()[0]
        name = ".".join(str(part) for part in detail["loc"])
        problem = _unknown(name) if detail["type"] == "extra_forbidden" else first_problem(error)
        source, _ = _found(sources, name)
        origin = "" if source is None or source.kind == "argument" else f" ({source.name(name)})"
        raise SettingsError(problem + origin) from None  # its inputs may be secret
    settings = Settings(**{name: getattr(merged, name) for name in merged.model_fields_set})
    chat, edit, run = settings.chat, settings.edit, settings.run
    if edit.kind in ("pipeline", "endpoint"):
        if edit.model is None:
            raise SettingsError(f"edit.kind is {edit.kind!r}: name the model that edits with edit.model")
    elif edit.model is not None:
        raise SettingsError(f"edit.model has no effect on edit.kind {edit.kind!r}: set it to pipeline or endpoint")
    if not settings.chats and (where := chat.url or settings.vision.url or (settings.vision.model and "the critic")):
        raise SettingsError(f"no chat model is named for {where}: give --chat-model NAME")
    if IN_PROCESS not in (chat.url, settings.vision.url) and (chat.device or chat.precision):
        raise SettingsError('chat.device and chat.precision are for a model in this process: set chat.url = "local"')
    if run.preset.partition("+")[0] == "diffusers" and settings.diffusion.model is None:
        raise SettingsError("the preset 'diffusers' draws with a model that you name: --diffusion FOLDER or owner/name")
    _refuse_redirection(sources)
    if (parameters := settings.policy_parameters(run.policy, run.policy_args)) != run.policy_args:
        settings = settings.model_copy(update={"run": run.model_copy(update={"policy_args": parameters})})
    return settings


def _found(sources: Sequence[Source], name: str) -> tuple[Source | None, Any]:
    """The strongest source that sets a setting, and its value."""
    for source in sources:
        value: Any = source.values
        for part in name.split("."):
            if not isinstance(value, Mapping) or part not in value:
                break
            value = cast(Table, value)[part]
        else:
            return source, value
    return None, None


def _plain_table(value: Any) -> Any:
    """Nested dictionaries of mappings and records, of a section with what was set alone; secrets stay what they are."""
    if isinstance(value, BaseModel):
        names = value.model_fields_set if isinstance(value, Section) else type(value).model_fields
        value = {name: getattr(value, name) for name in names}
    if isinstance(value, Mapping):
        return {name: _plain_table(one) for name, one in cast(Table, value).items()}
    return value


def _unknown(name: str) -> str:
    """A message that names the setting that is nearest by its whole name or by its last part."""
    names = known_names()
    by_end = {known.rpartition(".")[2]: known for known in reversed(names)}
    near = get_close_matches(name, [*names, *Settings.model_fields], n=1) or [
        by_end[end] for end in get_close_matches(name.rpartition(".")[2], by_end, n=1)
    ]
    return f"no setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
