"""The results of an experiment: one row a run, with every image of it; everything else is computed from them."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...state import Action, Answer, Aspect, Budget, Critique, Frozen, Origin, RunResult, Spend
from ...tools.files import Store
from ..evaluation.measure import changes
from ..records.events import records_in

if TYPE_CHECKING:
    from pandas import DataFrame

    from ...tools.metrics.local import Lpips

JUDGED = "judged.jsonl"
"""The rows of an experiment as they come, beside those of its runs; older ones of the folder among them."""
ROWS = "rows.jsonl"
"""The rows of the whole experiment, one a run, in its order."""


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


class Row(Frozen):
    """One run of an experiment."""

    job: str
    """Id of its job; nothing is done twice under one id."""
    label: str
    """Of the variant."""
    prompt: str
    scenario: str = ""
    seed: int
    """As the experiment counts them."""
    budget: Budget = Budget()
    """Of its variant; what is replayed on an exhaustive run has it too."""
    error: str | None = None
    """Why the run came to nothing; then the rest is empty."""
    judge: str | None = None
    """Name and hash of the independent judge; None without one."""
    lpips: str | None = None
    """Name and hash of the weights of LPIPS; None where it was not measured."""
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


def with_result(
    row: Row, result: RunResult, judged: Mapping[str, Critique], store: Store, network: "Lpips | None" = None
) -> Row:
    """The row with the outcome of its run in ``store``; ``judged`` holds the judge's critiques by image id."""
    images: list[ImageRow] = []
    sources = {image.id: (image, seen) for image, seen in zip(result.images, result.critiques, strict=True)}
    for image, seen, end in zip(result.images, result.critiques, result.decisions, strict=True):
        known = {name: value for name, value in image if name in ImageRow.model_fields}
        judge = judged[image.id].answers() if image.id in judged else None
        ranks = (seen.score, seen.confidence)
        known |= {"action": end.action, "rule": end.rule, "critic": seen.answers(), "rank": ranks, "judge": judge}
        if image.origin == "refine" and image.parent in sources:
            source, looked = sources[image.parent]
            with suppress(OSError, ValueError):  # a picture may have been moved away since
                known |= changes(source, looked, image, store, network)
        images.append(ImageRow(**known))
    found = {
        "lpips": network and network.model,
        "stop": result.stop,
        "best": result.best.id,
        "spend": result.spend,
        "images": tuple(images),
    }
    return row.model_copy(update=found | {"checks": {check.id: check.aspect for check in result.concepts.checks}})


def read_rows(path: Path) -> list[Row]:
    """Every whole line of a results file; ``SettingsError`` if one is no row of this version."""

    def read(line: bytes) -> Row:
        row = Row.model_validate_json(line)
        if row.error is None and row.best not in (image.id for image in row.images):
            raise ValueError(f"its best image {row.best!r} is none of its images")
        return row

    return list(records_in(path, read, "result"))


def image_frame(rows: Iterable[Row]) -> "DataFrame":
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
