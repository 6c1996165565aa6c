"""From an experiment file to an experiment: its variants, prompts and settings, with one line for each mistake."""

import itertools
import math
import tomllib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    ExperimentSpec,
    Grid,
    JudgeSettings,
    PolicyEntry,
    PromptSource,
    changed_budget,
    labelled,
)

OWN = ("policy", "policy_args", "seed", "budget", "out")
"""Settings of ``run`` that have a place of their own in an experiment file."""
MOST_VARIANTS = 10_000
"""Of an experiment."""
_TABLES = (ExperimentSpec, PromptSource, PolicyEntry, CriticEntry, JudgeSettings, Budget, Exhaustive)
_NAMES = {name for table in _TABLES for name in table.model_fields}
"""Names that an experiment file can contain, to suggest the one that was meant."""


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
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    """The values of the grids, by ``policy.NAME`` or ``critic.NAME``."""

    @property
    def numbers(self) -> dict[str, float]:
        """The parameters that are numbers."""
        return {k: v for k, v in self.parameters.items() if isinstance(v, int | float) and not isinstance(v, bool)}

    def with_values(self, name: str, wanted: Callable[[str], bool]) -> str:
        """``name rounds=2``, with each wanted parameter."""
        parts = (labelled("", {key.partition(".")[2]: v}) for key, v in self.parameters.items() if wanted(key))
        return " ".join(filter(None, (name, *parts)))


@dataclass(frozen=True)
class Experiment:
    """An experiment file, read and checked."""

    name: str
    """The file's, without its suffix."""
    spec: ExperimentSpec
    variants: tuple[Variant, ...]
    prompts: dict[str, str]
    """The scenario of each prompt, empty where unknown."""
    settings: Loaded
    """Models and how they draw."""
    text: str
    """The content of the file."""

    @property
    def baseline(self) -> str:
        """Label of the variant that the others are compared with."""
        return self.spec.baseline or self.variants[0].label


@typed
def load_experiment(path: Path | str) -> Experiment:
    """Read and check an experiment file, without loading a model; ``ExperimentError`` lists every mistake."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ExperimentError(f"cannot read the experiment {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ExperimentError(f"{path} is not TOML: {error}") from error
    try:
        return make_experiment(path.stem, table, path.parent, text)
    except SettingsError as error:
        raise ExperimentError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


@typed
def make_experiment(name: str, table: Mapping[str, Any], folder: Path, text: str = "") -> Experiment:
    """An experiment from its parsed file, with the files of prompts in ``folder``; ``text`` is the unparsed file.

    Each line of the message of a ``SettingsError`` is one mistake.
    """
    try:
        spec = ExperimentSpec.model_validate(table)
    except ValidationError as error:
        raise SettingsError("\n".join(_mistakes(error.errors()))) from error
    problems = list[str]()
    loaded, prompts = None, dict[str, str]()
    with _collected(problems, "settings"):
        loaded = _settings(spec)
    variants = variants_of(spec, problems, loaded.settings if loaded else Settings())
    if loaded and loaded.settings.chats:
        if spec.judge.kind == "embedded":
            how = 'give kind = "chat" with a model of another family'
            problems.append(f"judge: the embedded judge sees only the embedded world: {how}")
        if any(variant.critic.corrections for variant in variants):
            problems.append("critics: corrections are a choice of the embedded critic, and a chat model looks here")
    elif loaded:
        asking = (v.label for v in variants if isinstance(v.resolved, Advised) and v.resolved.chat is None)
        problems += (f"policies: {label}: it asks a chat model: give settings.chat.model" for label in asking)
    with _collected(problems, "prompts"):
        prompts = spec.prompts.prompts(folder)
    if problems or not loaded:
        raise SettingsError("\n".join(dict.fromkeys(problems)))
    return Experiment(name, spec, tuple(variants), prompts, loaded, text)


def variants_of(spec: ExperimentSpec, problems: list[str], settings: Settings) -> list[Variant]:
    """Each policy with each critic, once for every combination of their grids, in the order of the file.

    ``problems`` gets a line for each policy or critic that cannot be made, and for each ambiguous or unknown label.
    """
    counts = [sum(math.prod(map(len, e.grid.values())) for e in entries) for entries in (spec.policies, spec.critics)]
    if (count := math.prod(counts)) > MOST_VARIANTS:
        problems.append(f"policies: the grids have {count:.3g} combinations, and at most {MOST_VARIANTS} are tried")
        return []
    critics, labels = list[tuple[str, CriticSettings, dict[str, Any]]](), list[str]()
    variants = list[Variant]()
    for number, entry in enumerate(spec.critics):
        for values in _combinations(entry.grid):
            with _collected(problems, f"critics.{number}.grid"):
                critic = CriticSettings.model_validate(entry.model_dump(exclude={"label", "grid"}) | values)
                critics.append((entry.group, critic, values))
    for entry in spec.policies:
        name = entry.label or entry.policy
        for values, (group, critic, critic_values) in itertools.product(_combinations(entry.grid), critics):
            if entry.critics is not None and group not in entry.critics:
                continue
            group = group if len(critics) > 1 else ""  # else every label would repeat it
            args = {key: None if value == "none" else value for key, value in (entry.args | values).items()}
            bounds = {key.removeprefix("budget."): args.pop(key) for key in list(args) if key.startswith("budget.")}
            label = ", ".join(filter(None, (labelled(name, values), labelled(group, critic_values))))
            labels.append(label)
            grids = {f"policy.{k}": v for k, v in values.items()} | {f"critic.{k}": v for k, v in critic_values.items()}
            with _collected(problems, f"policies: {label}"):
                budget = changed_budget(spec.budget, entry.budget, Budget.model_validate(bounds))
                policy = resolve_policy(entry.policy, **settings.policy_parameters(entry.policy, args))
                if isinstance(wanted := getattr(policy, "rounds", 0), int) and wanted > budget.rounds:
                    raise SettingsError(
                        f"it refines {wanted} times, and the budget has {budget.rounds} rounds: "
                        f"give budget.rounds = {wanted}, or it is not what its name says"
                    )
                group = ", ".join(filter(None, (name, group)))
                variants.append(Variant(label, entry.policy, policy, budget, critic, group, grids))
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        problems.append(f"policies: two are called {label!r}: give one a label")
    named = {critic for entry in spec.policies for critic in entry.critics or ()}
    for label in sorted(named - {entry.group for entry in spec.critics}):
        problems.append(f"policies: no critic is called {label!r}")
    if spec.baseline is not None and spec.baseline not in labels:
        problems.append(f"baseline: nothing is called {spec.baseline!r}; there are {'; '.join(labels)}")
    return variants


@contextmanager
def _collected(problems: list[str], place: str) -> Generator[None]:
    """Adds an error to the problems instead of raising it."""
    try:
        yield
    except ValidationError as error:
        problems.append(f"{place}: {first_problem(error)}")
    except SettingsError as error:
        problems.append(f"{place}: {error}")


def _combinations(grid: Grid) -> list[dict[str, Any]]:
    """Every choice of one value for each name; one empty choice for an empty grid."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _settings(spec: ExperimentSpec) -> Loaded:
    if secrets := [f"{name}.{key}" for name, own in spec.settings.items() for key in SECRETS if key in own]:
        raise SettingsError(f"{', '.join(secrets)}: the file is kept with its results, so set this in the environment")
    if own := [f"run.{name}" for name in OWN if name in spec.settings.get("run", {})]:
        raise SettingsError(f"{', '.join(own)}: an experiment says this by its policies, seeds and budget")
    return load(spec.settings)


def _mistakes(details: Sequence[ErrorDetails]) -> Iterator[str]:
    """One line a mistake, without those that follow from another: a name that is missing because it is misspelt, or a
    list that is too short because one of its items is wrong."""
    unknown = (d["loc"] for d in details if d["type"] == "extra_forbidden")
    near = {place: next(iter(get_close_matches(str(place[-1]), _NAMES, n=1)), "") for place in unknown}
    consequences = {(*place[:-1], name) for place, name in near.items()}
    consequences |= {d["loc"][:n] for d in details for n in range(len(d["loc"]))}
    for detail in details:
        place, meant = ".".join(map(str, detail["loc"])), near.get(detail["loc"])
        if meant is not None:
            yield f"{place}: there is no such setting" + (f"; did you mean {meant!r}?" if meant else "")
        elif detail["loc"] not in consequences:
            message = detail["msg"].removeprefix("Value error, ")
            yield f"{place}: {'is missing' if detail['type'] == 'missing' else message}"
