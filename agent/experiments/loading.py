"""From a TOML file to an experiment; every mistake in it is one line."""

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ...tools.errors import SettingsError
from ..policies import Advised, resolve_policy
from ..settings import Loaded, load
from .prompts import ExperimentPrompt
from .spec import Experiment
from .variants import Variant, variants

OWN = ("policy", "policy_args", "seed", "budget", "out")
"""Settings of ``run`` that an experiment has a place of its own for."""


class ExperimentError(SettingsError):
    """An experiment file is wrong; each line of the message is one mistake."""


@dataclass(frozen=True)
class Loadout:
    """An experiment with all that its file stands for."""

    name: str
    """The file's, without its ending."""
    experiment: Experiment
    variants: tuple[Variant, ...]
    prompts: tuple[ExperimentPrompt, ...]
    settings: Loaded
    """Models and how they draw."""
    text: str
    """The file as it was read."""


def load_experiment(path: Path | str) -> Loadout:
    """Read and check all of an experiment file; no model is loaded.

    Raises:
        ExperimentError: it cannot be read, is no TOML, or says what cannot be done.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ExperimentError(f"cannot read the experiment {path}: {error.strerror}") from error
    except ValueError as error:
        raise ExperimentError(f"{path} is no TOML: {error}") from error
    try:
        return loaded(path.stem, table, path.parent, text)
    except SettingsError as error:
        raise ExperimentError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


def loaded(name: str, table: dict[str, Any], folder: Path, text: str = "") -> Loadout:
    """An experiment from what its file would say.

    Args:
        name: What it is called.
        table: What the file would say.
        folder: Where its prompts are looked for.
        text: The file as it was read; empty where there is none.

    Raises:
        SettingsError: it says what cannot be done; each line of the message is one mistake.
    """
    experiment = _validated(table)
    chosen, settings, prompts = _checked(experiment, folder)
    return Loadout(name, experiment, chosen, prompts, settings, text)


def _validated(table: dict[str, Any]) -> Experiment:
    try:
        return Experiment.model_validate(table)
    except ValidationError as error:
        raise SettingsError("\n".join(_lines([dict(detail) for detail in error.errors()]))) from error


def _lines(details: list[dict[str, Any]]) -> list[str]:
    """One line a mistake: a name that is missing for being misspelt, and a list that is empty for a wrong item, are
    no mistakes of their own."""
    misspelt = {(*d["loc"][:-1], _nearest(d["loc"])) for d in details if d["type"] == "extra_forbidden"}
    deeper = {d["loc"][: len(d["loc"]) - n] for d in details for n in range(1, len(d["loc"]))}
    kept = [d for d in details if d["type"] != "missing" or d["loc"] not in misspelt]
    return [_line(d) for d in kept if d["type"] != "too_short" or d["loc"] not in deeper]


def _line(detail: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        near = _nearest(detail["loc"])
        return f"{place}: there is no such setting" + (f"; did you mean {near!r}?" if near else "")
    if detail["type"] == "missing":
        return f"{place}: is missing"
    return f"{place}: {detail['msg']}"


def _nearest(place: tuple[str | int, ...]) -> str | None:
    """The known name that is most like the last part of a place; None where none is."""
    near = get_close_matches(str(place[-1]), _names(Experiment, [p for p in place[:-1] if isinstance(p, str)]), n=1)
    return near[0] if near else None


def _names(model: type[BaseModel], place: list[str]) -> list[str]:
    for part in place:
        found = [m for m in _models(model.model_fields[part].annotation)] if part in model.model_fields else []
        if not found:
            return []
        model = found[0]
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models(inner)]


def _checked(experiment: Experiment, folder: Path) -> tuple[tuple[Variant, ...], Loaded, tuple[ExperimentPrompt, ...]]:
    """All that has to be looked into; every part that fails tells its mistakes."""
    problems: list[str] = []
    found, settings, prompts = list[Variant](), None, list[ExperimentPrompt]()
    try:
        found = variants(experiment)
    except SettingsError as error:
        problems.append(str(error))
    try:
        settings = _settings(experiment)
    except SettingsError as error:
        problems.append(f"settings: {error}")
    try:
        prompts = experiment.prompts.prompts(folder)
    except SettingsError as error:
        problems.append(f"prompts: {error}")
    problems += [] if settings is None else _judge_problems(experiment, settings) + _adviser_problems(found, settings)
    if problems or settings is None:
        raise SettingsError("\n".join(problems))
    return tuple(found), settings, tuple(prompts)


def _settings(experiment: Experiment) -> Loaded:
    own = [f"run.{name}" for name in OWN if name in experiment.settings.get("run", {})]
    if own:
        raise SettingsError(f"{', '.join(own)}: an experiment says this by its policies, seeds and budget")
    return load(experiment.settings)


def _adviser_problems(found: list[Variant], settings: Loaded) -> list[str]:
    """One line for each policy that asks a chat model where there is none."""
    policies = {variant.label: resolve_policy(variant.policy, **variant.args) for variant in found}
    unadvised = [label for label, p in policies.items() if isinstance(p, Advised) and p.chat is None]
    known = settings.settings.chats
    return (
        [] if known else [f"policies: {label}: it asks a chat model: give settings.chat.model" for label in unadvised]
    )


def _judge_problems(experiment: Experiment, settings: Loaded) -> list[str]:
    judge, chosen = experiment.judge, settings.settings
    if judge.kind == "chat" and judge.model is None:
        return ["judge.model: is missing: name the chat model that judges"]
    if judge.kind != "chat" and (judge.model or judge.url):
        return [f'judge: model and url are for kind = "chat", not for {judge.kind!r}']
    if judge.kind == "embedded" and chosen.chats:
        return [
            'judge: the embedded judge sees only the embedded world: give kind = "chat" with a model of another family'
        ]
    return []
