"""What the plots show, as points with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from .measures import MEASURES
from .rows import Row
from .samples import by_label, estimate, finished, proportion
from .statistics import Interval
from .summary import COSTS, chosen_after, newest_after
from .variants import Variant


@dataclass(frozen=True)
class Curve:
    """Points of one line."""

    name: str
    """Empty where the group says all."""
    x: tuple[float, ...]
    y: tuple[Interval, ...]
    """Each with its interval, in shares of 1."""
    group: str = ""
    """What stands in one panel where there are too many curves for one."""

    @property
    def label(self) -> str:
        """Its group and name."""
        return " ".join(filter(None, (self.group, self.name)))


@dataclass(frozen=True)
class Figure:
    """One drawing."""

    name: str
    """Of its file."""
    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    spread: bool = True
    """Whether curves may be drawn a little beside each other, since their x are chosen and not measured. Where they
    are measured, they are costs, of which ratios matter: their axis is logarithmic."""


def frontiers(rows: Sequence[Row], variants: Sequence[Variant]) -> list[Figure]:
    """Quality against each cost: a point for each variant, joined along a grid."""
    found: list[Figure] = []
    groups = by_label(rows)
    for cost in COSTS:
        points: dict[str, list[tuple[float, Interval]]] = {}
        for variant in variants:
            group = groups.get(variant.label, [])
            quality, spent = proportion(group, MEASURES["all_correct"]), estimate(group, MEASURES[cost])
            if quality is not None and spent is not None:
                points.setdefault(_family(variant), []).append((spent.value, quality))
        if len({x for line in points.values() for x, _ in line}) > 1:
            curves = tuple(_curve(name, line) for name, line in points.items())
            label = f"{cost.replace('_', ' ')} a prompt"
            found.append(
                Figure(
                    f"frontier_{cost}",
                    f"Quality against {cost.replace('_', ' ')}",
                    label,
                    _QUALITY,
                    curves,
                    spread=False,
                )
            )
    return found


def sweeps(rows: Sequence[Row], variants: Sequence[Variant]) -> list[Figure]:
    """Quality against each number that a grid varies, the other values of the grid held."""
    groups = by_label(rows)
    names = dict.fromkeys(name for v in variants for name, value in v.parameters.items() if _is_number(value))
    return [figure for name in names if (figure := _sweep(name, groups, variants)) is not None]


def round_by_round(rows: Sequence[Row], variants: Sequence[Variant] = ()) -> list[Figure]:
    """Quality after each round: of the image that would be chosen, and of the newest one.

    ``variants`` tell which curves belong together.
    """
    last = max((image.round for row in finished(rows) for image in row.images), default=0)
    if last == 0:
        return []
    known, found = {variant.label: variant for variant in variants}, list[Figure]()
    for kind, measure in (("chosen", chosen_after), ("newest", newest_after)):
        curves: list[Curve] = []
        for label, group in by_label(finished(rows)).items():
            name, family = (_numbers(known[label]), _family(known[label])) if label in known else (label, "")
            ends = [y for r in range(last + 1) if (y := proportion(group, measure(r))) is not None]
            curves.append(Curve(name, tuple(map(float, range(last + 1))), tuple(ends), family))
        found.append(Figure(f"rounds_{kind}", f"The {kind} image after each round", "round", _QUALITY, tuple(curves)))
    return found


def figures_of(rows: Sequence[Row], variants: Sequence[Variant]) -> list[Figure]:
    """Every drawing of an experiment."""
    return [*frontiers(rows, variants), *sweeps(rows, variants), *round_by_round(rows, variants)]


_QUALITY = "all correct, %"


def _sweep(name: str, groups: dict[str, list[Row]], variants: Sequence[Variant]) -> Figure | None:
    lines: dict[str, list[tuple[float, Interval]]] = {}
    for variant in variants:
        value = variant.parameters.get(name)
        quality = proportion(groups.get(variant.label, []), MEASURES["all_correct"])
        if not _is_number(value) or quality is None:
            continue
        others = [f"{k.partition('.')[2]}={v}" for k, v in variant.parameters.items() if k != name]
        lines.setdefault(" ".join([variant.group, *others]), []).append((float(value), quality))
    curves = tuple(_curve(label, line) for label, line in lines.items())
    if not any(len(curve.x) > 1 for curve in curves):
        return None
    side, _, parameter = name.partition(".")
    return Figure(
        f"sweep_{side}_{parameter}", f"Quality against {parameter} of the {side}", parameter, _QUALITY, curves
    )


def _curve(name: str, points: list[tuple[float, Interval]]) -> Curve:
    ordered = sorted(points, key=lambda point: point[0])
    return Curve(name, tuple(x for x, _ in ordered), tuple(y for _, y in ordered))


def _family(variant: Variant) -> str:
    """What is joined by one curve: all that differs by numbers alone."""
    words = [f"{name.partition('.')[2]}={v}" for name, v in variant.parameters.items() if not _is_number(v)]
    return " ".join([variant.group, *words])


def _numbers(variant: Variant) -> str:
    """What its family does not say."""
    return " ".join(f"{name.partition('.')[2]}={v:g}" for name, v in variant.parameters.items() if _is_number(v))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
