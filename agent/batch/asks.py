"""What a line of a file of prompts asks for, and the job that it becomes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from ...state import Budget, Seed
from ...tools.errors import SettingsError
from ..policies import POLICIES, resolve_policy
from ..policies.policy import Policy
from ..validation import first_problem
from .jobs import Job

_TAGS: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) else value


class Ask(BaseModel):
    """One prompt as a user gives it; keys that are not named here are handed on to its row."""

    model_config = ConfigDict(frozen=True, extra="allow")

    prompt: str
    """Read when its turn comes: one that cannot be read is a failed row."""
    id: Annotated[str | None, BeforeValidator(_text), Field(min_length=1)] = None
    """Unique in the file; made from the prompt unless given."""
    seed: Seed | None = None
    """That of all unless given."""
    policy: str | None = None
    """A known name; that of all unless given."""
    policy_args: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Parameters of its class."""
    budget: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Bounds that are other than those of all."""


def ask_of(given: Mapping[str, Any]) -> Ask:
    """The ask that a table stands for; ``ValueError`` says what is wrong with it."""
    try:
        return Ask.model_validate(_TAGS.validate_python(given))
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error


@dataclass(frozen=True)
class Defaults:
    """What holds for a prompt that says nothing else."""

    seed: int
    policy: Policy
    budget: Budget

    def job(self, ask: Ask, id: str) -> Job:
        """What the ask comes to; ``ValueError`` says what is wrong with it."""
        return Job(
            id=id,
            prompt=ask.prompt,
            seed=self.seed if ask.seed is None else ask.seed,
            policy=self._policy(ask),
            budget=self._budget(ask),
            tags=dict(ask.model_extra or {}),
        )

    def _policy(self, ask: Ask) -> Policy:
        if ask.policy is None and ask.policy_args:
            raise ValueError("policy_args belong to a policy: name it too")
        if ask.policy is None:
            return self.policy
        if ask.policy not in POLICIES:  # a file of prompts, which may come from anywhere, must not import code
            raise ValueError(f"no policy {ask.policy!r}: known are {', '.join(sorted(POLICIES))}")
        try:
            return resolve_policy(ask.policy, **ask.policy_args)
        except SettingsError as error:
            raise ValueError(str(error)) from error

    def _budget(self, ask: Ask) -> Budget:
        try:
            return Budget.model_validate(self.budget.model_dump() | ask.budget) if ask.budget else self.budget
        except ValidationError as error:
            raise ValueError(f"budget.{first_problem(error)}") from error
