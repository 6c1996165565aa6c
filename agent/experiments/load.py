"""From an experiment file to an experiment: its variants, prompts and settings, with one line for each mistake."""

import itertools
import math
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ...state import Budget
from ...tools.errors import SettingsError, first_problem, typed
from ..policies import Advised, Exhaustive, Policy, resolve_policy
from ..settings.loading import Loaded, load
from ..settings.settings import SECRETS, Settings
from .spec import (
    CriticEntry,
    CriticSettings,
    ExperimentPrompt,
    ExperimentSpec,
    Grid,
    JudgeSettings,
    PolicyEntry,
    PromptSource,
    changed_budget,
    labelled,
)

Values = dict[str, Any]
OWN = ("policy", "policy_args", "seed", "budget", "out")
"""Settings of ``run`` that an experiment has a place of its own for."""
MOST_VARIANTS = 10_000
"""Of an experiment."""
_NAMES: dict[str | int, Collection[str]] = {
    "": ExperimentSpec.model_fields,
    "prompts": PromptSource.model_fields,
    "policies": PolicyEntry.model_fields,
    "critics": CriticEntry.model_fields,
    "judge": JudgeSettings.model_fields,
    "budget": Budget.model_fields,
    "tree": {field.name for field in fields(Exhaustive)},
}
"""Names that can stand in each table of an experiment file."""
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""What pydantic calls the mistake of a name that is not known."""


class ExperimentError(SettingsError):
    """An experiment file is wrong; each line of the message is one mistake."""


@dataclass(frozen=True)
class Variant:
    """A policy with its parameters, budget and critic: one row of the tables."""

    label: str
    policy: str
    """A known name or ``module:Name``."""
    resolved: Policy
    budget: Budget
    critic: CriticSettings
    group: str
    """The label without the values of the grids."""
    parameters: Values = field(default_factory=dict[str, Any])
    """The values of the grids, by ``policy.`` or ``critic.`` and the parameter's name."""


@dataclass(frozen=True)
class Experiment:
    """An experiment file, read and checked."""

    name: str
    """The file's, without its suffix."""
    spec: ExperimentSpec
    variants: tuple[Variant, ...]
    prompts: tuple[ExperimentPrompt, ...]
    settings: Loaded
    """Models and how they draw."""
    text: str
    """The file as it was read."""

    @property
    def baseline(self) -> str:
        """Label of the variant that the others are compared with."""
        return self.spec.baseline or self.variants[0].label


@typed
def load_experiment(path: Path | str) -> Experiment:
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
    except (ValueError, RecursionError) as error:
        raise ExperimentError(f"{path} is no TOML: {error}") from error
    try:
        return make_experiment(path.stem, table, path.parent, text)
    except SettingsError as error:
        raise ExperimentError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


@typed
def make_experiment(name: str, table: Mapping[str, Any], folder: Path, text: str = "") -> Experiment:
    """An experiment from the content of its file.

    Args:
        name: Of the experiment.
        table: Content of the file.
        folder: Where files of prompts are looked for.
        text: The file as it was read; empty where there is none.

    Raises:
        SettingsError: it says what cannot be done; each line of the message is one mistake.
    """
    try:
        spec = ExperimentSpec.model_validate(table)
    except ValidationError as error:
        raise SettingsError("\n".join(_mistakes(error.errors()))) from error
    problems: list[str] = []
    prompts, settings = list[ExperimentPrompt](), None
    try:
        settings = _settings(spec)
    except SettingsError as error:
        problems.append(f"settings: {error}")
    variants = list(variants_of(spec, problems, settings.settings if settings else Settings()))
    try:
        prompts = spec.prompts.prompts(folder)
    except SettingsError as error:
        problems.append(f"prompts: {error}")
    if settings is not None and settings.settings.chats and spec.judge.kind == "embedded":
        problems.append(
            'judge: the embedded judge sees only the embedded world: give kind = "chat" with a model of another family'
        )
    if settings is not None and settings.settings.chats and any(v.critic.corrections for v in variants):
        problems.append("critics: corrections are a choice of the embedded critic, and a chat model looks here")
    if settings is not None and not settings.settings.chats:
        asking = (v.label for v in variants if isinstance(v.resolved, Advised) and v.resolved.chat is None)
        problems += (f"policies: {label}: it asks a chat model: give settings.chat.model" for label in asking)
    if problems or settings is None:
        raise SettingsError("\n".join(dict.fromkeys(problems)))
    return Experiment(name, spec, tuple(variants), tuple(prompts), settings, text)


def variants_of(spec: ExperimentSpec, problems: list[str], settings: Settings) -> Iterator[Variant]:
    """Each policy with each critic, once for every combination of their grids, in the order of the file.

    ``problems`` gets a line for each policy or critic that cannot be made, and for labels that are not clear.
    """
    counts = [sum(math.prod(map(len, e.grid.values())) for e in entries) for entries in (spec.policies, spec.critics)]
    if math.prod(counts) > MOST_VARIANTS:
        count = f"{math.prod(counts):.3g} combinations, and at most {MOST_VARIANTS} are tried"
        problems.append(f"policies: the grids have {count}")
        return
    critics: list[tuple[str, CriticSettings, Values]] = []
    for number, entry in enumerate(spec.critics):
        for values in _combinations(entry.grid):
            try:
                made = CriticSettings.model_validate(entry.model_dump(exclude={"label", "grid"}) | values)
            except ValidationError as error:
                problems.append(f"critics.{number}.grid: {first_problem(error)}")
                continue
            critics.append((entry.group, made, values))
    labels: list[str] = []
    for entry in spec.policies:
        name = entry.label or entry.policy
        for values, (group, critic, critic_values) in itertools.product(_combinations(entry.grid), critics):
            if entry.critics is not None and group not in entry.critics:
                continue
            group = group if len(critics) > 1 else ""  # which would say the same of every variant
            args = {key: None if value == "none" else value for key, value in (entry.args | values).items()}
            bounds = {key.removeprefix("budget."): args.pop(key) for key in list(args) if key.startswith("budget.")}
            label = ", ".join(filter(None, (labelled(name, values), labelled(group, critic_values))))
            labels.append(label)
            try:
                budget = changed_budget(spec.budget, entry.budget, Budget.model_validate(bounds))
                policy = resolve_policy(entry.policy, **settings.policy_parameters(entry.policy, args))
            except ValidationError as error:
                problems.append(f"policies: {name}: budget.{first_problem(error)}")
                continue
            except SettingsError as error:
                problems.append(f"policies: {label}: {error}")
                continue
            if isinstance(wanted := getattr(policy, "rounds", 0), int) and wanted > budget.rounds:
                problems.append(
                    f"policies: {label}: it refines {wanted} times, and the budget has {budget.rounds} rounds: "
                    f"give budget.rounds = {wanted}, or it is not what its name says"
                )
            grids = {f"policy.{k}": v for k, v in values.items()} | {f"critic.{k}": v for k, v in critic_values.items()}
            yield Variant(label, entry.policy, policy, budget, critic, ", ".join(filter(None, (name, group))), grids)
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        problems.append(f"policies: two are called {label!r}: give one a label")
    named = {critic for entry in spec.policies for critic in entry.critics or ()}
    for label in sorted(named - {entry.group for entry in spec.critics}):
        problems.append(f"policies: no critic is called {label!r}")
    if spec.baseline is not None and spec.baseline not in labels:
        problems.append(f"baseline: nothing is called {spec.baseline!r}; there are {'; '.join(labels)}")


def _combinations(grid: Grid) -> list[Values]:
    """Every choice of one value for each name; one empty choice for an empty grid."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _settings(spec: ExperimentSpec) -> Loaded:
    if secrets := [f"{name}.{key}" for name, own in spec.settings.items() for key in SECRETS if key in own]:
        raise SettingsError(f"{', '.join(secrets)}: the file is kept with its results, so set this in the environment")
    own = [f"run.{name}" for name in OWN if name in spec.settings.get("run", {})]
    if own:
        raise SettingsError(f"{', '.join(own)}: an experiment says this by its policies, seeds and budget")
    return load(spec.settings)


def _mistakes(details: list[ErrorDetails]) -> Iterator[str]:
    """One line a mistake: a name that is missing for being misspelt, and a list that is too short for a wrong item,
    are no mistakes of their own."""
    misspelt = {(*d["loc"][:-1], _nearest(d["loc"])) for d in details if d["type"] in _UNKNOWN}
    around = {d["loc"][:n] for d in details for n in range(len(d["loc"]))}
    for detail in details:
        kind, place = detail["type"], ".".join(map(str, detail["loc"]))
        if kind in _UNKNOWN:
            near = _nearest(detail["loc"])
            yield f"{place}: there is no such setting" + (f"; did you mean {near!r}?" if near else "")
        elif kind == "missing":
            if detail["loc"] not in misspelt:
                yield f"{place}: is missing"
        elif kind != "too_short" or detail["loc"] not in around:
            yield f"{place}: {detail['msg'].removeprefix('Value error, ')}"


def _nearest(place: tuple[str | int, ...]) -> str | None:
    """The known name that is most like the last part of a place; None where none is."""
    known = _NAMES[next((part for part in reversed(place[:-1]) if part in _NAMES), "")]
    return next(iter(get_close_matches(str(place[-1]), known, n=1)), None)
