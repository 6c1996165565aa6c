"""What people rate from 1 to 5: the criteria of "Generating Fine Details of Entity Interactions" (arXiv 2504.08714).

The words are this project's own, and mean what the rubrics of the chat model's ratings mean, so that both can be
compared.
"""

from collections.abc import Sequence

from ...state import Frozen
from ...tools.errors import SettingsError


class Criterion(Frozen):
    """One question with a scale from 1 to 5."""

    id: str
    title: str
    question: str
    scale: tuple[str, str, str, str, str]
    """What 1, 2, 3, 4 and 5 mean."""


CRITERIA: dict[str, Criterion] = {
    criterion.id: criterion
    for criterion in (
        Criterion(
            id="interactions",
            title="Interactions",
            question="Does the picture show who does what, with what, as the prompt says?",
            scale=(
                "The interaction is not shown, or its main subjects are missing.",
                "The subjects are there but hardly do what is asked, or one of them is missing.",
                "The main interaction can be made out; a part is missing, implausible or must be guessed.",
                "Every interaction can be recognized; a small part is wrong, such as a grip that is slightly off.",
                "Everyone and everything is there, and every interaction is full and plausible, down to each touch.",
            ),
        ),
        Criterion(
            id="layout",
            title="Spatial layout",
            question="Do things stand to each other, and make up the form together, as the prompt says?",
            scale=(
                "Neither the form nor the arrangement of the named things is shown.",
                "The named things are there but not arranged as asked, or the form is made of something else.",
                "The arrangement can be made out; parts are missing, misplaced or made of something else.",
                "The arrangement is right; a small part is misplaced, or a number is off by little.",
                "Every named thing is in the place that the prompt gives it, and the whole is recognized at once.",
            ),
        ),
    )
}
"""By id, in the order in which they are asked."""


def criteria_named(names: Sequence[str]) -> tuple[Criterion, ...]:
    """Those of these ids, in their own order; ``SettingsError`` for an unknown one, or none at all."""
    unknown = [name for name in names if name not in CRITERIA]
    if unknown or not names:
        raise SettingsError(f"{', '.join(unknown) or 'no name'!r} is no criterion; known are {', '.join(CRITERIA)}")
    return tuple(criterion for id, criterion in CRITERIA.items() if id in names)
