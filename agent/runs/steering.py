"""Steers a run in progress: instructions are appended to a file in its folder, and carried out between two steps."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from langgraph.runtime import RunControl
from pydantic import Field, ValidationError

from ...state import Action, Budget, Frozen
from ...tools.errors import SettingsError, first_problem
from ...tools.files import JsonLines, Store
from ..records.manifest import read_manifest
from ..records.reader import RecordedRun
from .folder import is_at_work

STEERING = "steering.jsonl"

Steer = Literal["pause", "go", "accept", "decide", "budget", "cancel"]
"""pause: wait after this step; go: continue; accept: end now, with this image; decide: judge images in place of the
policy; budget: change bounds; cancel: end without a result, to be resumed."""
LiveStatus = Literal["running", "paused", "finished", "failed", "interrupted", "killed"]
"""running, paused: a process works on it; killed: none does, and the trace does not say why; interrupted: somebody
stopped it."""


class Instruction(Frozen):
    """One line of ``steering.jsonl``."""

    action: Steer
    image: str = ""
    """accept: the id of the image."""
    decisions: dict[str, Action] = Field(default_factory=dict[str, Action])
    """decide: the action by image id; for other images, what the policy proposes."""
    words: dict[str, str] = Field(default_factory=dict[str, str])
    """decide: the prompt to draw from, by image id; by default the critic's."""
    budget: dict[str, float] = Field(default_factory=dict[str, float])
    """budget: the bounds that change, by name."""
    by: str = Field(default="", max_length=200)
    """Name of the person; may be empty."""


def live_status(run: RecordedRun) -> LiveStatus:
    """The status by the trace, and by whether a process works on the run."""
    if run.status != "unfinished":
        return run.status
    if run.interrupted:
        return "interrupted"
    return "killed" if not is_at_work(run.folder) else "paused" if run.paused else "running"


def instruct(run: RecordedRun, instruction: Instruction) -> None:
    """Send an instruction to a running run; ``SettingsError`` where none is running, or it cannot be done."""
    if (status := live_status(run)) not in ("running", "paused"):
        more = "" if status == "finished" else f": go on with detailscribe resume {run.folder}"
        raise SettingsError(f"no process works on the run {run.run}, which is {status}{more}")
    if read_manifest(run.folder).settings.run.checkpoints == "off":
        raise SettingsError(f"the run {run.run} keeps no checkpoints, so that it cannot be steered")
    for image in filter(None, (instruction.image, *instruction.decisions, *instruction.words)):
        if image not in run.images:
            raise SettingsError(f"the run {run.run} has no image {image!r:.40}; it has {', '.join(run.images)}")
    if instruction.action == "accept" and not instruction.image:
        raise SettingsError("name the image that is accepted")
    if instruction.action == "budget":
        budget_with(run.budget, instruction.budget)
    with JsonLines(Store(run.folder).path(STEERING)) as file:
        file.append(instruction.model_dump_json())


def budget_with(budget: Budget, changes: Mapping[str, float]) -> Budget:
    """The budget with changed bounds; ``SettingsError`` where one is unknown or invalid."""
    try:
        return Budget.model_validate(budget.model_dump() | dict(changes))
    except ValidationError as error:
        raise SettingsError(f"budget.{first_problem(error)}") from error


class Inbox(RunControl):
    """New instructions: it drains the graph after the step in which one came, or in which the caller's own ``control``
    asked for it. ``path`` is None where there is no checkpointer to go on from."""

    def __init__(self, path: Path | None, control: RunControl | None) -> None:
        super().__init__()
        self._path, self._control = path, control
        self._read = self._size()
        self.held: list[Instruction] = []
        """Instructions that were read, and put off by a step."""
        self.steps = 0
        """Steps to take before instructions count."""

    def _size(self) -> int:
        return self._path.stat().st_size if self._path is not None and self._path.is_file() else 0

    @property
    def is_over(self) -> bool:
        """Whether the caller stops the run."""
        return self._control is not None and self._control.drain_requested

    @property
    def drain_requested(self) -> bool:
        """LangGraph asks before each step."""
        self.steps -= 1
        return self.is_over or (self.steps < 0 and (bool(self.held) or self._size() > self._read))

    def take(self) -> list[Instruction]:
        """The instructions so far, without lines that cannot be read."""
        instructions, self.held = self.held, []
        if self._path is not None and self._size() > self._read:
            with self._path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if line.endswith(b"\n"):
                        self._read += len(line)
                        with suppress(ValidationError):  # written by hand, or by a later version
                            instructions.append(Instruction.model_validate_json(line))
        return instructions
