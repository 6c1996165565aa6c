"""A recorded run as tables: one row an image, or one a check of each image."""

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ...state import ImageRecord
    from .reader import RecordedRun

Table = Literal["images", "checks"]
"""images: one row an image; checks: one row a check of each image that was looked at."""

MADE = ("round", "origin", "parent", "prompt", "seed", "operator", "start_step", "stop_step")
COST = ("evaluations", "seconds", "waited", "money")
"""Fields of an image that its row has as they are."""
SAID = ("answer", "probability", "settled_by", "reason", "evidence")
"""The same of a verdict."""


def rows(run: "RecordedRun", of: Table) -> list[dict[str, Any]]:
    """Plain dicts, every one with the same keys; None where nothing is known."""
    if of == "images":
        return [_image_row(run, image) for image in run.images.values()]
    return [row for image in run.images for row in _check_rows(run, image)]


def frame(found: list[dict[str, Any]]) -> Any:
    """A ``pandas.DataFrame`` of rows."""
    import pandas  # not needed to import the package

    return pandas.DataFrame(found)


def _image_row(run: "RecordedRun", image: "ImageRecord") -> dict[str, Any]:
    look, decision, changed = run.critiques.get(image.id), run.decisions.get(image.id), run.change(image.id)
    return {
        "run": run.run,
        "image": image.id,
        **{name: getattr(image, name) for name in MADE},
        "checks": len(look.verdicts) if look else None,
        "passed": look.passed if look else None,
        "score": look.score if look else None,
        "fixed": len(changed.fixed) if changed else None,
        "broken": len(changed.broken) if changed else None,
        **{name: getattr(decision, name, None) for name in ("action", "rule", "reason")},
        **{name: getattr(image, name) for name in COST},
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
            **{name: getattr(v, name) for name in SAID},
            "fixed": changed is not None and v.check in changed.fixed,
            "broken": changed is not None and v.check in changed.broken,
        }
        for v in (look.verdicts if look else ())
    ]
