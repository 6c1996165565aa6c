"""One run as one self-contained HTML page: pictures, checks, decisions, cost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...state import Change, Critique, ImageRecord, RunResult, spend_of
from ...tools.files import Store, write_whole
from ..policies import RULES
from ..records.events import RunFinished, TraceError
from ..records.reader import REPORT, RecordedRun, read_run
from . import words
from .charts import lay_out, timeline
from .pages import Picture, filled, picture


def write_report(folder: Path, result: RunResult | None = None, out: Path | None = None) -> Path:
    """Write the page, by default ``report.html`` in the run folder, and return its path.

    ``result`` is that of a run whose trace has no last line yet. ``TraceError`` if the folder is no run, the run has no
    image yet, or a picture is missing or leads out of the folder.
    """
    store = Store(folder)
    run = read_run(folder)
    if result is not None and run.stop is None:
        end = RunFinished(run=result.run, image=result.best.id, stop=result.stop, spend=result.spend)
        run = RecordedRun(folder, (*run.events, end), result)
    if run.concepts is None or not run.images:
        raise TraceError(f"the run in {folder} has no image yet, so that there is nothing to report")
    try:
        html = filled("report", page=page_of(run, lambda image: picture(image, store))).encode()
        if out is None:
            return store.path(store.write(REPORT, html))
        write_whole(out, html)
    except (OSError, ValueError) as error:
        raise TraceError(f"the report of {folder} cannot be written: {error}") from error
    return out


def page_of(run: RecordedRun, show: Callable[[ImageRecord], Picture]) -> dict[str, Any]:
    """The values for the template; ``show`` returns the picture of an image."""
    assert run.concepts is not None
    images = tuple(run.images.values())
    places = lay_out(images)
    anchors = {image.id: f"image-{number}" for number, image in enumerate(images, 1)}
    pictures = {image.id: show(image) for image in images}
    cards = [_card(run, image, pictures) for image in images]
    for card in cards:
        card |= {"anchor": anchors[card["image"].id], "place": places[card["image"].id]}
    rounds = sorted({image.round for image in images})
    critique, trouble = run.best_critique, words.unfinished(run)
    if trouble:
        trouble = f"This run {trouble if run.error else f'is {trouble}. The page shows it as far as its trace goes.'}"
    return {
        "run": run,
        "headline": words.verdict(critique, len(images)) if critique else "No image was looked at yet",
        "reason": _reason(run),
        "trouble": trouble,
        "used_up": words.used_up(run),
        "steered": [words.steered(event) for event in run.steered],
        "shown": next((c for c in cards if c["best"]), cards[0]),
        "entities": [words.phrase(e) for e in run.concepts.entities],
        "relations": words.relations(run.concepts),
        "forked": words.forked(run.parent) if run.parent else "",
        "costs": words.spend_rows(run.spend),
        "shares": words.shares(run.spend_by_model, images),
        "rules": RULES,
        "cards": cards,
        "rounds": [_round(run, number, [c for c in cards if c["image"].round == number]) for number in rounds],
        "folded": len(cards) > words.FOLDED,
        "places": places,
        "timeline": timeline(run.events, images),
        "anchors": anchors,
    }


def _reason(run: RecordedRun) -> str:
    """The reason of the stop that ended the run: that of the best image or, where work on it went on, the last one."""
    stops = [d for _, d in sorted(run.decisions.items()) if d.rule == run.stop]
    best = [d for d in stops if run.best is not None and d.image == run.best.id]
    return (best or stops)[-1].reason if stops else ""


def _card(run: RecordedRun, image: ImageRecord, pictures: dict[str, Picture]) -> dict[str, Any]:
    """The values for one image; ``before`` is its parent's picture."""
    assert run.concepts is not None
    parent = run.images.get(image.parent or "")
    critique, changed = run.critiques.get(image.id), run.change(image.id)
    return {
        "image": image,
        "picture": pictures[image.id],
        "before": pictures[parent.id] if parent else None,
        "best": image == run.best,
        "origin": words.origin(image),
        "children": [i.id for i in run.images.values() if i.parent == image.id],
        "prompt": words.differences(parent.prompt, image.prompt) if parent else (words.Piece("same", image.prompt),),
        "marks": (checks := words.marks(run.concepts, critique, changed)),
        # Passed checks first, so that the boxes of failed ones lie above them.
        "boxed": sorted((mark for mark in checks if mark.boxes), key=lambda mark: mark.state == "fail"),
        "critique": critique or Critique(image=image.id, verdicts=()),
        "looked": critique is not None,
        "change": changed,
        "decision": run.decisions.get(image.id),
        "time": words.duration(image.seconds),
    }


def _round(run: RecordedRun, number: int, cards: list[dict[str, Any]]) -> dict[str, Any]:
    """The values for one round: its images, their changes, its cost, and a model's advice."""
    parts = [words.counted(len(cards), "image")]
    changes: list[Change] = [c["change"] for c in cards if c["change"]]
    if changes:
        parts.append(f"{words.counted(sum(len(c.fixed) for c in changes), 'check')} fixed")
        parts.append(f"{sum(len(c.broken) for c in changes)} broken")
        parts.append(f"{sum(len(c.unchanged) for c in changes)} unchanged")
    spend = spend_of(None, {c["image"].id: c["image"] for c in cards}, {c["image"].id: c["critique"] for c in cards})
    parts += [words.counted(spend.evaluations, "evaluation"), words.duration(spend.seconds)]
    return {
        "number": number,
        "title": "First drawings" if number == 0 else f"Round {number}",
        "summary": " · ".join(parts),
        "cards": cards,
        "advice": [a for a in run.advice if a.round == number],
    }
