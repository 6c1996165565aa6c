"""Changes to what was known after a step, before a fork goes on from there."""

from collections.abc import Mapping
from typing import cast

from pydantic import ValidationError

from ...state import Critique, RunState, Verdict
from ...tools.errors import SettingsError
from ..validation import first_problem

PROMPT = "refined_prompt"
"""The name under which an image's corrected prompt is changed; every other one is that of a check."""


def edited(state: RunState, edits: Mapping[str, str]) -> RunState:
    """The same state with these changes.

    Args:
        state: Of a step after which images wait for their decision.
        edits: ``IMAGE.NAME`` to its new value; without an image, of every one that waits. The name is
            ``refined_prompt``, or that of a check, whose value is pass, fail or unknown.

    Raises:
        SettingsError: there is no such image, name or value.
    """
    critiques = dict(state.get("critiques", {}))
    waiting = [id for id in critiques if id not in state.get("decisions", {})]
    for place, value in edits.items():
        image, dot, name = place.partition(".")
        if dot and image not in critiques:
            raise SettingsError(f"--edit {place}: no image {image!r} was looked at; known are {', '.join(critiques)}")
        for id in [image] if dot else waiting:
            critiques[id] = _edited(critiques[id], name if dot else place, value)
    if edits and not critiques:
        raise SettingsError("--edit changes what is known of images, and at this step there are none; take a later one")
    return cast(RunState, {**state, "critiques": critiques} if critiques else dict(state))


def _edited(critique: Critique, name: str, value: str) -> Critique:
    try:
        if name == PROMPT:
            return Critique.model_validate({**dict(critique), "refined_prompt": value})
        if name not in critique.answers():
            raise SettingsError(f"--edit {name}: no check of that name; known are {', '.join(critique.answers())}")
        return Critique.model_validate({**dict(critique), "verdicts": _answered(critique, name, value)})
    except ValidationError as error:
        raise SettingsError(f"--edit {name}={value}: {first_problem(error)}") from error


def _answered(critique: Critique, check: str, answer: str) -> tuple[Verdict, ...]:
    """The verdicts with that of one check changed; those it had settled are open where it fails no longer."""
    return tuple(_verdict(verdict, check, answer) for verdict in critique.verdicts)


def _verdict(verdict: Verdict, check: str, answer: str) -> Verdict:
    if verdict.check == check:
        reason = "edited" if answer == "unknown" else None
        return Verdict.model_validate({"check": check, "answer": answer, "evidence": "edited", "reason": reason})
    if verdict.settled_by == check and answer != "fail":
        return Verdict(check=verdict.check, answer="unknown", reason=f"not asked: {check} had settled it")
    return verdict
