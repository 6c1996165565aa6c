"""What a replay found, as tables and words."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import mean

from .replay import Replayed, Score
from .statistics import Interval, mean_interval, proportion_interval
from .tables import Cell, Column, Table

Value = Callable[[Score], float | None]


def each(found: Sequence[Replayed], most: int) -> Table:
    """Every run or tree by itself, those first that the policy left the record of."""
    ordered = sorted(found, key=lambda one: not one.off)[:most]
    runs = any(one.recorded is not None for one in found)
    columns = [Column("run"), Column("differs"), Column("it would")] if runs else [Column("tree")]
    columns += [Column("its best"), *([Column("recorded", "share")] if runs else [])]
    columns += [Column("critic", "share"), *([] if runs else [Column("judge", "share")])]
    columns += [Column("evaluations"), Column("asks for what is not recorded")]
    lines = tuple((*_of_run(one), *_end(one)) if runs else (one.name, one.best, *_end(one, True)) for one in ordered)
    rest = f"{len(found) - most} more are not listed." if len(found) > most else ""
    return Table("Judged again", tuple(columns), lines, rest)


def totals(found: Sequence[Replayed]) -> Table:
    """The policy over all trees that it can be scored on."""
    scored = [one for one in found if one.score is not None]
    shares = [_mean(scored, value, proportion_interval) for value in (_judge_right, _critic_right)]
    checks = [_mean(scored, value, mean_interval) for value in (_judge_checks, _critic_checks)]
    costs = [_mean(scored, value, mean_interval) for value in (_evaluations, _images)]
    columns = (
        *(Column("scored"), Column("left")),
        *(Column(f"all correct, {eyes}", "share") for eyes in ("judge", "critic")),
        *(Column(f"checks, {eyes}", "share") for eyes in ("judge", "critic")),
        *(Column(name, "number") for name in ("evaluations", "images")),
    )
    spent: list[Cell] = [None if cost is None else cost.value for cost in costs]
    line = (str(len(scored)), str(len(found) - len(scored)), *shares, *checks, *spent)
    return Table(f"On {len(found)} trees", columns, (line,), _reach(found, scored))


def in_words(found: Sequence[Replayed]) -> str:
    """What came of runs, in one sentence."""
    known = [(one.recorded, one.score) for one in found if one.recorded is not None and one.score is not None]
    same = sum(one.differs is None for one in found)
    text = f"{same} of {len(found)} runs would have gone the same way; {len(known)} can be scored from the record"
    if not known:
        return f"{text}."
    recorded, score = (mean(pair[side].critic for pair in known) for side in (0, 1))
    spent = sum(ours.evaluations - theirs.evaluations for theirs, ours in known)
    return f"{text}: {100 * score:.1f}% of checks where {100 * recorded:.1f}% were, with {spent:+d} evaluations."


def _of_run(one: Replayed) -> tuple[Cell, ...]:
    place = "-" if one.differs is None else "at first" if one.differs < 0 else f"round {one.differs}"
    recorded = None if one.recorded is None else one.recorded.critic
    return one.name, place, one.reason or "the same", one.best, recorded


def _end(one: Replayed, judge: bool = False) -> tuple[Cell, ...]:
    if one.score is None:
        return None, *([None] if judge else []), None, one.off
    return one.score.critic, *([one.score.judge] if judge else []), str(one.score.evaluations), "-"


def _judge_checks(score: Score) -> float | None:
    return score.judge


def _critic_checks(score: Score) -> float | None:
    return score.critic


def _judge_right(score: Score) -> float | None:
    return None if score.judge is None else float(score.judge == 1)


def _critic_right(score: Score) -> float | None:
    return float(score.critic == 1)


def _evaluations(score: Score) -> float | None:
    return score.evaluations


def _images(score: Score) -> float | None:
    return score.images


def _mean(
    scored: Iterable[Replayed], value: Value, interval: Callable[[Sequence[float]], Interval | None]
) -> Interval | None:
    """Over prompts, each the mean of its seeds."""
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for one in scored:
        found = None if one.score is None else value(one.score)
        if found is not None:
            by_prompt[one.prompt].append(found)
    return interval([mean(values) for values in by_prompt.values()])


def _reach(found: Sequence[Replayed], scored: Sequence[Replayed]) -> str:
    """What the trees that the policy left can change."""
    left = len(found) - len(scored)
    if not scored:
        return "It asked everywhere for what the trees do not hold; record them with a wider menu."
    if not left:
        return "It never left a tree: these are the figures of its own runs."
    eyes = _judge_right if any(one.score and one.score.judge is not None for one in scored) else _critic_right
    right = sum((one.score and eyes(one.score)) or 0.0 for one in scored)
    low, high = 100 * right / len(found), 100 * (right + left) / len(found)
    return (
        f"Of {left} trees it asked for what they do not hold, as a rule the hard ones: over all, between "
        f"{low:.1f}% and {high:.1f}% come out all correct. Record them with a wider menu to know."
    )
