"""A recorded run in the terminal: everything that happened in it, and its pictures."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from rich.color import Color
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from rich.tree import Tree

from ...state import ImageRecord
from ...tools.files import picture_in
from ...tools.text import plain
from ..records.reader import RecordedRun
from . import words

GOOD, BAD, SOFT, DOUBT = "green", "red", "bright_black", "yellow"
EDITS = {"added": GOOD, "removed": f"{BAD} strike", "same": "default"}
"""Style of each piece of a corrected prompt."""
CHANGES = {"fixed": ("▲ fixed  ", GOOD), "broken": ("▼ broken ", BAD)}
"""Label and style of a check that changed relative to the parent image."""
STATES = {"settled": ("↳ settled", SOFT), "unknown": ("? unknown", DOUBT), "fail": ("✕ fails  ", BAD)}
"""Label and style of a check that did not change; one that passes is not listed."""


class PlainConsole(Console):
    """Replaces control characters in texts, so that model output cannot command the terminal; its own stay."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)


def story(run: RecordedRun) -> Group:
    """Prompt, images, decisions, outcome and cost."""
    parts: list[RenderableType] = [Text(run.prompt, style="bold")]
    if run.parent is not None:
        parts.append(Text(f"forked   from {words.forked(run.parent)}", style=SOFT))
    if run.interactive:
        parts.append(Text("judge    a person; the policy only proposed", style=SOFT))
    if run.concepts is not None:
        parts.append(Text("asked    " + ", ".join(words.phrase(e) for e in run.concepts.entities), style=SOFT))
        parts += [Text(f"         {' '.join(row[:3])}".rstrip(), style=SOFT) for row in words.relations(run.concepts)]
    parts += [Text(), _lineage(run), Text()]
    parts += [Text(f"advice   after round {a.round}: {words.advised(a)}", style=SOFT) for a in run.advice]
    parts += [Text(f"compared {words.compared(pair)}", style=SOFT) for pair in run.comparisons]
    parts += [Text(f"steered  {words.steered(event)}", style=SOFT) for event in run.steered]
    if run.best is not None:
        parts.append(Text(f"best     {run.path(run.best.id)}"))
    if run.error is not None:
        parts.append(Text(f"failed   {run.error.error}: {run.error.message}", style=BAD))
    else:
        stopped = "; ".join(filter(None, (f"stopped  {run.stop}", words.used_up(run))))
        parts.append(Text(words.unfinished(run), style=DOUBT) if words.unfinished(run) else Text(stopped))
    amounts = [(run.spend.images, "image"), (run.spend.evaluations, "denoiser evaluation")]
    cost = [words.counted(*amount) for amount in (*amounts, (run.spend.critic_calls, "critic call"))]
    cost.append(f"{words.duration(run.spend.seconds)} of model time in {words.duration(run.seconds)}")
    parts.append(Text(f"cost     {', '.join([*cost, *words.extras(run.spend)])}", style=SOFT))
    shares = words.shares(run.spend_by_model, run.images.values())
    return Group(*parts, *(Text(f"         {model}: {cost}", style=SOFT) for model, cost in shares))


def _lineage(run: RecordedRun) -> Tree:
    """Every image below its parent, with its checks and its decision."""
    tree = Tree(Text(f"{run.run}  {run.started.policy}", style=SOFT), guide_style=SOFT)
    branches: dict[str | None, Tree] = {None: tree}
    to_best = [] if run.best is None else run.line(run.best)
    in_full = {image.id for image in (to_best if len(run.images) > words.FOLDED else run.images.values())}
    for image in sorted(run.images.values(), key=lambda i: (i.round, i.id)):
        shown = Group(*_image(run, image)) if image.id in in_full else _heading(run, image, True)
        branches[image.id] = branches.get(image.parent, tree).add(shown)
    return tree


def _image(run: RecordedRun, image: ImageRecord) -> Iterable[Text]:
    yield _heading(run, image)
    parent = run.images.get(image.parent or "")
    if parent is not None and parent.prompt != image.prompt:
        text = Text("prompt: ", style=SOFT)
        for piece in words.differences(parent.prompt, image.prompt):
            text.append(piece.text, style=EDITS[piece.edit])
            text.append(" " * (piece.edit == "removed" and not piece.text.endswith(" ")))
        yield text
    critique = run.critiques.get(image.id)
    if critique is not None and run.concepts is not None:
        for mark in words.marks(run.concepts, critique, run.change(image.id)):
            label, style = CHANGES.get(mark.became) or STATES.get(mark.state, ("", ""))
            reason = f" {mark.note}" if mark.state == "unknown" and not mark.became else ""
            reason += f" ({mark.place})" if mark.place and mark.state == "fail" else ""
            if label:
                yield Text(f"{label} {mark.check.question}{reason}", style=style)
    decision = run.decisions.get(image.id)
    if decision is None:
        yield Text("no decision yet", style=SOFT)
    else:
        action, rule = (f"→ {decision.action} ", "bold cyan"), (f"{decision.rule}: ", "cyan")
        yield Text.assemble(action, rule, decision.reason)


def _heading(run: RecordedRun, image: ImageRecord, alone: bool = False) -> Text:
    """An image in one line; with changes and decision if nothing else is shown of it."""
    critique, changed, decision = run.critiques.get(image.id), run.change(image.id), run.decisions.get(image.id)
    text = Text("★ " if image == run.best else "", style=GOOD).append(image.id, "bold")
    if critique is None:
        text.append("  not looked at", SOFT)
    else:
        text.append(f"  {critique.passed}/{len(critique.verdicts)}", GOOD if critique.all_pass else "")
    made = f"  {words.origin(image, image.operator or '')}"
    if not alone:
        return text.append(f"{made}, seed {image.seed}, {words.duration(image.seconds)}", SOFT)
    for sign, checks, style in (("▲", changed.fixed, GOOD), ("▼", changed.broken, BAD)) if changed else ():
        text.append(f" {sign}{len(checks)}" if checks else "", style)
    return text.append(made, SOFT).append(f"  → {decision.action} {decision.rule}" if decision else "", "cyan")


def as_data(run: RecordedRun) -> dict[str, Any]:
    """The same as ``story`` for programs, in types that ``json.dumps`` takes."""
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


Protocol = Literal["kitty", "iterm2"]
"""kitty: its graphics protocol; iterm2: its inline images."""

CHUNK = 4096
"""Bytes of base64 in one command of kitty's protocol, at most."""
COLUMNS = 24
"""Width of a picture."""


def protocol_of(environment: Mapping[str, str]) -> Protocol | None:
    """The protocol that the terminal supports by its environment variables; None in tmux and screen, which pass on
    neither."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or term.startswith(("screen", "tmux")):
        return None
    if "KITTY_WINDOW_ID" in environment or term in ("xterm-kitty", "xterm-ghostty"):
        return "kitty"
    return "iterm2" if program in ("iTerm.app", "WezTerm") else None


def escape(png: bytes, protocol: Protocol, columns: int = COLUMNS) -> str:
    """The escape sequence that draws a PNG at the cursor."""
    data = b64encode(png).decode("ascii")
    if protocol == "iterm2":
        return f"\x1b]1337;File=inline=1;width={columns};preserveAspectRatio=1:{data}\a"
    chunks = [data[n : n + CHUNK] for n in range(0, len(data), CHUNK)]
    commands = [f"m={int(n < len(chunks) - 1)};{chunk}" for n, chunk in enumerate(chunks)]
    return "".join(f"\x1b_G{f'a=T,f=100,c={columns},' if not n else ''}{c}\x1b\\" for n, c in enumerate(commands))


def half_blocks(png: bytes, columns: int = COLUMNS) -> Text:
    """A picture in characters, each of which shows two pixels, one above the other; ``ValueError`` if it is none."""
    picture = picture_in(png)
    height = 2 * max(1, round(columns * picture.height / picture.width / 2))
    pixels = picture.resize((columns, height)).tobytes()
    colors = [Color.from_rgb(*pixels[at : at + 3]) for at in range(0, len(pixels), 3)]
    rows = [colors[at : at + columns] for at in range(0, len(colors), columns)]
    lines = [
        Text.assemble(*(("▀", Style(color=above, bgcolor=below)) for above, below in zip(*pair, strict=True)))
        for pair in zip(rows[::2], rows[1::2], strict=True)
    ]
    return Text("\n", no_wrap=True).join(lines)
