"""The results of an experiment: one row per run, with all its images. Tables and plots are computed from the rows."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...state import Action, Answer, Aspect, Budget, Critique, Frozen, Origin, RunResult, Spend
from ...tools.files import Store
from ..evaluation.measure import changes
from ..records.events import records_in
from ..records.reader import RecordedRun

if TYPE_CHECKING:
    from pandas import DataFrame

    from ...tools.metrics.local import Lpips

JUDGED = "judged.jsonl"
"""Rows in the order in which runs are judged; rows of earlier starts stay in it."""
ROWS = "rows.jsonl"
"""The rows of the finished experiment, in its order."""


class ImageRow(Frozen):
    """One image of a run."""

    id: str
    round: int
    origin: Origin
    parent: str | None
    start_step: int
    stop_step: int | None = None
    """Of a preview."""
    operator: str | None = None
    evaluations: int
    seconds: float
    """Of the diffusion model."""
    action: Action
    """What was decided about it."""
    rule: str
    """The rule that fired."""
    critic: dict[str, Answer]
    """The critic's answer by check."""
    rank: tuple[float, float]
    """What images are compared by: share of checks that the critic passed, and its confidence."""
    outside_changed: float | None = None
    """Of a refinement, the mean difference of pixels, 0 to 1, outside of what the critic found wrong with its source;
    None where it did not say where."""
    lpips: float | None = None
    """LPIPS of a refinement to its source, where it was measured."""
    judge: dict[str, Answer] | None = None
    """The independent judge's answer by check; None without one."""

    @property
    def is_whole(self) -> bool:
        """Whether it is neither a preview nor a second opinion."""
        return self.stop_step is None and self.origin != "look"


class ExperimentRow(Frozen):
    """One run of an experiment."""

    job: str
    """Id of its job."""
    label: str
    """Of the variant."""
    prompt: str
    scenario: str = ""
    seed: int
    """As the experiment counts them."""
    budget: Budget = Budget()
    """Of its variant; replays on an exhaustive run are bound by it."""
    error: str | None = None
    """Why the run failed; then the rest is empty."""
    judge: str | None = None
    """Name and hash of the independent judge; None without one."""
    lpips: str | None = None
    """Name and hash of the weights of LPIPS; None where it was not measured."""
    folder: str | None = None
    """Of the run, relative to the results; None where there is none."""
    stop: str = ""
    """Rule that ended the best image's work."""
    best: str = ""
    """Id of the image that the run chose."""
    checks: dict[str, Aspect] = Field(default_factory=dict)
    """Aspect by check."""
    spend: Spend = Spend()
    images: tuple[ImageRow, ...] = ()
    """By round and id."""

    @property
    def chosen(self) -> ImageRow:
        """The image that the run chose."""
        return next(image for image in self.images if image.id == self.best)


def with_result(
    row: ExperimentRow, result: RunResult, judged: Mapping[str, Critique], store: Store, network: "Lpips | None" = None
) -> ExperimentRow:
    """The row with the outcome of its run in ``store``; ``judged`` holds the judge's critiques by image id."""
    images = list[ImageRow]()
    sources = {image.id: (image, critique) for image, critique in zip(result.images, result.critiques, strict=True)}
    for image, critique, decision in zip(result.images, result.critiques, result.decisions, strict=True):
        fields = {name: value for name, value in image if name in ImageRow.model_fields}
        fields |= {"action": decision.action, "rule": decision.rule, "rank": (critique.score, critique.confidence)}
        judge = judged[image.id].answers() if image.id in judged else None
        if image.origin == "refine" and image.parent in sources:
            with suppress(OSError, ValueError):  # a picture may have been moved away since
                fields |= changes(*sources[image.parent], image, store, network)
        images.append(ImageRow(**fields, critic=critique.answers(), judge=judge))
    outcome = {"stop": result.stop, "best": result.best.id, "spend": result.spend, "images": tuple(images)}
    checks = {check.id: check.aspect for check in result.concepts.checks}
    return row.model_copy(update=outcome | {"checks": checks, "lpips": network and network.model})


def read_experiment_rows(path: Path) -> list[ExperimentRow]:
    """Every whole line of a results file; ``SettingsError`` if one is no row of this version."""

    def read(line: bytes) -> ExperimentRow:
        row = ExperimentRow.model_validate_json(line)
        if row.error is None and row.best not in (image.id for image in row.images):
            raise ValueError(f"its best image {row.best!r} is not among its images")
        return row

    return list(records_in(path, read, "result"))


def rows_by_run(runs: Iterable[RecordedRun]) -> dict[Path, ExperimentRow]:
    """The rows that the experiments of these runs hold, by run folder."""
    results = {run.folder.parent.parent for run in runs}
    rows = ((path, row) for path in results for row in read_experiment_rows(path / JUDGED))
    return {path / row.folder: row for path, row in rows if row.folder is not None}


def image_frame(rows: Iterable[ExperimentRow]) -> "DataFrame":
    """The tidy table: one line an image."""
    from pandas import DataFrame

    lines: list[dict[str, Any]] = [
        {name: getattr(row, name) for name in ("label", "prompt", "scenario", "seed")}
        | {"image": image.id, **image.model_dump(exclude={"id", "critic", "judge", "rank"})}
        | {"checks": len(row.checks), "critic_passed": _passed(image.critic), "judge_passed": _passed(image.judge)}
        | {"chosen": image.id == row.best, "run_stop": row.stop, "run_folder": row.folder}
        for row in rows
        for image in row.images
    ]
    return DataFrame(lines, dtype=object)


def _passed(answers: Mapping[str, Answer] | None) -> int | None:
    return None if answers is None else sum(answer == "pass" for answer in answers.values())
