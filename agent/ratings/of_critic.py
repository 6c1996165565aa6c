"""How far the critic answers checks as people do."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from .agreement import balanced_accuracy, cohen_kappa
from .answers import Answers
from .figures import EVERY, CriticFigure
from .key import Key


def critic_figures(answers: Answers, key: Key) -> Iterable[CriticFigure]:
    if not answers.checks:
        return
    told = _compared(answers, key)
    aspects = sorted({aspect for aspect, _, _ in told})
    for aspect in (*(aspects if len(aspects) > 1 else ()), EVERY):
        found = [(people, critic) for of, people, critic in told if aspect in (EVERY, of)]
        counts = Counter(found)
        table = [[counts["yes", "pass"], counts["yes", "fail"]], [counts["no", "pass"], counts["no", "fail"]]]
        yield CriticFigure(
            aspect=aspect,
            balanced_accuracy=balanced_accuracy(table),
            kappa=cohen_kappa(table),
            answers=sum(map(sum, table)),
            unknown=counts["yes", "unknown"] + counts["no", "unknown"],
            undecided=sum(people == "" for people, _ in found),
        )


def _compared(answers: Answers, key: Key) -> list[tuple[str, str, str]]:
    """Aspect, what most raters say (empty where they are split) and what the critic of each source says."""
    votes: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for answer in answers.checks:
        votes[answer.item, int(answer.question)][str(answer.value)] += 1
    found: list[tuple[str, str, str]] = []
    for (id, number), counts in votes.items():
        people = "yes" if counts["yes"] > counts["no"] else "no" if counts["no"] > counts["yes"] else ""
        item = key.items[id]
        # Runs that made the same picture have mostly the same critic, whose answer then counts once.
        said = dict.fromkeys(s.answers[number] for s in item.sources if number in s.answers)
        found += [(item.checks[number].aspect, people, critic) for critic in said]
    return found
