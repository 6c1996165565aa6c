"""From a policy's name, path, class, function or instance to a policy."""

import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from ...tools.errors import SettingsError, described, first_problem, no_such
from ...tools.files import content_hash
from ...tools.roles import require_role
from .adaptive import Adaptive
from .baselines import BestOfN, Paper, RandomControl, Single
from .chat_judge import ChatJudge
from .exhaustive import Exhaustive
from .lines import Halving, Hybrid, MultiRound, SeedSearch
from .policy import FunctionPolicy, JudgeFunction, Policy
from .value import Value

POLICIES: dict[str, Callable[..., Policy]] = {
    "adaptive": Adaptive,
    "best_of_n": BestOfN,
    "chat_judge": ChatJudge,
    "exhaustive": Exhaustive,
    "halving": Halving,
    "hybrid": Hybrid,
    "multi_round": MultiRound,
    "paper": Paper,
    "random": RandomControl,
    "seed_search": SeedSearch,
    "single": Single,
    "value": Value,
}
"""Those that ship, by name."""
RULES: dict[str, str] = tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8"))
"""Meaning by rule of those that ship."""
CODE = " in code "
"""In the name of a policy, stands between itself and the hash of its code."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""Of a function, as Python writes it; another one in each process."""

PolicySpec = str | Policy | type[Policy] | JudgeFunction
"""A known name, ``module:Name``, a policy, its class, or a function ``judge(population)``."""


def resolve_policy(spec: PolicySpec, **parameters: object) -> Policy:
    """The policy that ``spec`` means; ``parameters`` go to its class, and ``SettingsError`` says what does not fit."""
    found: object = spec
    if isinstance(spec, str):
        if spec not in POLICIES and ":" not in spec:
            raise no_such("policy", spec, sorted(POLICIES), ", or your own as module:Name")
        found = POLICIES[spec] if spec in POLICIES else _import(spec)
    if inspect.isclass(found):
        return _construct(cast(type[object], found), parameters)
    if parameters:
        raise SettingsError(f"{_name(found)} is no class, so it takes no parameters: {', '.join(sorted(parameters))}")
    return _as_policy(found)


def policy_name(policy: Policy) -> str:
    """Its class with parameters, as Python writes it, alike in every process; of a policy that does not ship, also a
    hash of its module (in a notebook, of its own source), since it decides otherwise once it was edited."""
    code = policy.function if isinstance(policy, FunctionPolicy) else type(policy)
    name = _ADDRESS.sub("", repr(policy))
    if code.__module__.partition(".")[0] == __name__.partition(".")[0]:
        return name
    for place in (inspect.getmodule(code), code):
        with suppress(OSError, TypeError):  # there is no file, or what was typed was not kept
            return f"{name}{CODE}{content_hash(inspect.getsource(cast(Any, place)))[:8]}"
    return name


def _as_policy(found: object) -> Policy:
    if isinstance(found, Policy):
        require_role(found, Policy)
        return found
    if not callable(found) or inspect.isbuiltin(found):
        raise _no_policy(found)
    require_role(FunctionPolicy(cast(JudgeFunction, found)), Policy, judge=found)
    return FunctionPolicy(cast(JudgeFunction, found))


def _construct(cls: type[object], parameters: dict[str, object]) -> Policy:
    """An instance; a class that is no policy is refused before it is made, since making it may do anything."""
    if not all(callable(getattr(cls, method, None)) for method in ("plan", "judge")):
        raise _no_policy(cls)
    try:
        inspect.signature(cls).bind(**parameters)
        made = cls(**parameters)
    except ValidationError as error:
        raise SettingsError(f"policy {cls.__name__}: {first_problem(error)}") from error
    except TypeError as error:
        raise SettingsError(
            f"policy {cls.__name__}: {error}; it takes {', '.join(inspect.signature(cls).parameters) or 'none'}"
        ) from error
    except (Exception, SystemExit) as error:  # code of the user's may raise anything
        raise SettingsError(f"policy {cls.__name__}: it cannot be made: {described(error)}") from error
    for name, value in parameters.items():
        if isinstance(value, bool) and not isinstance(getattr(made, name, value), bool):  # pydantic takes it for 1
            raise SettingsError(f"policy {cls.__name__}: {name} should be a number, not {str(value).lower()}")
    return _as_policy(made)


def _import(path: str) -> object:
    module_name, _, attribute = path.partition(":")
    if (here := str(Path.cwd())) not in sys.path:  # last, and not before code in it was asked for: it may be anybody's
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # code of the user's may raise anything, and end the process with a status of 0
        raise SettingsError(f"policy {path!r}: cannot import {module_name!r}: {described(error)}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise SettingsError(f"policy {path!r}: module {module_name!r} has no {attribute!r}") from error


def _no_policy(found: object) -> SettingsError:
    return SettingsError(f"{_name(found)} is no policy: give plan() and judge(), or a function judge(population)")


def _name(found: object) -> str:
    return repr(getattr(found, "__name__", found))
