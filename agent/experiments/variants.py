"""What an experiment compares: each policy with each critic, once for every combination of their grids."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from ...state import Budget
from ...tools.errors import SettingsError
from ..policies import resolve_policy
from ..validation import first_problem
from .critics import CriticSettings
from .spec import BudgetChange, CriticEntry, Experiment, Grid, PolicyEntry

Values = dict[str, Any]
_BUDGET = "budget."
_NAMING = {"label", "grid"}


@dataclass(frozen=True)
class Variant:
    """One row of the tables."""

    label: str
    policy: str
    """A known name or ``module:Name``."""
    args: Values
    budget: Budget
    critic: CriticSettings
    group: str
    """The label without the values of the grids."""
    parameters: Values = field(default_factory=dict[str, Any])
    """The values of the grids, by ``policy.`` or ``critic.`` and the parameter's name."""


@dataclass(frozen=True)
class _Critic:
    label: str
    group: str
    settings: CriticSettings
    chosen: Values


def variants(experiment: Experiment) -> list[Variant]:
    """All that are compared, in the order of the file.

    Raises:
        SettingsError: a policy or a critic cannot be made; each line of the message is one mistake.
    """
    problems: list[str] = []
    critics = list(_critics(experiment, problems))
    found = [v for entry in experiment.policies for v in _of_policy(entry, experiment, critics, problems)]
    problems += _unusable(found) + _ambiguous(found, experiment)
    if problems:
        raise SettingsError("\n".join(dict.fromkeys(problems)))
    return found


def baseline_of(experiment: Experiment, found: list[Variant]) -> Variant:
    """What all others are compared with."""
    return next((v for v in found if v.label == experiment.baseline), found[0])


def _critics(experiment: Experiment, problems: list[str]) -> Iterator[_Critic]:
    for number, entry in enumerate(experiment.critics):
        for chosen in combinations(entry.grid):
            try:
                settings = CriticSettings.model_validate(entry.model_dump(exclude=_NAMING) | chosen)
            except ValidationError as error:
                problems.append(f"critics.{number}.grid: {first_problem(error)}")
                continue
            wrong = settings.problem()
            if wrong is not None:
                problems.append(f"critics.{number}: {wrong}")
            group = _group(entry)
            yield _Critic(_labelled(group, chosen), group, settings, chosen)


def _group(entry: CriticEntry) -> str:
    """The entry's label, or its settings in words."""
    if entry.label is not None:
        return entry.label
    said = {name: getattr(entry, name) for name in sorted(entry.model_fields_set - _NAMING)}
    return _labelled("", said)


def _of_policy(
    entry: PolicyEntry, experiment: Experiment, critics: list[_Critic], problems: list[str]
) -> Iterator[Variant]:
    name = entry.label or entry.policy
    for chosen, critic in itertools.product(combinations(entry.grid), critics):
        if entry.critics is not None and critic.group not in entry.critics:
            continue
        args, bounds = _split(entry.args | chosen)
        try:
            budget = BudgetChange.model_validate(entry.budget.model_dump() | bounds).on(experiment.budget)
        except ValidationError as error:
            problems.append(f"policies: {name}: budget.{first_problem(error)}")
            continue
        yield Variant(
            label=_joined(_labelled(name, chosen), critic.label),
            policy=entry.policy,
            args=args,
            budget=budget,
            critic=critic.settings,
            group=_joined(name, critic.group),
            parameters=_prefixed("policy", chosen) | _prefixed("critic", critic.chosen),
        )


def _split(chosen: Values) -> tuple[Values, Values]:
    """The parameters of a policy, and the bounds of its budget among them."""
    bounds = {name.removeprefix(_BUDGET): value for name, value in chosen.items() if name.startswith(_BUDGET)}
    args = {name: None if value == "none" else value for name, value in chosen.items() if not name.startswith(_BUDGET)}
    return args, bounds


def _prefixed(prefix: str, values: Values) -> Values:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def combinations(grid: Grid) -> list[Values]:
    """Every choice of one value for each name; one empty choice for an empty grid."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _unusable(found: list[Variant]) -> list[str]:
    """One line for each policy that cannot be made, or whose rounds are cut by a budget of fewer."""
    problems: list[str] = []
    for variant in found:
        try:
            policy = resolve_policy(variant.policy, **variant.args)
        except SettingsError as error:
            problems.append(f"policies: {variant.label}: {error}")
            continue
        wanted, allowed = getattr(policy, "rounds", 0), variant.budget.rounds
        if isinstance(wanted, int) and wanted > allowed:
            problems.append(
                f"policies: {variant.label}: it refines {wanted} times, and the budget has {allowed} rounds: "
                f"give budget.rounds = {wanted}, or it is not what its name says"
            )
    return problems


def _ambiguous(found: list[Variant], experiment: Experiment) -> list[str]:
    labels = [variant.label for variant in found]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    problems = [f"policies: two are called {label!r}: give one a label" for label in twice]
    known = {critic for entry in experiment.policies for critic in entry.critics or ()}
    unknown = sorted(known - {_group(entry) for entry in experiment.critics})
    problems += [f"policies: no critic is called {label!r}" for label in unknown]
    if experiment.baseline is not None and experiment.baseline not in labels:
        problems.append(f"baseline: nothing is called {experiment.baseline!r}; there are {'; '.join(labels)}")
    return problems


def _labelled(name: str, values: Mapping[str, Any]) -> str:
    """``multi_round rounds=2``."""
    return " ".join([*([name] if name else []), *(f"{key}={_plain(value)}" for key, value in values.items())])


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return "/".join(f"{key}:{_plain(inner)}" for key, inner in value.items())
    return (
        "-".join(map(_plain, value))
        if isinstance(value, (list, tuple))
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
