"""Resolves a name, path, class, function or instance to a policy."""

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
from .policy import FunctionPolicy, JudgeFunction, Policy, user_code
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
"""The built-in policies, by name."""
RULES: dict[str, str] = tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8"))
"""The meaning of each rule of the built-in policies."""
CODE = " in code "
"""Separates the name of a policy from the hash of its code."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""Of a function in its repr; it differs in each process."""

PolicySpec = str | Policy | type[Policy] | JudgeFunction
"""A known name, ``module:Name``, a policy, its class, or a function ``judge(population)``."""


def resolve_policy(spec: PolicySpec, **parameters: object) -> Policy:
    """The policy that ``spec`` names; ``parameters`` go to its class. ``SettingsError`` if it is none, or they are
    wrong."""
    if isinstance(spec, str) and spec not in POLICIES and ":" not in spec:
        raise no_such("policy", spec, sorted(POLICIES), ", or your own as module:Name")
    made: object = (POLICIES.get(spec) or _import(spec)) if isinstance(spec, str) else spec
    if inspect.isclass(made):
        made = _construct(cast(type[object], made), parameters)
    elif parameters:
        raise SettingsError(f"{_name(made)} is no class, so it takes no parameters: {', '.join(sorted(parameters))}")
    if isinstance(made, Policy):
        require_role(made, Policy)
        return made
    if not callable(made) or inspect.isbuiltin(made):
        raise _no_policy(made)
    policy = FunctionPolicy(cast(JudgeFunction, made))
    require_role(policy, Policy, judge=made)
    return policy


def policy_name(policy: Policy) -> str:
    """Its repr without addresses, the same in every process. A policy of the user's also has a hash of its module, or
    in a notebook of its own source, because it decides differently once it is edited."""
    name = _ADDRESS.sub("", repr(policy))
    if (code := user_code(policy)) is None:
        return name
    for place in (inspect.getmodule(code), code):
        with suppress(OSError, TypeError):  # there is no file, or the source was not kept
            return f"{name}{CODE}{content_hash(inspect.getsource(cast(Any, place)))[:8]}"
    return name


def _construct(cls: type[object], parameters: dict[str, object]) -> object:
    """An instance; a class that is no policy is refused before its constructor runs, which may do anything."""
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
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise SettingsError(f"policy {cls.__name__}: it cannot be made: {described(error)}") from error
    for name, value in parameters.items():
        if isinstance(value, bool) and not isinstance(getattr(made, name, value), bool):  # pydantic takes it for 1
            raise SettingsError(f"policy {cls.__name__}: {name} should be a number, not {str(value).lower()}")
    return made


def _import(path: str) -> object:
    module_name, _, attribute = path.partition(":")
    if (here := str(Path.cwd())) not in sys.path:  # last and only now: the folder may be anybody's
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the user's code may raise anything, even SystemExit
        raise SettingsError(f"policy {path!r}: cannot import {module_name!r}: {described(error)}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise SettingsError(f"policy {path!r}: module {module_name!r} has no {attribute!r}") from error


def _no_policy(given: object) -> SettingsError:
    return SettingsError(f"{_name(given)} is no policy: give plan() and judge(), or a function judge(population)")


def _name(given: object) -> str:
    return repr(getattr(given, "__name__", given))
