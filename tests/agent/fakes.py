"""Roles of a few lines: a critic that follows a script, and a diffusion model that paints one colour."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from detailscribe.agent import Context
from detailscribe.agent.policies import Policy
from detailscribe.agent.settings import models
from detailscribe.state import (
    Attempt,
    Budget,
    Check,
    ConceptGraph,
    Critique,
    Decision,
    Entity,
    ImageRecord,
    Interaction,
    Population,
    Verdict,
)
from detailscribe.tools.diffusion.job import png_bytes
from detailscribe.tools.errors import MissingLatentError, PromptError
from detailscribe.tools.files import Store

PROMPT = "a cat holding a red umbrella"
CHECKS = ("cat", "umbrella", "red", "holding", "alone")
STEPS = 28

Script = dict[str, str]
"""Checks that fail by image id, separated by spaces; an image that is not named fails none."""


def concepts(prompt: str = PROMPT) -> ConceptGraph:
    return ConceptGraph(
        prompt=prompt,
        entities=(Entity(id="c", name="cat"), Entity(id="u", name="umbrella", attributes=("red",))),
        interactions=(Interaction(id="h", kind="contact", subjects=("c",), relation="holding", object="u"),),
        checks=(
            Check(id="cat", question="Is there a cat?", aspect="presence", about="c"),
            Check(id="umbrella", question="Is there an umbrella?", aspect="presence", about="u"),
            Check(id="red", question="Is the umbrella red?", aspect="attribute", about="u", depends_on=("umbrella",)),
            Check(id="holding", question="Does the cat hold it?", aspect="relation", about="h", depends_on=("cat",)),
            Check(id="alone", question="Is there nothing else?", aspect="nothing_else"),
        ),
    )


def critique(image: str, fails: str = "", unknown: str = "", refined: str | None = "a corrected prompt") -> Critique:
    def verdict(check: str) -> Verdict:
        if check in unknown.split():
            return Verdict(check=check, answer="unknown", reason="no answer came")
        return Verdict(check=check, answer="fail" if check in fails.split() else "pass")

    return Critique(image=image, verdicts=tuple(map(verdict, CHECKS)), refined_prompt=refined if fails else None)


def record(id: str, parent: str | None = None, origin: str = "generate", **changes: object) -> ImageRecord:
    fields = {
        "id": id,
        "round": int(id[:2]),
        "origin": origin,
        "parent": parent,
        "prompt": PROMPT,
        "seed": 7,
        "steps": STEPS,
        "start_step": 0,
        "start_sigma": 1.0,
        "guidance": 4.5,
        "width": 8,
        "height": 8,
        "model": "fake@0",
        "path": f"images/{id}.png",
        "latent": f"latents/{id}.safetensors",
        "evaluations": 2 * STEPS,
        "seconds": 0.25,
    }
    if origin == "refine":
        fields |= {"operator": "inject", "start_step": 4, "start_sigma": 0.9, "evaluations": 2 * (STEPS - 4)}
    return ImageRecord.model_validate(fields | changes)


def population(
    images: Sequence[ImageRecord],
    script: Script,
    *,
    decided: Sequence[str] = (),
    budget: Budget | None = None,
    critiques: Sequence[Critique] = (),
) -> Population:
    looks = {image.id: critique(image.id, script.get(image.id, "")) for image in images}
    return Population(
        concepts=concepts(),
        images={image.id: image for image in images},
        critiques=looks | {look.image: look for look in critiques},
        decisions={id: Decision(image=id, rule="earlier", reason="test") for id in decided},
        budget=budget or Budget(),
        seed=7,
        round=max(image.round for image in images),
    )


@dataclass
class FakeDecomposer:
    asked: list[str] = field(default_factory=list)

    async def decompose(self, prompt: str) -> ConceptGraph:
        self.asked.append(prompt)
        if "xylophone" in prompt:
            raise PromptError("it does not know these words: xylophone")
        return concepts(prompt)


@dataclass
class FakeDiffusion:
    """Notes every attempt, and paints."""

    model: str = "fake@0"
    requests: list[Attempt] = field(default_factory=list)
    breaks_at: str | None = None
    writes_latents: bool = False
    side: int = 8

    async def draw(self, attempt, store: Store, *, source=None, progress=None) -> ImageRecord:
        if attempt.operator == "resume" and attempt.start_step not in source.trajectory:
            raise MissingLatentError(f"step {attempt.start_step} was not kept")
        if attempt.id == self.breaks_at:
            raise RuntimeError("the model broke")
        self.requests.append(attempt)
        kept = {k: f"latents/{attempt.id}-{k}.safetensors" for k in attempt.keep_steps or ()}
        changes = {"prompt": attempt.prompt, "seed": attempt.seed, "round": attempt.round, "model": self.model}
        changes |= {"trajectory": kept, "operator": attempt.operator}
        if attempt.source is not None:
            start = attempt.start_step
            changes |= {"start_step": start, "start_sigma": 1 - start / STEPS, "evaluations": 2 * (STEPS - start)}
        made = record(attempt.id, attempt.parent, attempt.origin, **changes)
        if self.writes_latents:
            for reference in (made.latent, *kept.values()):
                store.write(reference, b"a latent")
        store.write(made.path, png_bytes(Image.new("RGB", (self.side,) * 2, (attempt.seed % 256, 99, 20)), made))
        if progress:
            progress(attempt.id, STEPS, STEPS)
        return made


@dataclass
class ScriptedCritic:
    script: Script | Callable[[ImageRecord], str]
    model: str = "script@0"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        fails = self.script(image) if callable(self.script) else self.script.get(image.id, "")
        return critique(image.id, fails)


def context(folder: Path, policy: Policy, script: Script | Callable[[ImageRecord], str], **changes: object) -> Context:
    chosen = {"decomposer": FakeDecomposer(), "diffusion": FakeDiffusion(), "critic": ScriptedCritic(script)}
    return Context(policy=policy, store=Store(folder), **(chosen | changes))


def roles(script: Script | Callable[[ImageRecord], str], **changes: object) -> dict[str, object]:
    """What ``run`` takes in place of the preset's."""
    return {
        "decomposer": FakeDecomposer(),
        "diffusion": FakeDiffusion(),
        "critic": ScriptedCritic(script),
    } | changes


def stand_in(
    decomposer: Callable[[], object], diffusion: Callable[[], object], critic: Callable[[], object], put=setattr
) -> None:
    """Have these made in place of the models that settings name; ``put`` may be ``monkeypatch.setattr``."""
    put(models, "make_decomposer", lambda settings, model: decomposer())
    put(models, "make_diffusion", lambda settings: diffusion())
    put(models, "make_critic", lambda settings, model: critic())
