"""From a policy's name, path, class, function or instance to a policy."""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import ValidationError

from ...tools.errors import SettingsError, first_problem, no_such
from ...tools.files import content_hash
from .policy import FunctionPolicy, JudgeFunction, Policy


class _Policies(Mapping[str, Callable[..., Policy]]):
    """The classes of the policies that ship, by name; each module is imported when its class is asked for."""

    places: ClassVar[dict[str, str]] = {
        "adaptive": "adaptive:Adaptive",
        "best_of_n": "best_of_n:BestOfN",
        "chat_judge": "chat_judge:ChatJudge",
        "exhaustive": "exhaustive:Exhaustive",
        "halving": "halving:Halving",
        "hybrid": "hybrid:Hybrid",
        "multi_round": "multi_round:MultiRound",
        "paper": "paper:Paper",
        "random": "random_control:RandomControl",
        "seed_search": "seed_search:SeedSearch",
        "single": "single:Single",
    }

    def __getitem__(self, name: str) -> Callable[..., Policy]:
        module, _, class_name = self.places[name].partition(":")
        return getattr(importlib.import_module(f".{module}", __package__), class_name)

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


POLICIES = _Policies()
CODE = " in code "
"""In the name of a policy, stands between itself and the hash of its code."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""Of a function, as Python writes it; another one in each process."""

PolicySpec = str | Policy | type[Policy] | JudgeFunction
"""A known name, ``module:Name``, a policy, its class, or a function ``judge(population)``."""


def resolve_policy(spec: PolicySpec, **parameters: object) -> Policy:
    """The policy that ``spec`` means; ``parameters`` go to its class.

    Raises:
        SettingsError: there is no such policy, or it does not take these parameters.
    """
    found = _find(spec) if isinstance(spec, str) else spec
    if inspect.isclass(found):
        return _construct(cast(type[object], found), parameters)
    if parameters:
        raise SettingsError(f"{_name(found)} is no class, so it takes no parameters: {', '.join(sorted(parameters))}")
    return _as_policy(found)


def policy_name(policy: Policy) -> str:
    """Its class with parameters, as Python writes it, alike in every process.

    A policy that does not ship with this package also has a hash of the module that it lies in (in a notebook, of its
    own source), so that what it decided is not taken for what it decides once it was edited.
    """
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
        return found
    if callable(found):
        return FunctionPolicy(cast(JudgeFunction, found))
    raise SettingsError(f"{_name(found)} is no policy: give plan() and judge(), or a function judge(population)")


def _construct(cls: type[object], parameters: dict[str, object]) -> Policy:
    """An instance; a class that is no policy is refused before it is made, since making it may do anything."""
    if not all(callable(getattr(cls, method, None)) for method in ("plan", "judge")):
        raise SettingsError(f"{_name(cls)} is no policy: give plan() and judge(), or a function judge(population)")
    try:
        inspect.signature(cls).bind(**parameters)
        return _as_policy(cls(**parameters))
    except ValidationError as error:
        raise SettingsError(f"policy {cls.__name__}: {first_problem(error)}") from error
    except TypeError as error:
        raise SettingsError(f"policy {cls.__name__}: {error}; it takes {_parameters(cls)}") from error


def _find(spec: str) -> object:
    if spec in POLICIES:
        return POLICIES[spec]
    if ":" in spec:
        return _import(spec)
    raise no_such("policy", spec, sorted(POLICIES), ", or your own as module:Name")


def _import(path: str) -> object:
    module_name, _, attribute = path.partition(":")
    if (here := str(Path.cwd())) not in sys.path:  # last, and not before code in it was asked for: it may be anybody's
        sys.path.append(here)
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, ValueError) as error:
        raise SettingsError(f"policy {path!r}: cannot import {module_name!r}: {error}") from error
    except AttributeError as error:
        raise SettingsError(f"policy {path!r}: module {module_name!r} has no {attribute!r}") from error


def _parameters(cls: type[object]) -> str:
    return ", ".join(inspect.signature(cls).parameters) or "none"


def _name(found: object) -> str:
    return repr(getattr(found, "__name__", found))
