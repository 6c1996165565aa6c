"""The story of a recorded run in the terminal: what was drawn, what became of it, and why."""

from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from ...state import Decision, ImageRecord, Spend
from ..report.words import (
    Piece,
    advised,
    compared,
    counted,
    differences,
    duration,
    forked,
    phrase,
    relations,
    shares,
)
from .harmless import harmless
from .reader import RecordedRun

GOOD, BAD, SOFT, DOUBT = "green", "red", "bright_black", "yellow"
EDITS = {"added": GOOD, "removed": f"{BAD} strike", "same": "default"}


def _text(words: str, style: str = "") -> Text:
    return Text(harmless(words), style=style)


def story(run: RecordedRun) -> Group:
    """Everything in the order a person asks: what was wanted, what came of it, how, and at what price."""
    parts: list[RenderableType] = [_text(run.prompt, style="bold"), *_origin(run), *_asked(run), Text(), lineage(run)]
    parts += [Text(), *_between(run), _outcome(run), *_cost(run)]
    return Group(*parts)


def lineage(run: RecordedRun) -> Tree:
    """The images as a tree of descent; each with its checks, what became of them, its decision, rule and reason."""
    tree = Tree(_text(f"{run.run}  {run.started.policy}", style=SOFT), guide_style=SOFT)
    branches: dict[str | None, Tree] = {None: tree}
    for image in sorted(run.images.values(), key=lambda i: (i.round, i.id)):
        above = branches.get(image.parent, tree)
        branches[image.id] = above.add(Group(*_image(run, image)))
    return tree


def _origin(run: RecordedRun) -> Iterable[Text]:
    if run.parent is not None:
        yield _text(f"forked   from {forked(run.parent)}", style=SOFT)
    if run.interactive:
        yield _text("judge    a person; the policy only proposed", style=SOFT)


def _asked(run: RecordedRun) -> Iterable[Text]:
    if run.concepts is None:
        return
    yield _text("asked    " + ", ".join(phrase(e) for e in run.concepts.entities), style=SOFT)
    for r in relations(run.concepts):
        yield _text(f"         {r.subjects} {r.relation} {r.object}".rstrip(), style=SOFT)


def _image(run: RecordedRun, image: ImageRecord) -> Iterable[Text]:
    yield _heading(run, image)
    parent = run.images.get(image.parent or "")
    if parent is not None and parent.prompt != image.prompt:
        yield _edited(differences(parent.prompt, image.prompt))
    yield from _checks(run, image.id)
    decision = run.decisions.get(image.id)
    yield _text("no decision yet", style=SOFT) if decision is None else _decided(decision)


def _heading(run: RecordedRun, image: ImageRecord) -> Text:
    look = run.critiques.get(image.id)
    best = run.best is not None and image.id == run.best.id
    heading = _text("★ " if best else "", style=GOOD)
    heading.append(image.id, style="bold")
    if look is None:
        heading.append("  not looked at", style=SOFT)
    else:
        heading.append(f"  {look.passed}/{len(look.verdicts)}", style=GOOD if look.all_pass else "")
    return heading.append(f"  {_made(image)}, seed {image.seed}, {duration(image.seconds)}", style=SOFT)


def _made(image: ImageRecord) -> str:
    words = {"generate": "first drawing", "reseed": "drawn anew"}.get(image.origin, f"from step {image.start_step}")
    if image.operator is not None:
        words = f"{image.operator} {words}"
    return words if image.stop_step is None else f"{words}, a preview at step {image.stop_step}"


def _edited(pieces: Iterable[Piece]) -> Text:
    text = _text("prompt: ", style=SOFT)
    for piece in pieces:
        text.append_text(_text(piece.text, style=EDITS[piece.edit]))
        if piece.edit == "removed" and not piece.text.endswith(" "):
            text.append(" ")
    return text


def _checks(run: RecordedRun, image: str) -> Iterable[Text]:
    """Fixed and broken ones, then what else does not pass."""
    look, changed = run.critiques.get(image), run.change(image)
    questions = {c.id: c.question for c in run.concepts.checks} if run.concepts else {}
    if look is None:
        return
    fixed, broken = (changed.fixed, changed.broken) if changed else ((), ())
    for verdict in look.verdicts:
        question = questions.get(verdict.check, verdict.check)
        if verdict.check in fixed:
            yield _text(f"▲ fixed   {question}", style=GOOD)
        elif verdict.check in broken:
            yield _text(f"▼ broken  {question}", style=BAD)
        elif verdict.settled_by is not None:
            yield _text(f"↳ settled {question}", style=SOFT)
        elif verdict.answer == "unknown":
            yield _text(f"? unknown {question} {verdict.reason or ''}", style=DOUBT)
        elif verdict.answer == "fail":
            yield _text(f"✕ fails   {question}", style=BAD)


def _decided(decision: Decision) -> Text:
    text = _text(f"→ {decision.action} ", style="bold cyan").append(f"{decision.rule}: ", style="cyan")
    return text.append_text(_text(decision.reason, style="default"))


def _between(run: RecordedRun) -> Iterable[Text]:
    for advice in run.advice:
        yield _text(f"advice   after round {advice.round}: {advised(advice)}", style=SOFT)
    for pair in run.comparisons:
        yield _text(f"compared {compared(pair)}", style=SOFT)


def _outcome(run: RecordedRun) -> Text:
    best = "" if run.best is None else f"best     {run.path(run.best.id)}\n"
    if run.error is not None:
        return _text(best).append_text(_text(f"failed   {run.error.error}: {run.error.message}", style=BAD))
    if run.interrupted:
        return _text(best).append("unfinished: it was interrupted", style=DOUBT)
    if run.stop is None:
        return _text(best).append("unfinished: it goes on, or was killed", style=DOUBT)
    return _text(f"{best}stopped  {run.stop}")


def _cost(run: RecordedRun) -> Iterable[Text]:
    yield _text(cost(run.spend, run.seconds), style=SOFT)
    for model, words in shares(run.spend_by_model, run.images.values()):
        yield _text(f"         {model}: {words}", style=SOFT)


def cost(spend: Spend, seconds: float) -> str:
    """Every cost that there was, in one line."""
    words = [
        counted(spend.images, "image"),
        counted(spend.evaluations, "denoiser evaluation"),
        counted(spend.critic_calls, "critic call"),
        f"{duration(spend.seconds)} of model time in {duration(seconds)}",
    ]
    words += [counted(spend.tokens, "token")] * bool(spend.tokens) + [f"${spend.money:.4g}"] * bool(spend.money)
    return f"cost     {', '.join(words)}"


def as_data(run: RecordedRun) -> dict[str, Any]:
    """The same for programs, as what ``json.dumps`` takes."""
    return {
        "run": run.run,
        "folder": str(run.folder),
        "prompt": run.prompt,
        "policy": run.started.policy,
        "seed": run.started.seed,
        "status": run.status,
        "stop": run.stop,
        "error": run.error and f"{run.error.error}: {run.error.message}",
        "best": run.best and run.best.id,
        "parent": run.parent and run.parent.model_dump(mode="json"),
        "interactive": run.interactive,
        "spend": run.spend.model_dump(mode="json"),
        "spend_by_model": {model: own.model_dump(mode="json") for model, own in run.spend_by_model.items()},
        "seconds": run.seconds,
        "images": run.rows(),
        "checks": run.rows("checks"),
    }
