"""A recorded run in the terminal: its story in words, and its pictures."""

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
"""How a check that changed against the image's parent begins, and its style."""
STATES = {"settled": ("↳ settled", SOFT), "unknown": ("? unknown", DOUBT), "fail": ("✕ fails  ", BAD)}
"""The same of a check that did not change; one that passes is not listed."""


class PlainConsole(Console):
    """A console that no text can command: control characters in what it prints are replaced, its own are kept."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is printed, piece by piece."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)


def story(run: RecordedRun) -> Group:
    """Everything in the order a person asks: what was wanted, what came of it, how, and at what price."""
    parts: list[RenderableType] = [Text(run.prompt, style="bold")]
    if run.parent is not None:
        parts.append(Text(f"forked   from {words.forked(run.parent)}", style=SOFT))
    if run.interactive:
        parts.append(Text("judge    a person; the policy only proposed", style=SOFT))
    if run.concepts is not None:
        parts.append(Text("asked    " + ", ".join(words.phrase(e) for e in run.concepts.entities), style=SOFT))
        parts += [Text(f"         {' '.join(said)}".rstrip(), style=SOFT) for *said, _ in words.relations(run.concepts)]
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
    parts.append(Text(f"cost     {words.cost(run.spend, run.seconds)}", style=SOFT))
    parts += [
        Text(f"         {model}: {said}", style=SOFT)
        for model, said in words.shares(run.spend_by_model, run.images.values())
    ]
    return Group(*parts)


def _lineage(run: RecordedRun) -> Tree:
    """The images as a tree of descent; each with its checks, what became of them, its decision, rule and reason."""
    tree = Tree(Text(f"{run.run}  {run.started.policy}", style=SOFT), guide_style=SOFT)
    branches: dict[str | None, Tree] = {None: tree}
    best = [] if run.best is None else run.line(run.best)
    whole = {image.id for image in (best if len(run.images) > words.FOLDED else run.images.values())}
    for image in sorted(run.images.values(), key=lambda i: (i.round, i.id)):
        above = branches.get(image.parent, tree)
        branches[image.id] = above.add(Group(*_image(run, image)) if image.id in whole else _heading(run, image, True))
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
    look = run.critiques.get(image.id)
    if look is not None and run.concepts is not None:
        for mark in words.marks(run.concepts, look, run.change(image.id)):
            said, style = CHANGES.get(mark.became) or STATES.get(mark.state, ("", ""))
            reason = f" {mark.note}" if mark.state == "unknown" and not mark.became else ""
            reason += f" ({mark.place})" if mark.place and mark.state == "fail" else ""
            if said:
                yield Text(f"{said} {mark.check.question}{reason}", style=style)
    decision = run.decisions.get(image.id)
    if decision is None:
        yield Text("no decision yet", style=SOFT)
    else:
        action, rule = (f"→ {decision.action} ", "bold cyan"), (f"{decision.rule}: ", "cyan")
        yield Text.assemble(action, rule, decision.reason)


def _heading(run: RecordedRun, image: ImageRecord, alone: bool = False) -> Text:
    """An image in one line, which also says what changed and was decided where it stands ``alone``."""
    look, changed, decision = run.critiques.get(image.id), run.change(image.id), run.decisions.get(image.id)
    text = Text("★ " if run.best is not None and image.id == run.best.id else "", style=GOOD).append(image.id, "bold")
    if look is None:
        text.append("  not looked at", SOFT)
    else:
        text.append(f"  {look.passed}/{len(look.verdicts)}", GOOD if look.all_pass else "")
    made = f"  {words.origin(image, image.operator or '')}"
    if not alone:
        return text.append(f"{made}, seed {image.seed}, {words.duration(image.seconds)}", SOFT)
    for sign, checks, style in (("▲", changed.fixed, GOOD), ("▼", changed.broken, BAD)) if changed else ():
        text.append(f" {sign}{len(checks)}" if checks else "", style)
    return text.append(made, SOFT).append(f"  → {decision.action} {decision.rule}" if decision else "", "cyan")


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


Protocol = Literal["kitty", "iterm2"]
"""kitty: kitty's graphics protocol; iterm2: iTerm2's inline images."""

CHUNK = 4096
"""Bytes of base64 in one command of kitty's protocol, at most."""
COLUMNS = 24
"""Of the terminal, that a picture takes."""


def protocol_of(environment: Mapping[str, str]) -> Protocol | None:
    """What a terminal says it speaks; None where it says neither, and inside tmux or screen, which pass neither on."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or term.startswith(("screen", "tmux")):
        return None
    if "KITTY_WINDOW_ID" in environment or term in ("xterm-kitty", "xterm-ghostty"):
        return "kitty"
    return "iterm2" if program in ("iTerm.app", "WezTerm") else None


def escape(png: bytes, protocol: Protocol, columns: int = COLUMNS) -> str:
    """The command that draws a PNG at the cursor, so many columns wide."""
    data = b64encode(png).decode("ascii")
    if protocol == "iterm2":
        return f"\x1b]1337;File=inline=1;width={columns};preserveAspectRatio=1:{data}\a"
    chunks = [data[n : n + CHUNK] for n in range(0, len(data), CHUNK)]
    commands = [f"m={int(n < len(chunks) - 1)};{chunk}" for n, chunk in enumerate(chunks)]
    return "".join(f"\x1b_G{f'a=T,f=100,c={columns},' if not n else ''}{c}\x1b\\" for n, c in enumerate(commands))


def half_blocks(png: bytes, columns: int = COLUMNS) -> Text:
    """A picture of so many columns, two pixels above each other in each character; ``ValueError`` where it is none."""
    picture = picture_in(png)
    rows = max(1, round(columns * picture.height / picture.width / 2))
    pixels = picture.resize((columns, 2 * rows)).tobytes()
    colors = [Color.from_rgb(*pixels[at : at + 3]) for at in range(0, len(pixels), 3)]
    lines = [
        Text.assemble(
            *(
                ("▀", Style(color=colors[at], bgcolor=colors[at + columns]))
                for at in range(2 * row * columns, (2 * row + 1) * columns)
            )
        )
        for row in range(rows)
    ]
    return Text("\n", no_wrap=True).join(lines)
