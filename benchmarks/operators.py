"""What each refinement operator fixes and keeps in the embedded world, after one round and after three.

Held-out prompts of k relations are drawn. If the critic finds faults, the same drawing goes through each operator for
up to three rounds in a row, each from the newest image, until the critic finds none. The measurements come from the
independent judge, over these drawings: the share in which every check passes; the share of the checks passed before
that still pass; and the mean pixel change, 0 to 1, outside of the faults that the critic found at first. ``region`` is
``inject`` inside the boxes of the faults, if there are any; ``edit`` is the embedded painter, which is not a trained
model and makes mistakes at a set rate.

    python -m benchmarks.operators --prompts 200 --json
"""

import argparse
import asyncio
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from detailscribe.agent.evaluation.measure import changed_outside, kept
from detailscribe.agent.policies import refinement
from detailscribe.agent.settings.loading import load_settings
from detailscribe.agent.settings.models import make_diffusion
from detailscribe.state import Attempt, Budget, Critique, ImageRecord, Population, Region, derive_seed
from detailscribe.tools.diffusion.editing import FunctionEditor, WithEditor
from detailscribe.tools.files import Store
from detailscribe.tools.world.critic import EmbeddedCritic, EmbeddedJudge
from detailscribe.tools.world.decomposer import concepts_of
from detailscribe.tools.world.painter import EmbeddedPainter

from .figures import print_json, print_table
from .held_out import Prompt, held_out_prompts

OPERATORS = ("inject", "resume", "region", "edit")
ROUNDS = (1, 3)
START = 4
"""Start step of a refinement, of 28, as in ``adaptive`` for few faults."""
MEASURES = ("all_correct", "kept", "outside_changed")
_AT_ONCE = 16


class Lines:
    """One drawing after another, each refined by every operator."""

    def __init__(self, folder: Path, mistakes: float) -> None:
        self.store = Store(folder)
        self.diffusion = WithEditor(make_diffusion(load_settings({})), FunctionEditor(EmbeddedPainter(mistakes)))
        self.critic, self.judge = EmbeddedCritic.load(), EmbeddedJudge()
        self.found: dict[str, list[float]] = defaultdict(list)
        """Values by figure."""

    async def measure(self, prompt: Prompt, number: int, k: int) -> None:
        """Draw the prompt, and refine the drawing if the critic finds faults."""
        concepts, name = concepts_of(prompt.spec, prompt.short), f"{k}-{number:04d}"
        seed = derive_seed(0, "operators", number)
        first = Attempt(id=f"{name}-first", prompt=prompt.short, seed=seed, keep_steps=(START,))
        drawing = await self.diffusion.draw(first, self.store)
        seen = await self.critic.critique(drawing, concepts, self.store)
        self.found[f"k{k}.failing"].append(float(not seen.all_pass))
        if seen.all_pass:
            return
        before = await self.judge.critique(drawing, concepts, self.store)
        for operator in OPERATORS:
            images, looks = {drawing.id: drawing}, {drawing.id: seen}
            image = drawing
            for round in range(1, max(ROUNDS) + 1):
                if not looks[image.id].all_pass:
                    so_far: dict[str, Any] = {"images": images, "critiques": looks, "decisions": {}, "round": round}
                    population = Population(concepts=concepts, budget=Budget(), seed=0, **so_far)
                    image = await self._refined(population, image, operator, f"{name}-{operator}-{round}", round)
                    images[image.id] = image
                    looks[image.id] = await self.critic.critique(image, concepts, self.store)
                if round in ROUNDS:
                    after = await self.judge.critique(image, concepts, self.store)
                    self._note(f"k{k}.{operator}", round, (drawing, before, seen), (image, after))

    async def _refined(
        self, population: Population, image: ImageRecord, operator: str, id: str, round: int
    ) -> ImageRecord:
        faults = population.critiques[image.id].faults
        how: dict[str, Any] = {"operator": "inject" if operator == "region" else operator, "start_step": START}
        how |= {"region": Region(boxes=faults)} if operator == "region" and faults else {}
        seed = derive_seed(image.seed, round)  # the same noise would often make the same fault again
        asked = refinement(population, image, seed=seed, **how)
        made = {"id": id, "round": round, "parent": image.id, "keep_steps": (START,)}
        return await self.diffusion.draw(asked.model_copy(update=made), self.store, source=image)

    def _note(
        self, name: str, round: int, first: tuple[ImageRecord, Critique, Critique], now: tuple[ImageRecord, Critique]
    ) -> None:
        """Record the judge's verdicts after this many rounds; ``first`` has those of judge and critic at the start."""
        (drawing, before, seen), (image, after) = first, now
        end = "" if round == 1 else f"_after_{round}"
        self.found[f"{name}.all_correct{end}"].append(float(after.all_pass))
        if (share := kept(before.answers(), after.answers())) is not None:
            self.found[f"{name}.kept{end}"].append(share)
        old, new = (self.store.picture(one.path) for one in (drawing, image))
        if (change := changed_outside(old, new, seen.faults)) is not None:
            self.found[f"{name}.outside_changed{end}"].append(change)


async def measure(folder: Path, count: int, mistakes: float) -> dict[str, float]:
    """All measurements, at 1 and at 3 relations."""
    lines, places = Lines(folder, mistakes), asyncio.Semaphore(_AT_ONCE)

    async def one(prompt: Prompt, number: int, k: int) -> None:
        async with places:
            await lines.measure(prompt, number, k)

    for k in (1, 3):
        prompts = held_out_prompts(count, complexity=k)
        await asyncio.gather(*(one(prompt, number, k) for number, prompt in enumerate(prompts)))
    figures = {name: mean(values) for name, values in sorted(lines.found.items())}
    return figures | {f"k{k}.drawings": sum(lines.found[f"k{k}.failing"]) for k in (1, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=200, help="prompts of each complexity")
    parser.add_argument("--mistakes", type=float, default=0.1, help="rate of mistakes of the painter")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Path(folder), chosen.prompts, chosen.mistakes))
    if chosen.json:
        print_json(figures)
        return
    rows = [
        [f"{k}", operator, f"{rounds}", *(f"{figures[name]:.3f}" if name in figures else "-" for name in names)]
        for k in (1, 3)
        for operator in OPERATORS
        for rounds in ROUNDS
        for end in ["" if rounds == 1 else f"_after_{rounds}"]
        for names in [[f"k{k}.{operator}.{measure}{end}" for measure in MEASURES]]
    ]
    print_table(["relations", "operator", "rounds", *MEASURES], rows)


if __name__ == "__main__":
    main()
