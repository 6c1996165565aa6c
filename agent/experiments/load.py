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
_TABLES = (ExperimentSpec, PromptSource, PolicyEntry, CriticEntry, JudgeSettings, Budget, Exhaustive)
_NAMES = {name for table in _TABLES for name in table.model_fields}
"""All that can stand in an experiment file, but for names in grids and settings."""


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

    @property
    def numbers(self) -> dict[str, float]:
        """Those of the values that are numbers."""
        return {k: v for k, v in self.parameters.items() if isinstance(v, int | float) and not isinstance(v, bool)}

    def said(self, name: str, wanted: Callable[[str], bool]) -> str:
        """``name rounds=2``, with each wanted value."""
        values = ({key.partition(".")[2]: value} for key, value in self.parameters.items() if wanted(key))
        return " ".join(filter(None, (name, *(labelled("", value) for value in values))))


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
    """Read and check all of an experiment file, without a model; ``ExperimentError`` says all that is wrong with it."""
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
    """An experiment from the content of its file, whose prompts are looked for in ``folder``; ``text`` is all of it.

    Each line of the message of a ``SettingsError`` is one mistake.
    """
    try:
        spec = ExperimentSpec.model_validate(table)
    except ValidationError as error:
        raise SettingsError("\n".join(_mistakes(error.errors()))) from error
    problems = list[str]()
    with _noted(problems, "settings"):
        loaded = _settings(spec)
    is_loaded = not problems
    variants = variants_of(spec, problems, loaded.settings if is_loaded else Settings())
    if is_loaded:
        chats = loaded.settings.chats
        if chats and spec.judge.kind == "embedded":
            problems.append(
                "judge: the embedded judge sees only the embedded world: "
                'give kind = "chat" with a model of another family'
            )
        if chats and any(variant.critic.corrections for variant in variants):
            problems.append("critics: corrections are a choice of the embedded critic, and a chat model looks here")
        asking = (v.label for v in variants if isinstance(v.resolved, Advised) and v.resolved.chat is None)
        problems += (
            f"policies: {label}: it asks a chat model: give settings.chat.model" for label in asking if not chats
        )
    with _noted(problems, "prompts"):
        prompts = spec.prompts.prompts(folder)
    if problems:
        raise SettingsError("\n".join(dict.fromkeys(problems)))
    return Experiment(name, spec, tuple(variants), tuple(prompts), loaded, text)


def variants_of(spec: ExperimentSpec, problems: list[str], settings: Settings) -> list[Variant]:
    """Each policy with each critic, once for every combination of their grids, in the order of the file.

    ``problems`` gets a line for each policy or critic that cannot be made, and for labels that are not clear.
    """
    counts = [sum(math.prod(map(len, e.grid.values())) for e in entries) for entries in (spec.policies, spec.critics)]
    if math.prod(counts) > MOST_VARIANTS:
        count = f"{math.prod(counts):.3g} combinations, and at most {MOST_VARIANTS} are tried"
        problems.append(f"policies: the grids have {count}")
        return []
    critics, labels, found = list[tuple[str, CriticSettings, Values]](), list[str](), list[Variant]()
    for number, entry in enumerate(spec.critics):
        for values in _combinations(entry.grid):
            with _noted(problems, f"critics.{number}.grid"):
                made = CriticSettings.model_validate(entry.model_dump(exclude={"label", "grid"}) | values)
                critics.append((entry.group, made, values))
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
            grids = {f"policy.{k}": v for k, v in values.items()} | {f"critic.{k}": v for k, v in critic_values.items()}
            with _noted(problems, f"policies: {label}"):
                budget = changed_budget(spec.budget, entry.budget, Budget.model_validate(bounds))
                policy = resolve_policy(entry.policy, **settings.policy_parameters(entry.policy, args))
                if isinstance(wanted := getattr(policy, "rounds", 0), int) and wanted > budget.rounds:
                    raise SettingsError(
                        f"it refines {wanted} times, and the budget has {budget.rounds} rounds: "
                        f"give budget.rounds = {wanted}, or it is not what its name says"
                    )
                group = ", ".join(filter(None, (name, group)))
                found.append(Variant(label, entry.policy, policy, budget, critic, group, grids))
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        problems.append(f"policies: two are called {label!r}: give one a label")
    named = {critic for entry in spec.policies for critic in entry.critics or ()}
    for label in sorted(named - {entry.group for entry in spec.critics}):
        problems.append(f"policies: no critic is called {label!r}")
    if spec.baseline is not None and spec.baseline not in labels:
        problems.append(f"baseline: nothing is called {spec.baseline!r}; there are {'; '.join(labels)}")
    return found


@contextmanager
def _noted(problems: list[str], place: str) -> Generator[None]:
    """Adds an error to the problems, in place of raising it."""
    try:
        yield
    except ValidationError as error:
        problems.append(f"{place}: {first_problem(error)}")
    except SettingsError as error:
        problems.append(f"{place}: {error}")


def _combinations(grid: Grid) -> list[Values]:
    """Every choice of one value for each name; one empty choice for an empty grid."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _settings(spec: ExperimentSpec) -> Loaded:
    if secrets := [f"{name}.{key}" for name, own in spec.settings.items() for key in SECRETS if key in own]:
        raise SettingsError(f"{', '.join(secrets)}: the file is kept with its results, so set this in the environment")
    if own := [f"run.{name}" for name in OWN if name in spec.settings.get("run", {})]:
        raise SettingsError(f"{', '.join(own)}: an experiment says this by its policies, seeds and budget")
    return load(spec.settings)


def _mistakes(details: Sequence[ErrorDetails]) -> Iterator[str]:
    """One line a mistake; what is missing for being misspelt, and a list that is too short for a wrong item, are none
    of their own."""
    unknown = (d["loc"] for d in details if d["type"] == "extra_forbidden")
    near = {place: next(iter(get_close_matches(str(place[-1]), _NAMES, n=1)), "") for place in unknown}
    others = {(*place[:-1], name) for place, name in near.items()}
    others |= {d["loc"][:n] for d in details for n in range(len(d["loc"]))}
    for detail in details:
        place, known = ".".join(map(str, detail["loc"])), near.get(detail["loc"])
        if known is not None:
            yield f"{place}: there is no such setting" + (f"; did you mean {known!r}?" if known else "")
        elif detail["loc"] not in others:
            said = detail["msg"].removeprefix("Value error, ")
            yield f"{place}: {'is missing' if detail['type'] == 'missing' else said}"
