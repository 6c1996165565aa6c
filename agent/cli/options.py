"""Options that several commands take, each declared once."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ...tools.errors import SettingsError

PANELS = {
    "models": "Which models take part",
    "decides": "How the run decides",
    "files": "What it reads and writes",
    "shows": "How it is shown",
    "where": "Where it runs",
    "measures": "What is measured",
    "asks": "What raters are asked",
}
"""Headings of ``--help``."""


def option(help: str, *flags: str, panel: str | None = None, **more: Any) -> Any:
    """A ``typer.Option``; without ``flags`` its name is that of the parameter. ``panel`` is one of ``PANELS``."""
    return typer.Option(*flags, help=help, rich_help_panel=panel and PANELS[panel], **more)


def argument(help: str, **more: Any) -> Any:
    """A ``typer.Argument`` whose default, where it has one, is not shown."""
    return typer.Argument(help=help, show_default=False, **more)


_TOML = "TOML. By default detailscribe.toml, if it is here."
SettingsFile = Annotated[Path | None, option(_TOML, panel="files", metavar="FILE")]
Quiet = Annotated[bool, option("Print nothing but the folder.", "--quiet", "-q", panel="shows")]
RunFolder = Annotated[Path, argument("A run folder.", metavar="RUN")]
ChatUrl = Annotated[str | None, option("The server of the chat model. By default the run's own.", metavar="URL")]
_LPIPS = "Measure LPIPS of refinements to their sources: AlexNet weights of the package lpips, as safetensors."
LpipsWeights = Annotated[Path | None, option(_LPIPS, "--lpips", panel="files", metavar="FILE")]
Json = Annotated[bool, option("Print JSON.", "--json", panel="shows")]
Markdown = Annotated[bool, option("Print Markdown.", "--markdown", panel="shows")]

_PRESETS = (
    "embedded (the default), sd35-large, paper ..., or one of them as a baseline (NAME+base); `detailscribe presets`"
    " lists all."
)
_POLICIES = "adaptive, single, best_of_n, paper ..., or your own as module:Name."
_WEIGHTS = "The denoiser's weights in one .safetensors or .gguf file, in place of the model's own."
_LORA = "A LoRA and its scale (1 by default)."
_SETTING = "Any setting, such as diffusion.shift=3."
_POLICY_ARG = option("A parameter of the policy.", "--policy-arg", "-p", metavar="KEY=VALUE", panel="decides")
PolicyArgs = Annotated[list[str] | None, _POLICY_ARG]
_SERVER = "An OpenAI-compatible server, such as http://localhost:8000/v1; or local: in this process."
_DRAWS = "A diffusers folder or hub id that draws."
_SETTINGS: Mapping[str, tuple[str, Any, Any]] = {
    "preset": ("run.preset", str, option(_PRESETS, panel="models")),
    "chat_url": ("chat.url", str, option(_SERVER, metavar="URL", panel="models")),
    "chat_model": ("chat.model", str, option("Its model, to decompose and check.", metavar="NAME", panel="models")),
    "vision_url": ("vision.url", str, option("Another server, to check images.", metavar="URL", panel="models")),
    "vision_model": ("vision.model", str, option("Another model, to check images.", metavar="NAME", panel="models")),
    "diffusion": ("diffusion.model", str, option(_DRAWS, metavar="MODEL", panel="models")),
    "steps": ("run.steps", int, option("Denoising steps of an image.", panel="models")),
    "guidance": ("run.guidance", float, option("Scale of classifier-free guidance.", panel="models")),
    "width": ("diffusion.width", int, option("Of an image, in pixels.", panel="models")),
    "height": ("diffusion.height", int, option("Of an image, in pixels.", panel="models")),
    "negative_prompt": ("diffusion.negative_prompt", str, option("What guidance leads away from.", panel="models")),
    "weights": ("diffusion.weights", str, option(_WEIGHTS, metavar="FILE", panel="models")),
    "lora": ("diffusion.loras", list[str], option(_LORA, "--lora", metavar="FILE[=SCALE]", panel="models")),
    "set": ("set", list[str], option(_SETTING, "--set", metavar="SECTION.NAME=VALUE", panel="models")),
    "policy": ("run.policy", str, option(_POLICIES, panel="decides")),
    "policy_arg": ("run.policy_args", list[str], _POLICY_ARG),
    "seed": ("run.seed", int, option("Every image's seed follows from it. By default 0.", panel="decides")),
    "rounds": ("run.budget.rounds", int, option("At most so many rounds after the first drawings.", panel="decides")),
    "images": ("run.budget.images", int, option("At most so many images.", panel="decides")),
}
"""By name of the parameter: the setting, the type and the option."""
MODEL_OPTIONS = ("preset", "chat_url", "chat_model", "vision_url", "vision_model", "diffusion", "set")
RUN_OPTIONS = tuple(_SETTINGS)


def with_options(names: Sequence[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replaces a command's parameter ``given`` by options, and passes it their values as settings by section."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def called(**values: Any) -> None:
            chosen = {_SETTINGS[name][0]: values.pop(name) for name in names}
            chosen |= parsed_arguments(chosen.pop("set", None), "--set")
            loras, arguments = chosen.get("diffusion.loras"), chosen.get("run.policy_args")
            chosen["diffusion.loras"] = parsed_arguments(loras, "--lora", "1.0") or None
            chosen["run.policy_args"] = parsed_arguments(arguments) or None
            command(given=by_section(chosen), **values)

        parameters, annotated = list[Parameter](), cast(Any, Annotated)
        for parameter in signature(command, eval_str=True).parameters.values():
            if parameter.name != "given":
                parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
                continue
            for name in names:
                _, kind, chosen = _SETTINGS[name]
                declared = annotated[kind | None, chosen]
                parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=declared))
        called.__dict__["__signature__"] = Signature(parameters)
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorate


def by_section(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings such as ``run.budget.images`` as nested tables, without those that are None."""
    tables: dict[str, Any] = {}
    for setting, value in values.items():
        if value is not None:
            *sections, name = setting.split(".")
            table = tables
            for section in sections:
                table = table.setdefault(section, {})
                if not isinstance(table, dict):
                    raise SettingsError(f"{section} cannot be both a value and a table that holds {setting}")
            table[name] = value
    return tables


def split_arguments(
    arguments: Sequence[str] | None, option: str, form: str = "key=value", alone: str | None = None
) -> dict[str, str]:
    """Each ``key=value``; a key without one has the value ``alone``, or raises ``SettingsError`` with the ``form``."""
    values: dict[str, str] = {}
    for argument in arguments or ():
        key, equals, value = argument.partition("=")
        text = value if equals else alone
        if not key or text is None:
            raise SettingsError(f"{option} {argument!r} should read {form}")
        values[key] = text
    return values


def parsed_arguments(
    arguments: Sequence[str] | None, option: str = "--policy-arg", alone: str | None = None
) -> dict[str, object]:
    """``split_arguments`` with each value read as TOML, or as text if it is none."""
    import tomllib

    parsed: dict[str, object] = {}
    for key, value in split_arguments(arguments, option, alone=alone).items():
        try:
            parsed[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed[key] = value
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"{option} {key}: its value cannot be read: {error}") from error
    return parsed
