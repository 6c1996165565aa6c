"""From a model's replies to one vote for each check: what it says, or why it says nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ...state import Check
from .answers import LONGEST_ID, CheckAnswer
from .questions import wire_id, wire_line


@dataclass(frozen=True)
class Vote:
    """What one reply says of one check."""

    answer: Literal["yes", "no"] | None
    """None where the reply does not settle it."""
    evidence: str = ""
    """What the model saw, in words."""
    reason: str = ""
    """Why there is no answer; empty where there is one."""


def lost(checks: Iterable[Check], reason: str) -> dict[str, Vote]:
    """A vote without an answer for each check, by id."""
    return {check.id: Vote(None, reason=reason) for check in checks}


def counted(checks: Sequence[Check], answers: Sequence[CheckAnswer]) -> dict[str, Vote]:
    """A vote for each check that was asked, by id; answers to any other are left out."""
    mine = {check.id: [a for a in answers if _is_about(a, check)] for check in checks}
    strangers = [a.check for a in answers if not any(_is_about(a, check) for check in checks)]
    return {id: _vote(found, list(dict.fromkeys(strangers))) for id, found in mine.items()}


def _is_about(answer: CheckAnswer, check: Check) -> bool:
    """Small models copy the whole line in place of the id, or put it in quotation marks."""
    return _bare(answer.check) in (_bare(wire_id(check)[:LONGEST_ID]), _bare(wire_line(check)[:LONGEST_ID]))


def _bare(id: str) -> str:
    return id.strip(" \"'`")


def _vote(found: Sequence[CheckAnswer], strangers: Sequence[str]) -> Vote:
    said = sorted({a.answer for a in found})
    if not said:
        instead = f"; it answers {', '.join(map(repr, strangers[:3]))} instead" if strangers else ""
        return Vote(None, reason=f"the reply does not answer this check{instead}")
    if len(said) > 1:
        both = " / ".join(f"{a.answer}: {a.evidence}" for a in found)
        return Vote(None, both, f"the reply answers this check with {' and with '.join(said)}")
    if found[0].answer == "unclear":
        return Vote(None, found[0].evidence, "the model cannot tell from the picture")
    return Vote(found[0].answer, found[0].evidence)
