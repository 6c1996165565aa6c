"""Roles that draw nothing, note what they are asked in a file that all replicas share, and crash on request."""

import asyncio
import os
import signal
import time
from pathlib import Path

from detailscribe.agent.settings.models import Models
from detailscribe.state import Check, ConceptGraph, Critique, Entity, ImageRecord, Verdict

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415408d763f8ffff3f0005fe02fea7352e830000000049454e44ae426082"
)


class Notes:
    """Lines of a file that many processes append to, and moments that are there once they have come."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)

    def write(self, *words):
        line = " ".join((str(time.time()), str(os.getpid()), *words)) + "\n"
        with (self.folder / "notes").open("ab", buffering=0) as file:
            file.write(line.encode())

    def read(self, word):
        """Time, process and what was noted, of each line with that first word."""
        path = self.folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        split = [line.split(" ", 3) for line in lines]
        return [(float(when), int(pid), rest[0] if rest else "") for when, pid, first, *rest in split if first == word]


class Reader:
    async def decompose(self, prompt):
        check = Check(id="thing", question="Is there a thing?", aspect="presence", about="t")
        return ConceptGraph(prompt=prompt, entities=(Entity(id="t", name="thing"),), checks=(check,))


class Painter:
    """A prompt that says ``crashes`` ends the process; one that says ``breaks`` raises."""

    model = "quick@0"

    def __init__(self, notes, pause):
        self.notes, self.pause = notes, pause

    async def draw(self, attempt, store, *, source=None, progress=None):
        self.notes.write("begin", attempt.prompt)
        if "crashes" in attempt.prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        if "breaks" in attempt.prompt:
            raise RuntimeError("the model broke")
        await asyncio.sleep(self.pause)
        if progress is not None:
            progress(attempt.id, 1, 1)
        store.write(f"images/{attempt.id}.png", PNG)
        self.notes.write("end", attempt.prompt)
        return ImageRecord(
            id=attempt.id,
            round=attempt.round,
            origin="generate",
            prompt=attempt.prompt,
            seed=attempt.seed,
            steps=1,
            start_step=0,
            start_sigma=1.0,
            guidance=1.0,
            width=1,
            height=1,
            model=self.model,
            path=f"images/{attempt.id}.png",
            latent=None,
            evaluations=1,
            seconds=0.0,
        )


class Looker:
    model = "quick@0"

    async def critique(self, image, concepts, store):
        return Critique(image=image.id, verdicts=tuple(Verdict(check=one.id, answer="pass") for one in concepts.checks))


def quick_roles(folder, pause=0.0):
    """What makes the models in a replica."""

    def make(settings):
        return Models(settings, decomposer=Reader(), diffusion=Painter(Notes(folder), pause), critic=Looker())

    return make
