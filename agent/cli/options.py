"""Options that several commands take, each declared once."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from ...tools.errors import SettingsError

MODELS = "Which models take part"
DECIDES = "How the run decides"
FILES = "What it reads and writes"
SHOWS = "How it is shown"
WHERE = "Where it runs"

SettingsFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="TOML. By default detailscribe.toml, if it is here.", rich_help_panel=FILES),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the folder.", rich_help_panel=SHOWS)]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
PolicyArgs = Annotated[
    list[str] | None, typer.Option("--policy-arg", "-p", metavar="KEY=VALUE", help="A parameter of the policy.")
]
ChatUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="The server of the chat model. By default the run's own.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=SHOWS)]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.", rich_help_panel=SHOWS)]


def _option(setting: str, kind: Any, panel: str, help: str, *flags: str, metavar: str | None = None) -> Any:
    return setting, kind | None, typer.Option(None, *flags, metavar=metavar, help=help, rich_help_panel=panel)


_PRESETS = (
    "embedded (the default), sd35-large, paper ..., or one of them as a baseline (NAME+base); `detailscribe presets`"
    " lists all."
)
_POLICIES = "adaptive, single, best_of_n, paper ..., or your own as module:Name."
_PARAMETER = "A parameter of the policy."
_SERVER = "An OpenAI-compatible server, such as http://localhost:8000/v1."
_OPTIONS: Mapping[str, tuple[str, Any, Any]] = {
    "preset": _option("run.preset", str, MODELS, _PRESETS),
    "chat_url": _option("chat.url", str, MODELS, _SERVER, metavar="URL"),
    "chat_model": _option("chat.model", str, MODELS, "Its model, for decomposing and looking.", metavar="NAME"),
    "vision_url": _option("vision.url", str, MODELS, "Another server for looking.", metavar="URL"),
    "vision_model": _option("vision.model", str, MODELS, "Another model for looking.", metavar="NAME"),
    "diffusion": _option("diffusion.model", str, MODELS, "A diffusers folder or hub id that draws.", metavar="MODEL"),
    "steps": _option("run.steps", int, MODELS, "Denoising steps of an image."),
    "guidance": _option("run.guidance", float, MODELS, "Scale of classifier-free guidance."),
    "policy": _option("run.policy", str, DECIDES, _POLICIES),
    "policy_arg": _option("run.policy_args", list[str], DECIDES, _PARAMETER, "--policy-arg", "-p", metavar="KEY=VALUE"),
    "seed": _option("run.seed", int, DECIDES, "Every image's seed follows from it. By default 0."),
    "rounds": _option("run.budget.rounds", int, DECIDES, "At most so many rounds after the first drawings."),
    "images": _option("run.budget.images", int, DECIDES, "At most so many images."),
}
"""By name of the parameter: the setting, the type and the option."""
MODEL_OPTIONS = ("preset", "chat_url", "chat_model", "vision_url", "vision_model", "diffusion")
RUN_OPTIONS = tuple(_OPTIONS)


def with_options(names: Sequence[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Puts the options of these names in the place of a command's parameter ``given``, their settings by section."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def called(**values: Any) -> None:
            chosen = {_OPTIONS[name][0]: values.pop(name) for name in names}
            if "run.policy_args" in chosen:
                chosen["run.policy_args"] = parsed_arguments(chosen["run.policy_args"]) or None
            command(given=by_section(chosen), **values)

        parameters: list[Parameter] = []
        for parameter in signature(command, eval_str=True).parameters.values():
            if parameter.name != "given":
                parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
                continue
            for name in names:
                _, kind, option = _OPTIONS[name]
                parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=option, annotation=kind))
        called.__dict__["__signature__"] = Signature(parameters)
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorate


def by_section(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings such as ``run.budget.images`` as nested tables; those that are None are left out."""
    tables: dict[str, Any] = {}
    for setting, value in values.items():
        if value is not None:
            *sections, name = setting.split(".")
            table = tables
            for section in sections:
                table = table.setdefault(section, {})
            table[name] = value
    return tables


def parsed_arguments(arguments: Sequence[str] | None, option: str = "--policy-arg") -> dict[str, object]:
    """Each ``key=value``, the value read as TOML where it is any, else as text; ``SettingsError`` without a key."""
    import tomllib

    parsed: dict[str, object] = {}
    for argument in arguments or ():
        key, equals, value = argument.partition("=")
        if not (key and equals):
            raise SettingsError(f"{option} {argument!r} should read key=value")
        try:
            parsed[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed[key] = value
    return parsed
