"""Makes `benchmarks` importable: it is no part of the distribution, and lies at the top of the checkout."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

if "benchmarks" not in sys.modules:
    # A path entry would make `state`, `tools`, ... importable under their bare names as well.
    spec = importlib.util.spec_from_file_location("benchmarks", ROOT / "benchmarks" / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks"] = module
    spec.loader.exec_module(module)
