"""Heavy libraries load when a model is needed, not before."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "diffusers", "transformers"}

REPORT = "import json, sys; print(json.dumps(sorted(sys.modules)))"
HELP = """
import sys
from detailscribe.agent.cli import main
sys.argv = ["detailscribe", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.mark.parametrize(
    "code",
    [
        "import detailscribe.state",
        "import detailscribe.prompts",
        "import detailscribe.tools",
        "import detailscribe.agent",
        HELP,
    ],
    ids=["state", "prompts", "tools", "agent", "help"],
)
def test_nothing_heavy_is_loaded(code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{REPORT}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & HEAVY
