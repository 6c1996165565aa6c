"""Prompts with scenarios and subclasses: the published InterActing set, and prompts of the embedded world.

InterActing comes with "Generating Fine Details of Entity Interactions" (arXiv 2504.08714, table 1): three files of
JSON lines with ``topic`` and ``prompt``, some of them encoded twice. The scenario is that of the file. The files have
no subclass line by line: where a scenario has two, it is guessed here from the topic, and the record says so.
"""

import random
import re
from collections.abc import Iterator

from ..errors import SettingsError
from .reader import read_prompts
from .records import PromptRecord, ScenarioName

INTERACTING: dict[ScenarioName, int] = {"functional": 600, "compositional": 200, "multi_subject": 200}
"""Published prompts by scenario; both name a file, such as ``functional_600.jsonl``."""

_GEOMETRIC = re.compile(
    "zigzag.*|circle.*|triangle|spiral|pyramid|tessellation|parabola|infinity-symbol|yin-yang|mandala"
    "|fibonacci-sequence|helix|sphere|cone|dodecahedron|tesseract|mobius-strip"
)
_TOOLS = re.compile(
    "cutting|slicing|chopping|painting|painted|carving|whittling|sewing|sewn|embroidering|threading|stirring|ladling"
    "|scooping|shoveling|sifting|scraping|sketching|doodling|tracing|stamping|filing|photographing|skiing|brushing"
    "|scrubbing|using|writing|cranking|tacking|typing|drumming|smoking|conducting|sweeping|mopping"
)
_PLACES = ("on", "in", "by", "from", "near", "at", "snow")
"""Second words of topics that are no work with a tool: ``hang-from``."""


def read_interacting(folder: str) -> Iterator[PromptRecord]:
    """The prompts of all three files, in their order; ``folder`` is a path, or any URL that fsspec opens.

    ``SettingsError`` if a file is missing or cannot be read.
    """
    for scenario, count in INTERACTING.items():
        file = f"{folder.rstrip('/')}/{scenario}_{count}.jsonl"
        for number, record in enumerate(read_prompts(file), 1):
            topic = str(record.extra.get("topic", ""))
            if not topic:
                raise SettingsError(f"{file}: record {number} has no topic; is it an InterActing file?")
            slug = re.sub(r"\W+", "-", topic.lower()).strip("-")
            yield PromptRecord(
                id=f"{scenario}-{number:03}-{slug}",
                prompt=record.prompt,
                scenario=scenario,
                subclass=record.subclass or subclass_of(scenario, topic),
                extra={**record.extra, "subclass_by": "file" if record.subclass else "topic"},
            )


def subclass_of(scenario: ScenarioName, topic: str) -> str:
    """The subclass of a topic, guessed by this project from its words."""
    words = re.sub(r"_\d+$", "", topic.strip().lower()).replace(" ", "-")
    if scenario == "multi_subject":
        return "interaction"
    if scenario == "compositional":
        return "geometric_patterns" if _GEOMETRIC.fullmatch(words) else "abstract_layouts"
    first, _, rest = words.partition("-")
    # "saw-plank" names a piece of work; "sawing" and "sitting-on" name how bodies meet, but for the tools listed.
    is_work = bool(rest) and not re.search(r"(ing|ed|y)$", first) and rest not in _PLACES
    plays = first == "playing" and bool(rest) and rest not in (*_PLACES, "with")
    return "tool_manipulation" if is_work or plays or _TOOLS.fullmatch(first) else "physical_contact"


_BY_KIND: dict[str, tuple[ScenarioName, str]] = {
    "multi_subject": ("multi_subject", "interaction"),
    "functional": ("functional", "tool_manipulation"),
    "contact": ("functional", "physical_contact"),
    "spatial": ("compositional", "layout"),
}
"""Scenario and subclass by kind of relation; the first one counts for a prompt with several kinds."""


def world_prompts(
    count: int, seed: int = 0, scenario: ScenarioName | None = None, complexity: int | None = None
) -> Iterator[PromptRecord]:
    """Distinct prompts of the embedded world that its models were not trained on, with ``complexity`` relations (1 to
    5, by default one to three). A larger count starts with the same prompts."""
    from ..world.language import short_caption
    from ..world.layout import laid_out_specs
    from ..world.relations import RELATIONS
    from ..world.spec import Spec

    def belongs(spec: Spec) -> tuple[ScenarioName, str]:
        kinds = {RELATIONS[link.relation].kind for link in spec.links}
        return next(group for kind, group in _BY_KIND.items() if kind in kinds)

    def wanted(spec: Spec) -> bool:
        return spec.held_out and scenario in (None, belongs(spec)[0])

    prompts = set[str]()
    for spec, _ in laid_out_specs(random.Random(seed), wanted, complexity):
        if len(prompts) == count:
            return
        if (prompt := short_caption(spec)) not in prompts:
            prompts.add(prompt)
            group, part = belongs(spec)
            yield PromptRecord(
                id=f"world-{seed}-{len(prompts):05}",
                prompt=prompt,
                scenario=group,
                subclass=part,
                extra={"unseen": spec.unseen},
            )
