"""What an experiment is: the types of its file."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ...state import Budget, Frozen, Seed, Words
from .critics import CriticSettings
from .menu import Menu
from .prompts import PromptSource

Grid = dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]]
"""Values by parameter; every combination is tried."""


def _counted(seeds: object) -> object:
    """A number of seeds as those seeds."""
    return tuple(range(seeds)) if isinstance(seeds, int) and not isinstance(seeds, bool) else seeds


class BudgetChange(Frozen):
    """What a policy's budget has other than the experiment's; what is not given stays."""

    rounds: int | None = Field(default=None, ge=0)
    images: int | None = Field(default=None, ge=1)
    evaluations: int | None = Field(default=None, ge=1)
    critic_calls: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    money: float | None = Field(default=None, gt=0)

    def on(self, budget: Budget) -> Budget:
        """``budget`` with these bounds in place of its own."""
        return budget.model_copy(update=self.model_dump(exclude_none=True))


class PolicyEntry(Frozen):
    """A policy, once for each combination of its grid."""

    policy: Words
    """A known name or ``module:Name``."""
    label: Words | None = None
    """What the tables call it; None for the policy's name. Values of the grid are appended."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Parameters of its class; the text ``none`` stands for None, which TOML cannot write."""
    grid: Grid = Field(default_factory=dict)
    """More parameters of its class, each with several values; ``"budget.NAME"`` varies a bound of its budget."""
    budget: BudgetChange = BudgetChange()
    """Its own bounds."""
    critics: tuple[Words, ...] | None = None
    """Labels of the critics that it is tried with; None for all."""


class CriticEntry(CriticSettings):
    """A critic, once for each combination of its grid."""

    label: Words | None = None
    """What the tables call it; None for its settings in words."""
    grid: Grid = Field(default_factory=dict)
    """Settings with several values each."""


class JudgeSettings(Frozen):
    """Who says how good the images are; it takes no part in any loop."""

    kind: Literal["embedded", "chat", "critic"] = "embedded"
    """embedded: the independent judge of the embedded world; chat: a chat model that you name, from another family
    than the critic; critic: none, so that the critic that chose an image says how good it is."""
    model: Words | None = None
    """Of ``chat``."""
    url: Words | None = None
    """Of ``chat``; None for that of the settings' chat model."""


class Experiment(Frozen):
    """Everything that decides about the results of an experiment."""

    question: Words
    """What it is to answer, in words; it heads the results."""
    prompts: PromptSource
    policies: tuple[PolicyEntry, ...] = Field(min_length=1)
    critics: tuple[CriticEntry, ...] = Field(default=(CriticEntry(),), min_length=1)
    """Every policy is tried with each of them."""
    seeds: Annotated[
        tuple[Seed, ...],
        Field(min_length=1),
        BeforeValidator(_counted, json_schema_input_type=int | list[int]),
    ] = (0,)
    """Runs of each prompt; a number n stands for 0 to n - 1. Prompt and seed together fix every image's noise."""
    budget: Budget = Budget()
    """Of every run."""
    judge: JudgeSettings = JudgeSettings()
    baseline: Words | None = None
    """Label of what all others are compared with; None for the first."""
    tree: Menu = Menu()
    """What ``--exhaustive`` tries."""
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Models and how they draw, by section, as in ``detailscribe.toml``: all but policy, seed and budget."""
