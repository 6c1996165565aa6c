"""What decides: graph, nodes, policies, runs, traces, command line.

Names are looked up on first use, so that ``--help`` need not import LangGraph; ``__init__.pyi`` lists them.
"""

import re
from importlib import import_module
from pathlib import Path

_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_MODULES: dict[str, str] = {name: module for module, name in re.findall(r"(?m)^from (\S+) import (\w+) as", _STUB)}

__all__ = sorted(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_MODULES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
