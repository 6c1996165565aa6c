"""A recorded run as tables: one row an image, or one a check of each image."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from ...tools.errors import SettingsError

if TYPE_CHECKING:
    from ...state import ImageRecord
    from .reader import RecordedRun

Table = Literal["images", "checks"]
"""images: one row an image; checks: one row a check of each image that was looked at."""


def rows(run: "RecordedRun", of: Table) -> list[dict[str, Any]]:
    """Plain dicts, every one with the same keys; None where nothing is known."""
    if of == "images":
        return [_image_row(run, image) for image in run.images.values()]
    return [row for image in run.images for row in _check_rows(run, image)]


def frame(found: list[dict[str, Any]]) -> Any:
    """A ``pandas.DataFrame`` of rows; ``SettingsError`` where pandas is not installed."""
    try:
        pandas: Any = import_module("pandas")
    except ModuleNotFoundError as error:
        raise SettingsError("frames need pandas: pip install pandas, or use rows()") from error
    return pandas.DataFrame(found)


def _image_row(run: "RecordedRun", image: "ImageRecord") -> dict[str, Any]:
    look, decision, changed = run.critiques.get(image.id), run.decisions.get(image.id), run.change(image.id)
    return {
        "run": run.run,
        "image": image.id,
        "round": image.round,
        "origin": image.origin,
        "parent": image.parent,
        "prompt": image.prompt,
        "seed": image.seed,
        "operator": image.operator,
        "start_step": image.start_step,
        "stop_step": image.stop_step,
        "checks": len(look.verdicts) if look else None,
        "passed": look.passed if look else None,
        "score": look.score if look else None,
        "fixed": len(changed.fixed) if changed else None,
        "broken": len(changed.broken) if changed else None,
        "action": decision.action if decision else None,
        "rule": decision.rule if decision else None,
        "reason": decision.reason if decision else None,
        "evaluations": image.evaluations,
        "seconds": image.seconds,
        "waited": image.waited,
        "money": image.money,
        "best": run.best is not None and image.id == run.best.id,
        "path": str(run.path(image.id)),
    }


def _check_rows(run: "RecordedRun", image: str) -> list[dict[str, Any]]:
    look, changed = run.critiques.get(image), run.change(image)
    checks = {c.id: c for c in run.concepts.checks} if run.concepts else {}
    return [
        {
            "run": run.run,
            "image": image,
            "round": run.images[image].round,
            "check": v.check,
            "question": checks[v.check].question,
            "aspect": checks[v.check].aspect,
            "answer": v.answer,
            "probability": v.probability,
            "settled_by": v.settled_by,
            "reason": v.reason,
            "evidence": v.evidence,
            "fixed": changed is not None and v.check in changed.fixed,
            "broken": changed is not None and v.check in changed.broken,
        }
        for v in (look.verdicts if look else ())
    ]
