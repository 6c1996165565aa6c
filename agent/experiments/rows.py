"""The results of an experiment: one row a run, with every image of it; everything else is computed from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ...state import Action, Answer, Aspect, Critique, Decision, Frozen, ImageRecord, Origin, RunResult, Spend
from ...tools.errors import SettingsError


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
    """What the run compared images by: share of checks that the critic passed, and its confidence."""
    judge: dict[str, Answer] | None = None
    """The independent judge's answer by check; None without one."""


class Row(Frozen):
    """One run of an experiment."""

    job: str
    """Id of its job; nothing is done twice under one id."""
    label: str
    """Of the variant."""
    prompt: str
    scenario: str = ""
    seed: int
    error: str | None = None
    """Why the run came to nothing; then the rest is empty."""
    judge: str | None = None
    """Name and hash of the independent judge; None without one."""
    folder: str | None = None
    """Of the run, relative to the results; None where nothing was left there."""
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

    @property
    def is_judged(self) -> bool:
        """Whether an independent judge looked at its images."""
        return self.judge is not None


def told(row: Row, result: RunResult, judged: Mapping[str, Critique]) -> Row:
    """The row with all that its run left; ``judged`` holds the judge's critiques by image id."""
    parts = zip(result.images, result.critiques, result.decisions, strict=True)
    return row.model_copy(
        update={
            "stop": result.stop,
            "best": result.best.id,
            "checks": {check.id: check.aspect for check in result.concepts.checks},
            "spend": result.spend,
            "images": tuple(_image_row(*part, judged.get(part[0].id)) for part in parts),
        }
    )


def _image_row(image: ImageRecord, seen: Critique, end: Decision, judged: Critique | None) -> ImageRow:
    return ImageRow(
        id=image.id,
        round=image.round,
        origin=image.origin,
        parent=image.parent,
        start_step=image.start_step,
        stop_step=image.stop_step,
        operator=image.operator,
        evaluations=image.evaluations,
        seconds=image.seconds,
        action=end.action,
        rule=end.rule,
        critic=seen.answers(),
        rank=(seen.score, seen.confidence),
        judge=None if judged is None else judged.answers(),
    )


def read_rows(path: Path) -> list[Row]:
    """Every whole line of a results file; a last line without its end, torn by a kill, is left out.

    Raises:
        SettingsError: a whole line is no row of this version.
    """
    if not path.exists():
        return []
    *whole, _torn = path.read_bytes().split(b"\n")
    rows: list[Row] = []
    for number, line in enumerate(whole, 1):
        try:
            rows.append(Row.model_validate_json(line))
        except ValidationError as error:
            raise SettingsError(
                f"line {number} of {path} is no result of this version: start anew in another folder"
            ) from error
    return rows


def image_rows(rows: list[Row]) -> list[dict[str, Any]]:
    """The tidy table: one plain dict an image, every one with the same keys."""
    return [
        {
            "label": row.label,
            "prompt": row.prompt,
            "scenario": row.scenario,
            "seed": row.seed,
            "image": image.id,
            **image.model_dump(exclude={"id", "critic", "judge", "rank"}),
            "checks": len(row.checks),
            "critic_passed": sum(answer == "pass" for answer in image.critic.values()),
            "judge_passed": None if image.judge is None else sum(a == "pass" for a in image.judge.values()),
            "chosen": image.id == row.best,
            "run_stop": row.stop,
            "run_folder": row.folder,
        }
        for row in rows
        for image in row.images
    ]
