"""What an experiment file says: the types of its tables, and the prompts that it names."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BeforeValidator, Field, model_validator

from ...state import Budget, Frozen, InteractionKind, Seed, Words
from ...tools.data.reader import read_rows
from ...tools.errors import SettingsError
from ...tools.roles import Critic, Explicitness
from ...tools.vision.wrapping import (
    Correlated,
    NoCritic,
    Profile,
    Rate,
    UngatedCritic,
    UnreliableCritic,
    VotingCritic,
    WholeCritic,
    profile_of,
)
from ...tools.world import EmbeddedCritic
from ...tools.world.language import short_caption
from ...tools.world.layout import laid_out_specs
from ...tools.world.relations import RELATIONS
from ...tools.world.spec import MOST_LINKS
from ...tools.world.spec import Spec as Scene
from ..policies import Exhaustive

Grid = dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]]
"""Values by parameter; every combination is tried."""


MOST_PROMPTS = MOST_SEEDS = 5_000
"""Of the embedded world, and of runs of each prompt."""


def _seeds(given: object) -> object:
    if type(given) is not int:
        return given
    if given > MOST_SEEDS:
        raise ValueError(f"at most {MOST_SEEDS} seeds are tried")
    return tuple(range(given))


class PromptSource(Frozen):
    """Where the prompts come from: one of ``embedded``, ``files`` and ``texts``."""

    embedded: int | None = Field(default=None, ge=1, le=MOST_PROMPTS)
    """How many held-out prompts of the embedded world to generate; every second one combines a relation with things
    that training never combined so. Their scenario is the kind of their first interaction."""
    seed: int = 2026
    """Of the generated ones."""
    complexity: int | None = Field(default=None, ge=1, le=MOST_LINKS)
    """Relations in each generated prompt; None for easy ones of one to three."""
    kinds: tuple[InteractionKind, ...] = ()
    """Generates only prompts whose first interaction is of these kinds; empty for all."""
    files: tuple[Path, ...] = ()
    """JSONL, CSV with a header, or plain text with a prompt a line, and what else ``tools.data`` reads; relative to the
    experiment file."""
    column: str | None = None
    """Column of a table that holds the prompt; None for ``prompt`` or another usual name."""
    scenario: str | None = None
    """Column of a table that holds the scenario; None for the name of the file."""
    texts: tuple[Words, ...] = ()
    """The prompts themselves."""
    limit: int | None = Field(default=None, ge=1)
    """Prompts of each file at most, spread evenly over it; None for all."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("embedded", "files", "texts") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"give one of embedded, files and texts, not {' and '.join(given) or 'none'}")
        return self

    def prompts(self, folder: Path) -> dict[str, str]:
        """The scenario of each prompt, empty where unknown; ``SettingsError`` if a file cannot be read."""
        if self.embedded:
            return held_out(self.embedded, self.seed, self.kinds, self.complexity)
        prompts = dict.fromkeys(self.texts, "")
        for path in self.files:
            rows = [row for row in read_rows(folder / path, column=self.column) if row.prompt.strip()]
            kept = min(self.limit or len(rows), len(rows))
            for row in (rows[index * len(rows) // kept] for index in range(kept)):
                scenario = str(row.others.get(self.scenario, "")) if self.scenario else path.stem
                prompts[row.prompt.strip()] = scenario
        return prompts


class PolicyEntry(Frozen):
    """A policy, once for each combination of its grid."""

    policy: Words
    """A known name or ``module:Name``."""
    label: Words | None = None
    """Its name in tables; None for the policy's name. Values of the grid are appended."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Parameters of its class; the text ``none`` stands for None, which TOML cannot write."""
    grid: Grid = Field(default_factory=dict)
    """More parameters of its class, each with several values; ``"budget.NAME"`` varies a bound of its budget."""
    budget: Budget = Budget()
    """Bounds of its own; the experiment's hold for those that are not set."""
    critics: tuple[Words, ...] | None = None
    """Labels of the critics that it is tried with; None for all."""


Checklist = Literal["gated", "ungated", "whole"]
"""How the critic is asked. gated: what depends on a failed check fails unasked; ungated: every check is asked
for itself; whole: one answer for the whole picture, as without decomposition."""


class CriticSettings(Frozen):
    """How reliable the critic is, and what it is asked."""

    flip: Rate = 0.0
    """How often a pass becomes a fail or a fail a pass, in [0, 1]."""
    blank: Rate = 0.0
    """How often a verdict becomes unknown, in [0, 1]."""
    profile: Words | Profile | None = None
    """How often it misses and invents, by aspect: ``published``, a JSON file, or a table such as
    ``{ relation = { miss = 0.4, invent = 0.1 } }``; None for no such errors."""
    strength: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Multiplies the rates of the profile."""
    correlated: Correlated = "no"
    """Which errors come together: ``no``, ``image``, ``check`` or ``alike``."""
    seed: int = 0
    """Of the errors."""
    votes: int = Field(default=1, ge=1, le=25)
    """Critics that vote, whose errors are independent of each other's."""
    checklist: Checklist = "gated"
    """``gated``, ``ungated`` or ``whole``."""
    corrections: Explicitness | None = None
    """What the embedded critic's corrected prompt says: ``oracle``, ``place``, ``pose`` or ``words``; None for what the
    settings say (``vision.corrections``)."""

    @model_validator(mode="after")
    def _can_be_applied(self) -> Self:
        try:
            self.applied(NoCritic())
        except SettingsError as error:
            raise ValueError(str(error)) from error
        return self

    def applied(self, critic: Critic) -> Critic:
        """``critic`` as these settings have it."""
        if self.corrections is not None and isinstance(critic, EmbeddedCritic):
            critic = critic.correcting(self.corrections)
        if self.flip or self.blank or self.profile is not None:
            rates: dict[str, Any] = {name: getattr(self, name) for name in ("flip", "blank", "strength", "correlated")}
            rates["profile"] = profile_of(self.profile or {})
            made = [UnreliableCritic(critic, **rates, seed=self.seed + vote) for vote in range(self.votes)]
            critic = made[0] if self.votes == 1 else VotingCritic(*made)
        return {"gated": critic, "ungated": UngatedCritic(critic), "whole": WholeCritic(critic)}[self.checklist]


class CriticEntry(CriticSettings):
    """A critic, once for each combination of its grid."""

    label: Words | None = None
    """Its name in tables; None for its settings in words."""
    grid: Grid = Field(default_factory=dict)
    """Settings with several values each."""

    @property
    def group(self) -> str:
        """The label, or the settings in words."""
        own = {name: getattr(self, name) for name in sorted(self.model_fields_set - {"label", "grid"})}
        return labelled("", own) if self.label is None else self.label


class JudgeSettings(Frozen):
    """Who measures the images; a judge takes no part in any run."""

    kind: Literal["embedded", "chat", "critic"] = "embedded"
    """embedded: the independent judge of the embedded world; chat: a chat model that you name, from another family
    than the critic; critic: none, so that the critic that chose an image also measures it."""
    model: Words | None = None
    """Of ``chat``."""
    url: Words | None = None
    """Of ``chat``; None for that of the settings' chat model."""

    @model_validator(mode="after")
    def _only_a_chat_model_is_named(self) -> Self:
        if self.kind == "chat" and self.model is None:
            raise ValueError("model is missing: name the chat model that judges")
        if self.kind != "chat" and (self.model or self.url):
            raise ValueError(f'model and url are for kind = "chat", not for {self.kind!r}')
        return self


class ExperimentSpec(Frozen):
    """Everything that determines the results of an experiment."""

    question: Words
    """What it is to answer; heads the results."""
    prompts: PromptSource
    policies: tuple[PolicyEntry, ...] = Field(min_length=1)
    critics: tuple[CriticEntry, ...] = Field(default=(CriticEntry(),), min_length=1)
    """Every policy is tried with each of them."""
    seeds: Annotated[
        tuple[Seed, ...],
        Field(min_length=1),
        BeforeValidator(_seeds, json_schema_input_type=int | list[int]),
    ] = (0,)
    """Runs of each prompt; a number n stands for 0 to n - 1. Prompt and seed together fix every image's noise."""
    budget: Budget = Budget()
    """Of every run."""
    judge: JudgeSettings = JudgeSettings()
    baseline: Words | None = None
    """Label of the variant that the others are compared with; None for the first."""
    tree: Exhaustive = Exhaustive()
    """What ``--exhaustive`` tries."""
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Models and how they draw, by section, as in ``detailscribe.toml``: all but policy, seed and budget."""


def labelled(name: str, values: Mapping[str, Any]) -> str:
    """``multi_round rounds=2``."""

    def written(value: Any) -> str:
        if isinstance(value, Mapping):
            return "/".join(f"{key}:{written(inner)}" for key, inner in cast(Mapping[str, Any], value).items())
        if isinstance(value, (list, tuple)):
            return "-".join(map(written, cast(Sequence[Any], value)))
        return f"{value:g}" if isinstance(value, float) else str(value)

    return " ".join(filter(None, (name, *(f"{key}={written(value)}" for key, value in values.items()))))


def changed_budget(budget: Budget, *changes: Budget) -> Budget:
    """``budget`` with the bounds that are set in each of ``changes`` in place of its own."""
    for change in changes:
        budget = budget.model_copy(update=change.model_dump(exclude_unset=True))
    return budget


def held_out(
    count: int, seed: int, kinds: Sequence[InteractionKind] = (), complexity: int | None = None
) -> dict[str, str]:
    """Prompts of the embedded world that training never saw, with the kind of their first interaction; the first ones
    are the same for any count."""
    prompts = dict[str, str]()

    def wanted(scene: Scene) -> bool:
        return scene.held_out and scene.unseen == (len(prompts) % 2 == 1)

    for scene, _ in laid_out_specs(random.Random(seed), wanted, complexity):
        kind = RELATIONS[scene.links[0].relation].kind if scene.links else ""
        if not kinds or kind in kinds:
            prompts.setdefault(short_caption(scene), kind)
        if len(prompts) == count:
            break
    return prompts
