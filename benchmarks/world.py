"""How often images of the embedded world show what the prompt says, by method.

All scores come from the independent judge, which no run uses. The prompts are held out; every second one combines a
relation with things that never appeared together with it in training.

    python -m benchmarks.world --prompts 500 --json
"""

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean

from PIL import Image

from detailscribe.agent import Adaptive, BestOfN, Context, Policy, Single, build_graph, recursion_limit
from detailscribe.agent.settings.loading import load_settings
from detailscribe.agent.settings.models import make_diffusion
from detailscribe.agent.settings.settings import Settings
from detailscribe.state import Attempt, Budget, ConceptGraph, ImageRecord, Spend, derive_seed, spend_of
from detailscribe.tools.files import Store
from detailscribe.tools.world.critic import EmbeddedCritic
from detailscribe.tools.world.decomposer import EmbeddedDecomposer, concepts_of, spec_of
from detailscribe.tools.world.detector import Detector
from detailscribe.tools.world.reading import Detections, exact_detections, probability, settle

from .figures import interval, print_json, print_table
from .held_out import Prompt, exams, held_out_prompts

METHODS = {
    "one_image": "one image, short prompt",
    "one_image_detailed": "one image, detailed prompt",
    "best_of_4": "best of 4, short prompt",
    "single": "`single`: one refinement",
    "adaptive": "`adaptive`, the default",
}
"""Their names in the table."""
Method = Callable[[Prompt, int], Awaitable["Outcome"]]
"""A method: makes an outcome from a prompt and its number."""
_AT_ONCE = 16
"""Prompts in flight: their images share batches."""


@dataclass
class Tally:
    """Results of one method for each prompt, in the order of the prompts."""

    correct: list[float] = field(default_factory=list)
    checks: list[float] = field(default_factory=list)
    unseen: list[bool] = field(default_factory=list)
    spend: list[Spend] = field(default_factory=list)
    seconds: float = 0.0
    """Wall time of all prompts together."""

    def add(self, answers: Sequence[str], unseen: bool, spend: Spend) -> None:
        passed = sum(a == "pass" for a in answers)
        self.correct.append(float(passed == len(answers)))
        self.checks.append(passed / len(answers))
        self.unseen.append(unseen)
        self.spend.append(spend)

    def of(self, unseen: bool) -> list[float]:
        return [c for c, u in zip(self.correct, self.unseen, strict=True) if u == unseen]


@dataclass(frozen=True)
class Outcome:
    """Result of a method for one prompt."""

    best: Image.Image
    images: tuple[Image.Image, ...]
    """All images that were made."""
    spend: Spend


class World:
    """The embedded models, shared by all prompts of the benchmark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.decomposer = EmbeddedDecomposer()
        self.diffusion = make_diffusion(load_settings(Settings()))
        self.critic = EmbeddedCritic.load()
        self.judge = Detector.load("judge")

    async def run(self, method: str, policy: Policy, prompt: Prompt, number: int) -> Outcome:
        """A whole run under a policy."""
        store, budget = Store(self.folder / method / f"{number:04d}"), Budget()
        context = Context(self.decomposer, self.diffusion, self.critic, policy, store, budget)
        state = await build_graph().ainvoke(
            {"prompt": prompt.short, "seed": seed_of(number)},
            {"recursion_limit": recursion_limit(budget)},
            context=context,
        )
        images: dict[str, ImageRecord] = state["images"]
        pictures = tuple(store.picture(image.path) for image in images.values())
        return Outcome(
            store.picture(images[state["best"]].path),
            pictures,
            spend_of(state["concepts"], images, state["critiques"]),
        )

    async def draw(self, method: str, text: str, number: int) -> Outcome:
        """One image of a text, without critique or refinement."""
        store = Store(self.folder / method / f"{number:04d}")
        image = await self.diffusion.draw(Attempt(id="00-00", prompt=text, seed=seed_of(number)), store)
        picture = store.picture(image.path)
        return Outcome(picture, (picture,), spend_of(None, {image.id: image}, {}))

    def judged(self, pictures: Sequence[Image.Image], concepts: ConceptGraph) -> list[list[str]]:
        """The judge's answers for each image."""
        return [_answers(concepts, seen) for seen in self.judge.detect(pictures)]


def seed_of(number: int) -> int:
    """The seed of the prompt with this number, the same for every method."""
    return derive_seed(0, "benchmark", number)


def _answers(concepts: ConceptGraph, seen: Detections) -> list[str]:
    return [v.answer for v in settle(concepts, spec_of(concepts), seen)]


@dataclass
class Agreement:
    """Share of checks on generated images that critic and judge answer alike, by aspect."""

    same: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, world: World, concepts: ConceptGraph, pictures: Sequence[Image.Image]) -> None:
        for picture, judged in zip(pictures, world.judged(pictures, concepts), strict=True):
            seen = world.critic.examine(picture, "image", concepts).verdicts
            for check, mine, other in zip(concepts.checks, seen, judged, strict=True):
                self.same[check.aspect].append(float(mine.answer == other))


async def measure(world: World, prompts: Sequence[Prompt]) -> tuple[dict[str, Tally], Agreement]:
    """Run every method on every prompt, and compare critic and judge on the images."""
    agreement = Agreement()
    loops: dict[str, Policy] = {"best_of_4": BestOfN(n=4), "single": Single(), "adaptive": Adaptive()}
    methods: dict[str, Method] = {
        "one_image": lambda p, n: world.draw("one_image", p.short, n),
        "one_image_detailed": lambda p, n: world.draw("one_image_detailed", p.detailed, n),
        **{name: partial(world.run, name, policy) for name, policy in loops.items()},
    }
    tallies = {name: Tally() for name in methods}
    for name, method in methods.items():
        await _tally(world, prompts, tallies[name], agreement, method)
    return tallies, agreement


async def _tally(
    world: World,
    prompts: Sequence[Prompt],
    tally: Tally,
    agreement: Agreement,
    method: Method,
) -> None:
    started, room = time.perf_counter(), asyncio.Semaphore(_AT_ONCE)

    async def one(number: int, prompt: Prompt) -> Outcome:
        async with room:
            return await method(prompt, number)

    outcomes = await asyncio.gather(*(one(n, p) for n, p in enumerate(prompts)))
    tally.seconds = time.perf_counter() - started
    for prompt, outcome in zip(prompts, outcomes, strict=True):
        concepts = concepts_of(prompt.spec, prompt.short)
        answers, *_ = world.judged([outcome.best], concepts)
        tally.add(answers, prompt.unseen, outcome.spend)
        agreement.add(world, concepts, outcome.images)


def balanced_accuracy(detector: Detector, count: int, complexity: int | None = None) -> dict[str, float]:
    """Mean of the accuracies on yes and on no, by aspect, on rendered scenes with planted errors.

    Checks whose parent failed are skipped, since they are never asked. So are aspects for which too few
    exams have both answers.
    """
    hits: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for exam in exams(count, complexity=complexity):
        concepts = concepts_of(exam.spec, "an exam")
        [seen] = detector.detect([exam.picture])
        truth = settle(concepts, exam.spec, exact_detections(exam.scene, exam.strange))
        for check, true in zip(concepts.checks, truth, strict=True):
            if true.settled_by is None:
                said = probability(check, concepts, exam.spec, seen) > 0.5
                hits[check.aspect, true.answer == "pass"].append(float(said == (true.answer == "pass")))
    aspects = sorted(aspect for aspect, answer in hits if answer and (aspect, False) in hits)
    return {a: (mean(hits[a, True]) + mean(hits[a, False])) / 2 for a in aspects}


def figures_of(
    tallies: dict[str, Tally], agreement: Agreement, accuracies: dict[str, dict[str, float]]
) -> dict[str, float]:
    """All measurements, by dotted name."""
    figures: dict[str, float] = {}
    for name, tally in tallies.items():
        for what, samples in (("all_correct", tally.correct), ("checks", tally.checks)):
            figures[f"{name}.{what}"], figures[f"{name}.{what}_low"], figures[f"{name}.{what}_high"] = interval(samples)
        for what in ("evaluations", "images", "critic_calls"):
            figures[f"{name}.{what}"] = mean(getattr(s, what) for s in tally.spend)
        figures[f"{name}.seconds"] = tally.seconds / len(tally.correct)
        figures[f"seen.{name}.all_correct"] = mean(tally.of(unseen=False))
        figures[f"unseen.{name}.all_correct"] = mean(tally.of(unseen=True))
    for who, by_aspect in accuracies.items():
        figures |= {f"{who}.balanced_accuracy.{aspect}": value for aspect, value in by_aspect.items()}
        figures[f"{who}.balanced_accuracy"] = min(by_aspect.values())
    figures |= {f"critic_judge.agreement.{aspect}": mean(same) for aspect, same in agreement.same.items()}
    figures["critic_judge.agreement"] = mean(s for same in agreement.same.values() for s in same)
    return figures


def show(figures: dict[str, float]) -> None:
    """Print the measurements as tables."""
    rows = [
        [
            label,
            _share(figures, f"{name}.all_correct"),
            f"{100 * figures[f'unseen.{name}.all_correct']:.1f}%",
            _share(figures, f"{name}.checks"),
            *(f"{figures[f'{name}.{what}']:.1f}" for what in ("images", "evaluations", "critic_calls")),
            f"{figures[f'{name}.seconds']:.2f}",
        ]
        for name, label in METHODS.items()
    ]
    print_table(
        ("method", "all correct", "unseen", "checks passed", "images", "evaluations", "critic calls", "seconds"), rows
    )
    print()
    aspects = [k.rsplit(".", 1)[1] for k in figures if k.startswith("critic.balanced_accuracy.")]
    print_table(
        ("questions", "critic, balanced accuracy", "judge, balanced accuracy", "agreement on generated pictures"),
        [[a, *(f"{100 * figures[f'{k}.{a}']:.1f}%" for k in _BY_ASPECT)] for a in aspects],
    )


_BY_ASPECT = ("critic.balanced_accuracy", "judge.balanced_accuracy", "critic_judge.agreement")


def _share(figures: dict[str, float], name: str) -> str:
    low, high = figures[f"{name}_low"], figures[f"{name}_high"]
    return f"{100 * figures[name]:.1f}% ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=500, help="held-out prompts")
    parser.add_argument("--exams", type=int, default=1000, help="rendered scenes for the critics' accuracy")
    parser.add_argument("--complexity", type=int, help="relations in each of these scenes; by default one to three")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        tallies, agreement = asyncio.run(measure(world, held_out_prompts(chosen.prompts)))
        detectors = {"critic": Detector.load("critic"), "judge": world.judge}
        accuracies = {who: balanced_accuracy(d, chosen.exams, chosen.complexity) for who, d in detectors.items()}
    figures = figures_of(tallies, agreement, accuracies)
    if chosen.json:
        print_json(figures)
    else:
        show(figures)


if __name__ == "__main__":
    main()
