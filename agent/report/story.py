"""What a report tells, whether the run came to its end or not."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...state import (
    Advice,
    Comparison,
    ConceptGraph,
    Critique,
    Decision,
    ImageRecord,
    ModelSpend,
    RunResult,
    Spend,
)
from ..traces.events import Event, TraceError
from ..traces.reader import RecordedRun

if TYPE_CHECKING:
    from ..traces.manifest import Parent


@dataclass(frozen=True)
class Story:
    """One run, as far as it came."""

    run: str
    """Its readable id."""
    prompt: str
    concepts: ConceptGraph
    images: tuple[ImageRecord, ...]
    """In the order they were asked for; at least one."""
    critiques: dict[str, Critique]
    """By image id; an image that was not looked at has none."""
    decisions: dict[str, Decision]
    """By image id; an image that waits for its decision has none."""
    advice: tuple[Advice, ...]
    comparisons: tuple[Comparison, ...]
    best: ImageRecord | None
    """The best image so far; None where none was looked at."""
    stop: str | None
    """Rule that ended the best image's work; None where the run is not at its end."""
    trouble: str
    """Why it is not at its end; empty where it is."""
    spend: Spend
    spend_by_model: dict[str, ModelSpend]
    events: tuple[Event, ...] = ()
    """The trace; empty where there is none."""
    parent: "Parent | None" = None
    """The run that it was forked from; None where it began with its prompt."""
    interactive: bool = False
    """Whether a person decided."""


def story_of_result(result: RunResult, recorded: RecordedRun | None = None) -> Story:
    """The story of a run that came to its end; without what its folder alone tells, unless that is given."""
    known = {} if recorded is None else _of_folder(recorded)
    return Story(
        run=result.run,
        prompt=result.prompt,
        concepts=result.concepts,
        images=result.images,
        critiques={c.image: c for c in result.critiques},
        decisions={d.image: d for d in result.decisions},
        advice=result.advice,
        comparisons=result.comparisons,
        best=result.best,
        stop=result.stop,
        trouble="",
        spend=result.spend,
        spend_by_model=result.spend_by_model,
        **known,
    )


def story_of_run(run: RecordedRun) -> Story:
    """The story of a recorded run, as far as it came; ``TraceError`` if it has no image yet."""
    if run.result is not None:
        return story_of_result(run.result, run)
    if run.concepts is None or not run.images:
        raise TraceError(f"the run in {run.folder} has no image yet, so that there is nothing to report")
    return Story(
        run=run.run,
        prompt=run.prompt,
        concepts=run.concepts,
        images=tuple(run.images.values()),
        critiques=run.critiques,
        decisions=run.decisions,
        advice=run.advice,
        comparisons=run.comparisons,
        best=run.best,
        stop=run.stop,
        trouble=_trouble(run),
        spend=run.spend,
        spend_by_model=run.spend_by_model,
        **_of_folder(run),
    )


def _of_folder(run: RecordedRun) -> dict[str, Any]:
    return {"events": run.events, "parent": run.parent, "interactive": run.interactive}


def _trouble(run: RecordedRun) -> str:
    if run.error is not None:
        return f"This run failed: {run.error.error}: {run.error.message}"
    if run.interrupted:
        return "This run was interrupted. The page shows it as far as its trace goes."
    return "This run is not at its end: it goes on, or was killed. The page shows it as far as its trace goes."
