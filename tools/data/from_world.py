"""New prompts of the embedded world, from its own grammar; needs no model."""

import random
from collections.abc import Iterator

from ..world.captions import short_caption
from ..world.layout import lay_out
from ..world.spec import Spec, random_spec
from ..world.vocabulary import RELATIONS
from .records import PromptRecord
from .taxonomy import ScenarioName

_GRAVITY: dict[str, tuple[ScenarioName, str]] = {
    "multi_subject": ("multi_subject", "interaction"),
    "functional": ("functional", "tool_manipulation"),
    "contact": ("functional", "physical_contact"),
    "spatial": ("compositional", "layout"),
}
"""Scenario and subclass by kind of relation; a prompt with several kinds belongs to the first of these."""


def world_prompts(
    count: int, seed: int = 0, scenario: ScenarioName | None = None, *, held_out: bool = True
) -> Iterator[PromptRecord]:
    """Distinct prompts that the world's models can draw; the first ones are the same for any count.

    Args:
        count: How many.
        seed: Of all choices.
        scenario: Only prompts of this one.
        held_out: Only prompts that the training of the models never saw.
    """
    rng, seen = random.Random(seed), set[str]()
    while len(seen) < count:
        spec = random_spec(rng)
        group, part = group_of(spec)
        if (held_out and not spec.held_out) or scenario not in (None, group) or lay_out(spec, rng) is None:
            continue
        prompt = short_caption(spec)
        if prompt not in seen:
            seen.add(prompt)
            yield PromptRecord(
                id=f"world-{seed}-{len(seen):05}",
                prompt=prompt,
                scenario=group,
                subclass=part,
                extra={"unseen": spec.unseen},
            )


def group_of(spec: Spec) -> tuple[ScenarioName, str]:
    """Scenario and subclass of a prompt."""
    kinds = {RELATIONS[link.relation] for link in spec.links}
    return next(group for kind, group in _GRAVITY.items() if kind in kinds)
