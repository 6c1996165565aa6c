"""The InterActing prompts of "Generating Fine Details of Entity Interactions" (arXiv 2504.08714, table 1).

They are published as three files of JSON lines with ``topic`` and ``prompt``; some of their lines are encoded twice.
The scenario is that of the file. The published files tell no subclass line by line: where a scenario has
two, they are told apart here by the topic, and the record says so.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import SettingsError
from .reader import read_prompts
from .records import PromptRecord, with_own_ids


@dataclass(frozen=True)
class Scenario:
    """One of the three published files."""

    name: str
    file: str
    count: int
    """Prompts that were published."""


SCENARIOS = (
    Scenario("functional", "functional_600.jsonl", 600),
    Scenario("compositional", "compositional_200.jsonl", 200),
    Scenario("multi_subject", "multi_subject_200.jsonl", 200),
)

_GEOMETRIC = re.compile(
    "zigzag.*|circle.*|triangle|spiral|pyramid|tessellation|parabola|infinity-symbol|yin-yang|mandala"
    "|fibonacci-sequence|helix|sphere|cone|dodecahedron|tesseract|mobius-strip"
)
_TOOLS = re.compile(
    "cutting|slicing|chopping|painting|painted|carving|whittling|sewing|sewn|embroidering|threading|stirring|ladling"
    "|scooping|shoveling|sifting|scraping|sketching|doodling|tracing|stamping|filing|photographing|skiing|brushing"
    "|scrubbing|using|writing|cranking|tacking|typing|drumming|smoking|conducting|sweeping|mopping"
)


def read_interacting(folder: str) -> Iterator[PromptRecord]:
    """The prompts of all three files, in their order.

    Args:
        folder: Where the files lie: a path, or any URL that fsspec opens.

    Raises:
        SettingsError: a file is missing or cannot be read.
    """
    yield from with_own_ids(record for scenario in SCENARIOS for record in _read(folder, scenario))


def _read(folder: str, scenario: Scenario) -> Iterable[PromptRecord]:
    for number, record in enumerate(read_prompts(f"{folder.rstrip('/')}/{scenario.file}"), 1):
        topic = str(record.extra.get("topic", ""))
        if not topic:
            raise SettingsError(f"{folder}/{scenario.file}: record {number} has no topic; is it an InterActing file?")
        told = record.subclass
        yield record.model_copy(
            update={
                "id": f"{scenario.name}-{number:03}-{_slug(topic)}",
                "scenario": scenario.name,
                "subclass": told or subclass_of(scenario.name, topic),
                "extra": {**record.extra, "subclass_by": "file" if told else "topic"},
            }
        )


def subclass_of(scenario: str, topic: str) -> str:
    """The subclass that a topic speaks of, by its words alone; a guess of this project's, not the publishers'."""
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


_PLACES = frozenset(("on", "in", "by", "from", "near", "at", "snow"))
"""Second words after which a first one is no work: ``hang-from``."""


def _slug(topic: str) -> str:
    return re.sub(r"\W+", "-", topic.lower()).strip("-")
