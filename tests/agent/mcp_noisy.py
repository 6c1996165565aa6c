"""``detailscribe mcp`` with fakes that print as libraries do: ``python mcp_noisy.py ARGUMENT...``."""

import os
import sys

from detailscribe.agent.cli import main

sys.path.insert(0, os.path.dirname(__file__))
from fakes import FakeDecomposer, FakeDiffusion, ScriptedCritic, stand_in


class NoisyDiffusion(FakeDiffusion):
    async def draw(self, *args, **kwargs):
        print("Loading pipeline components")
        os.write(1, b"a library in C\n")
        return await super().draw(*args, **kwargs)


stand_in(FakeDecomposer, NoisyDiffusion, lambda: ScriptedCritic({}))
sys.argv[0] = "detailscribe"
main()
